"""The training of a worker that is not the chief: it steps along, and writes nothing."""

import pathlib
import sys

import tensorflow.compat.v1 as tf

import model
from console.errors import CommandError, InputError
from console.files import make_folder, writing
from console.interruption import StopRequest
from mnist.batches import Batches
from storage import checkpoints
from storage.run import Run
from training.keeper import Keeper
from training.loop import Training
from training.plan import Plan
from training.weights import Weights
from training.worker import Verdict, Worker, WorkerLost


def follow(worker: Worker, run: Run, batches: Batches) -> None:
    """Takes the steps of a run together with the chief, to its end.

    Args:
        worker: this one.
        run: its flags, data and folder. If the chief is lost, this worker saves its weights beside
            the folder.
        batches: of the training images.

    Exits if the chief refuses to train.

    Raises:
        Interrupted: Ctrl-C or SIGTERM on one of the workers.
        CommandError: a worker is lost, or training diverged.
    """
    verdict, rollbacks = worker.news_from_chief()
    if verdict == Verdict.FINISHED:
        return
    if verdict == Verdict.REFUSED:
        sys.exit(InputError.exit_code)
    network = model.network_of(run.flags, run.dataset)
    graph = model.training_graph(network, model.recipe_of(run.flags), worker.replica)
    plan = Plan.of_flags(run.flags, has_validation=run.dataset["validation"] > 0)
    keeper = ChiefsKeeper(rollbacks, run.folder.with_name(f"{run.name}.worker"))
    Training(graph, batches.taking(worker.part), plan, keeper, worker).run(StopRequest())


class ChiefsKeeper(Keeper):
    """Leaves it to the chief to keep the weights, which come from it, unless the chief is lost."""

    def __init__(self, rollbacks: int, rescue_folder: pathlib.Path):
        """Takes the run's rollbacks so far, and the folder for the weights if the chief is lost."""
        self.rollbacks = rollbacks
        self._rescue_folder = rescue_folder

    def begin(self, weights: Weights) -> None:
        """The chief initializes or restores the weights, and then shares them."""
        self._weights = weights

    def go_back(self, diverged_at: int) -> None:
        """The chief restores the weights, and then shares them."""

    def rescue(self, loss: WorkerLost, unfinished_point: list[list[float]]) -> WorkerLost:
        """Saves the last step that all workers have taken, if the chief can't."""
        if 0 not in loss.ranks:
            return loss
        return WorkerLost(f"{loss}; {self._save()}", loss.ranks)

    def kept(self) -> str:
        """Completes: the last good checkpoint is ..."""
        return "the chief's"

    def how_to_resume(self) -> str:
        """Completes: stopped by SIGINT, ..."""
        return "with all workers; the same commands (without --overwrite) resume"

    def _save(self) -> str:
        path = self._rescue_folder / checkpoints.MODEL
        weights = self._weights
        try:
            make_folder(self._rescue_folder)
            with weights.graph.graph.as_default(), writing(path, tf.errors.OpError):
                saver = tf.train.Saver(save_relative_paths=True)
                saved = saver.save(
                    weights.session, str(path), global_step=weights.step(), write_meta_graph=False
                )
        except CommandError as error:
            return f"its weights could not be saved: {error}"
        return f"saved {saved}"
