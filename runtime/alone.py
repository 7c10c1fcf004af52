"""A run with a single worker; `cluster.workers.Workers` is the same for several.

Without TensorFlow until there is a graph, since it takes seconds to import.
"""

from __future__ import annotations

import contextlib
import pathlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

    from mnist.batches import Batches
    from runtime.graphs import Replica, TrainingGraph


# The chief tells this instead of the number of rollbacks if there is nothing to train.
FINISHED = -1
# And this if it does not train, for a reason that it tells the user.
REFUSED = -2


class Alone:
    """The only worker of a run."""

    count = 1
    is_chief = True
    part = slice(None)  # which of a batch's images it takes

    @property
    def replica(self) -> Replica | None:
        """Its part of each batch, or None for all of it."""
        return None

    def session(self, graph: TrainingGraph) -> tf.Session:
        """Opens a session on the training graph."""
        import tensorflow.compat.v1 as tf

        return tf.Session(graph=graph.graph)

    def watched(
        self, *, is_step: bool = False
    ) -> contextlib.AbstractContextManager[tf.RunOptions | None]:
        """Turns the loss of another worker in the block into a `WorkerLost` that names it.

        Yields the options of the session's run.
        """
        return contextlib.nullcontext()

    def share_weights(self, session: tf.Session) -> None:
        """Gives all variables their values on the chief; every worker calls this together."""

    def average_statistics(self, session: tf.Session) -> None:
        """Makes population statistics the mean over all workers, which call this together."""

    def check_agreement(self, facts: dict[str, object]) -> None:
        """Refuses to train with workers that have other code, data or flags."""

    def number_from_chief(self, number: int = 0) -> int:
        """Returns the chief's number; every worker calls this together."""
        return number

    def follow(
        self, flags: dict[str, Any], batches: Batches, folder: pathlib.Path, data: dict[str, Any]
    ) -> None:
        """Trains as a worker that is not the chief; see `cluster.follower`."""
        raise NotImplementedError("a worker that is alone is the chief")

    def leave(self) -> None:
        """Waits until all workers have taken the last step, unless one is gone already."""

    def keep_waiting(self) -> None:
        """Tells workers that wait for the chief that it is still busy; it calls this often."""

    def release(self) -> None:
        """Lets workers that wait for the chief go on."""
