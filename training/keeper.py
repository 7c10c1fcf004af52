"""Where the weights of a training come from, and where they are kept."""

import tensorflow.compat.v1 as tf

from console.files import writing
from console.progress import note
from storage import checkpoints, variables
from storage.checkpoints import Checkpoint
from storage.run import Run
from training.weights import Weights
from training.worker import WorkerLost


class Keeper:
    """Begins with the initial weights, and keeps none: for a short training that may be lost."""

    rollbacks_before = 0  # how often the run went back to a checkpoint before this process

    def begin(self, weights: Weights) -> None:
        """Initializes the weights, or restores them."""
        weights.initialize()

    def unfinished_point(self) -> list[list[float]]:
        """Returns loss and accuracy of the last steps before `begin`, if no point has them yet."""
        return []

    def save(self, step: int, unfinished_point: list[list[float]]) -> None:
        """Keeps the weights after a step.

        Args:
            step: how many steps they have been trained for.
            unfinished_point: loss and accuracy of the steps since the last point of the curve.
        """

    def go_back(self, diverged_at: int) -> None:
        """Restores the weights that were kept last, after the training diverged at a step."""
        raise NotImplementedError("a training that may go back keeps its weights")

    def rescue(self, loss: WorkerLost, unfinished_point: list[list[float]]) -> WorkerLost:
        """Keeps the last step of all workers when one is lost; returns what to tell the user."""
        return loss

    def kept(self) -> str:
        """Completes: the last good checkpoint is ..."""
        return "not kept"

    def how_to_resume(self) -> str:
        """Completes: stopped by SIGINT, ..."""
        return "nothing is kept"


class CheckpointKeeper(Keeper):
    """Keeps the weights in the checkpoints of a run, and resumes from them."""

    def __init__(self, run: Run, workers: int):
        """Takes the run, and how many workers train it now."""
        self.run = run
        self.rollbacks_before = len(run.rollbacks)
        self.checkpoint: Checkpoint | None = None  # saved or restored last
        self._workers = workers

    def begin(self, weights: Weights) -> None:
        """Restores the newest sound checkpoint; without one, initializes the weights."""
        self._weights = weights
        self.run.remove_strays()
        with weights.graph.graph.as_default():
            self._saver = tf.train.Saver(
                max_to_keep=checkpoints.KEPT, save_relative_paths=True, name="checkpoint/save"
            )
        # A resumed run's Saver must know the older checkpoints, or it would never delete them.
        older = reversed(self.run.newest(checkpoints.MODEL))
        self._saver.recover_last_checkpoints([str(checkpoint) for checkpoint in older])
        self._restore()
        if self.checkpoint:
            steps = f"step {self.checkpoint.step} of {self.run.flags['train_steps']}"
            note(f"resuming {self.run.folder} at {steps}")
        self.run.begin_at(self.checkpoint.step if self.checkpoint else 0, self._workers)

    def unfinished_point(self) -> list[list[float]]:
        """Returns what the restored checkpoint was saved with."""
        return self.run.unfinished_points.get(self.checkpoint.name, []) if self.checkpoint else []

    def save(self, step: int, unfinished_point: list[list[float]]) -> None:
        """Saves a checkpoint, and records it."""
        prefix = self.run.folder / checkpoints.MODEL
        with self._weights.graph.graph.as_default(), writing(prefix, tf.errors.OpError):
            path = self._saver.save(
                self._weights.session, str(prefix), global_step=step, write_meta_graph=False
            )
            self.checkpoint = Checkpoint.at(path)
            self.run.unfinished_points[self.checkpoint.name] = unfinished_point
            self.run.add_checkpoint(self.checkpoint)

    def go_back(self, diverged_at: int) -> None:
        """Records the divergence, which lowers the learning rate from here on, and restores."""
        self.run.rollbacks.append(diverged_at)
        self.run.save()
        self._restore()

    def rescue(self, loss: WorkerLost, unfinished_point: list[list[float]]) -> WorkerLost:
        """Saves a checkpoint, if the weights are finite.

        Without synchronized statistics it has this worker's own, since the others' can't be had.
        """
        if self._weights.are_finite():
            self.save(self._weights.step(), unfinished_point)
            saved = f"saved {self.checkpoint}"
        else:
            saved = f"the weights are not finite, and the last good checkpoint is {self.kept()}"
        return WorkerLost(f"{loss}; {saved}; started again, all workers resume from it", loss.ranks)

    def kept(self) -> str:
        """Completes: the last good checkpoint is ..."""
        return str(self.checkpoint or "not written yet")

    def how_to_resume(self) -> str:
        """Completes: stopped by SIGINT, ..."""
        return f"saved {self.checkpoint}; the same command (without --overwrite) resumes from there"

    def _restore(self) -> None:
        self.checkpoint = self.run.newest_sound()
        if self.checkpoint is None:
            self._weights.initialize()
        else:
            with self._weights.graph.graph.as_default():
                variables.restore(self._saver, self._weights.session, self.checkpoint)
