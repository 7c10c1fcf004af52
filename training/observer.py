"""The events of a training, for observers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist.datasets import Split
    from training.evaluator import Evaluator
    from training.loop import Diverged, Step, Training
    from training.outcomes import Outcome


class Observer:
    """Is told what happens in a training; by default, it does nothing about it.

    Several observers are told in the order in which the training got them. An exception that one
    raises ends the training.

    Attributes:
        fetches: tensors of the training graph that each step computes for this observer, by the
            names under which `Step.fetched` has their values.
    """

    fetches: Mapping[str, Any] = {}

    def on_start(self, training: Training, step: int) -> None:
        """The weights are those after `step`, the first ones of a run or a checkpoint's."""

    def wants_trace(self, step: int) -> bool:
        """Returns whether the time and memory of each op in this step should be recorded."""
        return False

    def on_point(self, step: int, scalars: dict[str, float]) -> None:
        """The training curve has a new point: values by tag, means over the last few steps."""

    def on_pause(self, step: int) -> None:
        """The training pauses, as planned or for a signal; it has been saved if that was due."""

    def on_evaluation(self, step: int, outcome: Outcome, evaluator: Evaluator) -> None:
        """An observer has evaluated the weights after `step`, which the evaluator still has."""

    def on_step(self, step: int, taken: Step) -> None:
        """A step has been taken, and the pause after it, if any, is over."""

    def on_rollback(self, step: int, divergence: Diverged) -> None:
        """The training has diverged, and gone back to the weights after `step`."""

    def on_end(self) -> None:
        """The last step has been taken, by all workers."""

    def on_test(self, test: Split, outcome: Outcome, result: dict[str, Any]) -> None:
        """At the end, an observer has evaluated the test images; see `outcomes.result`."""
