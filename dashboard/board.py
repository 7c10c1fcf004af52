"""What TensorBoard shows of a run, as an observer of its training."""

import contextlib
import pathlib
from collections.abc import Collection
from typing import Any

from console import commands, markdown
from dashboard import hparams, pictures, projector, summaries
from dashboard.summaries import EventWriter
from mnist.datasets import Split
from storage.event_files import remove_events
from storage.run import Run
from training.curve import EVALUATING
from training.evaluator import Evaluator
from training.loop import Diverged, Step, Training
from training.observer import Observer
from training.outcomes import Outcome

# The step whose ops are timed. By then, all the memory that a step needs has been allocated once.
TRACED_STEP = 10


class Board(Observer):
    """Writes a run's events; a context manager, to say how the run ended and to close the files."""

    def __init__(
        self,
        folder: pathlib.Path,
        run: Run,
        chosen: Collection[str],
        evaluator: Evaluator,
        validation: Split,
    ):
        """Takes the folder of the run's events, the run, what evaluates it, and on which images.

        Of the run's flags, HParams shows `chosen`, besides those that are always there.
        """
        self._folder = folder
        self._run = run
        self._chosen = chosen
        self._inference_graph = evaluator.graph.graph
        self._validation = validation
        self._files = contextlib.ExitStack()

    def __enter__(self) -> "Board":
        # Not all: columns that are the same for every run would push the results out of view.
        shown = {*hparams.ALWAYS, *self._chosen}
        flags = {name: value for name, value in self._run.flags.items() if name in shown}
        if self._run.dataset["name"] != "mnist":
            flags["dataset"] = self._run.dataset["name"]
        self._files.enter_context(hparams.session(self._folder, flags))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._files.__exit__(*exception)

    def on_start(self, training: Training, step: int) -> None:
        """Opens the event files; those of an earlier run of this name are deleted."""
        self._clock = training.clock
        self._started_at = step
        self._step_to_trace: int | None = min(TRACED_STEP, training.plan.train_steps)
        with self._clock.stopped(EVALUATING):
            self._open(training, step)

    def _open(self, training: Training, step: int) -> None:
        if step == 0:
            remove_events(self._folder)
            projector.remove(self._folder)
        self._train_events = self._files.enter_context(
            EventWriter(self._folder / "train", step + 1, training.weights.graph.graph)
        )
        self._validation_events = self._files.enter_context(
            EventWriter(self._folder / "validation", step + 1, self._inference_graph)
        )
        facts = {**self._run.flags, **self._run.dataset}
        self._train_events.text(step + 1, "flags", markdown.table(["name", "value"], facts.items()))

    def wants_trace(self, step: int) -> bool:
        """Returns whether this is the step to trace, unless it has been, before a rollback."""
        return step == self._step_to_trace

    def on_point(self, step: int, scalars: dict[str, float]) -> None:
        """Adds a point to the training curves."""
        with self._clock.stopped(EVALUATING):
            self._train_events.scalars(step, scalars)

    def on_evaluation(self, step: int, outcome: Outcome, evaluator: Evaluator) -> None:
        """Adds a point to the validation curves, and what else the evaluator's weights show."""
        if step == self._started_at:
            # It is made up for: what the interrupted run has shown of this step is replaced.
            self._validation_events.void_from(step)
        scalars, images = outcome.scalars, len(outcome.labels)
        if images < len(self._validation.labels):
            # Not in one line with the others: what sets these few images apart from all would look
            # like a bump, and smoothing would drag the line's end down to where it began.
            scalars = {
                f"early/accuracy of {images} images": outcome.accuracy,
                f"early/loss of {images} images": outcome.loss,
            }
        self._validation_events.scalars(step, scalars)
        histograms = evaluator.histograms(*self._validation)
        if histograms is not None:
            self._validation_events.serialized(step, histograms)
        filters = pictures.filter_grid(evaluator.filters())
        self._validation_events.image(step, "first-layer filters", filters)

    def on_step(self, step: int, taken: Step) -> None:
        """Writes the trace of a step that had one."""
        if taken.trace is not None:
            with self._clock.stopped(EVALUATING):
                self._train_events.trace(step, taken.trace)
            self._step_to_trace = None

    def on_rollback(self, step: int, divergence: Diverged) -> None:
        """Makes TensorBoard drop what belongs to steps that are taken back."""
        for events in (self._train_events, self._validation_events):
            events.void_from(step + 1)

    def on_test(self, test: Split, outcome: Outcome, result: dict[str, Any]) -> None:
        """Writes the curves' last point on the test images, the mistakes, and the result."""
        again = commands.line("evaluate.py", f"--checkpoint={result['checkpoint']}")
        folder = self._folder / "test"
        summaries.write_test_outcome(folder, test, outcome, result, again)
