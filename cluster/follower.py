"""The training of a worker that is not the chief: it steps along, and writes nothing."""

import sys

import model
from cluster.workers import RESUME
from console import interruption
from console.errors import InputError
from console.interruption import StopRequest
from console.progress import doing, note
from mnist.batches import Batches
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
        run: its flags and data.
        batches: of the training images.

    Exits if the chief refuses to train.

    Raises:
        Interrupted: Ctrl-C or SIGTERM on one of the workers.
        CommandError: a worker is lost, or training diverged.
    """
    verdict, rollbacks = worker.share_verdict()
    if verdict == Verdict.FINISHED:
        return
    if verdict == Verdict.REFUSED:
        note("worker 0 refuses to train, and says why")
        sys.exit(InputError.exit_code)
    network = model.network_of(run.flags, run.dataset)
    with doing("building the graph"), interruption.ending_at_once():
        graph = model.training_graph(network, model.recipe_of(run.flags), worker.replica)
    plan = Plan.of_flags(run.flags, has_validation=run.dataset["validation"] > 0)
    keeper = LeftToChief(rollbacks)
    Training(graph, batches.taking(worker.part), plan, keeper, worker).run(StopRequest())


class LeftToChief(Keeper):
    """Leaves it to the chief to keep the weights, which come from it."""

    def __init__(self, rollbacks: int):
        """Takes the run's rollbacks so far."""
        self.rollbacks_before = rollbacks

    def begin(self, weights: Weights) -> None:
        """The chief initializes or restores the weights, and then shares them."""

    def go_back(self, diverged_at: int) -> None:
        """The chief restores the weights, and then shares them."""

    def rescue(self, loss: WorkerLost, unfinished_point: list[list[float]]) -> WorkerLost:
        """Leaves saving to the chief, too."""
        return WorkerLost(f"{loss}; {RESUME}", loss.ranks)

    def kept(self) -> str:
        """Completes: the last good checkpoint is ..."""
        return "the chief's"

    def how_to_resume(self) -> str:
        """Completes: stopped by SIGINT, ..."""
        return "with all workers; the same commands (without --overwrite) resume"
