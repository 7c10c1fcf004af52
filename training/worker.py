"""What a worker is. A training that is alone has one, a replica of one, which waits for nobody.

`cluster.workers` has the same for several. Without TensorFlow until there is a graph, since it
takes seconds to import.
"""

from __future__ import annotations

import contextlib
import enum
from typing import TYPE_CHECKING

from console.errors import CommandError

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

    from model import TrainingGraph
    from networks.architectures import Replica


class Verdict(enum.IntEnum):
    """What the chief tells the others of the run once it has looked at it."""

    TRAIN = 0
    FINISHED = 1  # there is nothing to train
    REFUSED = 2  # for a reason that the chief tells the user


class WorkerLost(CommandError):
    """Another worker of the same run does not answer any more."""

    def __init__(self, message: str, ranks: list[int]):
        """Takes the line for the user, and which workers are lost."""
        super().__init__(message)
        self.ranks = ranks


class Worker:
    """The only worker of a training, and the interface of one of several.

    All workers call the methods of an exchange together: `check_agreement`, `share_verdict`,
    `share_weights`, `average_statistics`, `meet`, `leave`.
    """

    count = 1
    is_chief = True
    part = slice(None)  # which of a batch's images it takes

    @property
    def replica(self) -> Replica:
        """Its part in the training graph."""
        # Not at the top of the file, since it imports TensorFlow.
        from networks.architectures import ALONE

        return ALONE

    def session(self, graph: TrainingGraph) -> tf.Session:
        """Opens a session on the training graph, in which it then exchanges things."""
        import tensorflow.compat.v1 as tf

        return tf.Session(graph=graph.graph)

    def watched(
        self, *, is_step: bool = False
    ) -> contextlib.AbstractContextManager[tf.RunOptions | None]:
        """Turns the loss of another worker in the block into a `WorkerLost` that names it.

        Yields the options of the session's run.
        """
        return contextlib.nullcontext()

    def check_agreement(self, facts: dict[str, object]) -> None:
        """Refuses to train with workers that have other code, data or flags."""

    def share_verdict(
        self, verdict: Verdict = Verdict.TRAIN, rollbacks: int = 0
    ) -> tuple[Verdict, int]:
        """Gives all workers the chief's verdict, and how often the run has gone back."""
        return verdict, rollbacks

    def share_weights(self) -> None:
        """Gives all variables their values on the chief."""

    def average_statistics(self) -> None:
        """Makes population statistics the mean over all workers."""

    def meet(self) -> None:
        """Waits until the chief has done what only it does: saving and evaluating."""

    def leave(self) -> None:
        """Waits until all workers have taken the last step, unless one is gone already."""
