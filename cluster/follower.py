"""The training loop of a worker that is not the chief: it steps along, and writes nothing."""

import math
import pathlib
import signal
import sys
from typing import TYPE_CHECKING, Any

import tensorflow.compat.v1 as tf

import model
from mnist.batches import Batches
from runtime import checkpoints
from runtime.alone import FINISHED, REFUSED
from runtime.errors import CommandError, InputError, WorkerLost
from runtime.files import make_folder, writing
from runtime.graphs import TrainingGraph
from runtime.interruption import Interrupted, StopRequest
from runtime.training import MOST_ROLLBACKS, Diverged, Intervals, take_step

if TYPE_CHECKING:
    from cluster.workers import Workers


def follow(
    workers: "Workers",
    flags: dict[str, Any],
    batches: Batches,
    folder: pathlib.Path,
    data: dict[str, Any],
) -> None:
    """Takes the steps of a run together with the chief, to its end.

    Args:
        workers: this one and the others.
        flags: of the run.
        batches: of the training images.
        folder: the run's; if the chief is lost, this worker saves its weights beside it.
        data: the data set's `description`.

    Raises:
        Interrupted: Ctrl-C or SIGTERM on one of the workers.
        CommandError: a worker is lost, or training diverged.
    """
    batches = batches.taking(workers.part)
    rollbacks = workers.number_from_chief()
    if rollbacks == FINISHED:
        return
    if rollbacks == REFUSED:
        sys.exit(InputError.exit_code)
    network = model.network_of(flags, data)
    graph = model.training_graph(network, model.recipe_of(flags), workers.replica)
    intervals = Intervals(flags, has_validation=data["validation"] > 0)
    with workers.session(graph) as session, StopRequest() as stop:
        while True:
            workers.share_weights(session)
            workers.wait_for_chief()
            first_step = int(session.run(graph.global_step))
            try:
                _follow_from(
                    first_step, graph, session, intervals, batches, rollbacks, workers, stop
                )
                return workers.leave()
            except Diverged as divergence:
                rollbacks += 1
                if flags["on_nan"] == "stop" or rollbacks > MOST_ROLLBACKS:
                    raise CommandError(str(divergence)) from None
            except WorkerLost as loss:
                if 0 not in loss.ranks:
                    raise  # The chief saves.
                saved = _save(graph, session, folder.with_name(f"{folder.name}.worker"))
                raise WorkerLost(f"{loss}; {saved}", loss.ranks) from loss


def _follow_from(
    steps_done: int,
    graph: TrainingGraph,
    session: tf.Session,
    intervals: Intervals,
    batches: Batches,
    rollbacks: int,
    workers: "Workers",
    stop: StopRequest,
) -> None:
    train_steps = intervals.flags["train_steps"]
    for step, batch in enumerate(batches.ahead(steps_done, train_steps), steps_done + 1):
        with workers.watched(is_step=True) as options:
            taken = take_step(
                session,
                graph,
                *batch,
                0.5**rollbacks,
                wants_to_stop=stop.signal_number is not None,
                options=options,
            )
        if not math.isfinite(taken.loss):
            raise Diverged(step, taken.learning_rate, f"the loss is {taken.loss}")
        if intervals.is_save_due(step) or taken.stops:
            workers.average_statistics(session)
            if not session.run(graph.is_finite):
                raise Diverged(step, taken.learning_rate, "a variable is infinite or NaN")
        if intervals.is_pause_due(step) or taken.stops:
            workers.wait_for_chief()
        if taken.stops and step < train_steps:
            raise Interrupted(
                stop.signal_number or signal.SIGINT,
                "with all workers; the same commands (without --overwrite) resume",
            )


def _save(graph: TrainingGraph, session: tf.Session, folder: pathlib.Path) -> str:
    """Saves the last step that all workers have taken; returns what to tell of it."""
    path = folder / checkpoints.MODEL
    try:
        make_folder(folder)
        with graph.graph.as_default(), writing(path, tf.errors.OpError):
            saver = tf.train.Saver(save_relative_paths=True)
            step = int(session.run(graph.global_step))
            saved = saver.save(session, str(path), global_step=step, write_meta_graph=False)
    except CommandError as error:
        return f"its weights could not be saved: {error}"
    return f"saved {saved}"
