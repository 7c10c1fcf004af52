"""Trains a batch-normalized network on MNIST, and measures its test accuracy once, at the end.

python train.py                                 MNIST, three epochs
python train.py --nobatch_norm                  the same network without batch normalization
python train.py --flagfile=presets/blog.flags   the recipe of the old tutorials
python evaluate.py                              the checkpoint, in a separate inference graph
tensorboard --logdir=summaries                  the curves
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # where `python -I` does not look
from console import first  # noqa: F401, for what it does when it is imported

# isort: split
import pathlib
import re

import flags
from cluster import joining, local
from console import commands
from console.importing import import_tensorflow
from console.interruption import StopRequest, ending_at_once
from console.progress import doing, note
from mnist.batches import Batches
from mnist.datasets import FILES_OF_MNIST, Dataset, load
from storage import checkpoints, event_files, lock, opening, records
from storage.run import Run
from training import advice, outcomes
from training.worker import Verdict, Worker

FLAGS = flags.FLAGS
flags.define_training()


def main() -> None:
    """Trains a run according to the flags, alone or as one of several workers."""
    commands.check_json_flag(FLAGS.json)
    dataset = load(FLAGS.dataset, FLAGS.data_dir, is_named=FLAGS["data_dir"].present > 0)
    are_there_runs = any(pathlib.Path(FLAGS.checkpoint_dir).glob(f"*/{records.FILE}"))
    if dataset.name == "synthetic" and FLAGS.dataset != "synthetic" and not are_there_runs:
        note(FILES_OF_MNIST)
    dataset = dataset.with_validation(FLAGS.validation_size)
    batches = Batches(*dataset.train, FLAGS.batch_size, FLAGS.seed)
    if FLAGS.workers > 1:
        local.become_workers(FLAGS.workers)  # does not return: each worker begins anew
    name = FLAGS.run or f"{FLAGS.model}-{'bn' if FLAGS.batch_norm else 'nobn'}"
    wanted = Run(
        folder=pathlib.Path(FLAGS.checkpoint_dir, name),
        flags=flags.of_run(FLAGS, batches.steps_per_epoch),
        dataset=dataset.description(),
        data_dir=FLAGS.data_dir,
        checkpoints={},
    )
    checkpoints.check_path(wanted.folder)
    summary_dir = pathlib.Path(FLAGS.summary_dir, name)
    with joining.joined(wanted.flags, wanted.dataset) as worker:
        if not worker.is_chief:
            from cluster import follower

            return follower.follow(worker, wanted, batches)
        with lock.only_process(wanted.folder):
            run = opening.open_run(
                wanted,
                flags.defaults_of_run(FLAGS),
                summary_dir,
                resume=FLAGS.resume,
                overwrite=FLAGS.overwrite,
            )
            if run.result is None:
                train(run, dataset, batches, worker, summary_dir)
            else:
                worker.share_verdict(Verdict.FINISHED)
                note(opening.how_to_go_on(run, summary_dir))
    tell(run, summary_dir)


def tell(run: Run, summary_dir: pathlib.Path) -> None:
    """Prints what a finished run has reached, and what to do next."""
    if run.validation_accuracy is not None:
        print(f"validation accuracy {run.validation_accuracy:.4f} at step {run.evaluated_step}")
    assert run.result is not None, "it is finished"
    outcomes.announce(run.result, FLAGS.json, [run])
    curves = event_files.address(pathlib.Path(FLAGS.summary_dir), few=f"^{re.escape(run.name)}/")
    note(f"to see the curves: {commands.tensorboard(FLAGS.summary_dir)}, then {curves}")
    is_default = FLAGS["checkpoint_dir"].using_default_value
    where = [] if is_default else [f"--checkpoint_dir={FLAGS.checkpoint_dir}"]
    if not run.missing():
        note(f"to evaluate again: {commands.line('evaluate.py', f'--run={run.name}', *where)}")


def train(
    run: Run, dataset: Dataset, batches: Batches, worker: Worker, summary_dir: pathlib.Path
) -> None:
    """Trains a run to its end, and records what it reaches on the test images."""
    advice.note_before(run, dataset, worker)
    # Not at the top of the file: it takes seconds, and wrong input should be reported at once.
    import_tensorflow()
    import model
    from dashboard.board import Board
    from diagnosis import asking
    from training.evaluation import Evaluation
    from training.evaluator import Evaluator
    from training.keeper import CheckpointKeeper
    from training.loop import Training
    from training.plan import Plan
    from training.reporting import ProgressBar

    if not run.checkpoints:
        opening.clear_and_begin(run)
    network = model.network_of(run.flags, run.dataset)
    with doing("building the graphs"), ending_at_once():
        graph = model.training_graph(network, model.recipe_of(run.flags), worker.replica)
        inference_graph = model.inference_graph(network)
    asking.warn(graph.graph, [graph.train_op], outputs=[])
    asking.warn(inference_graph.graph, outputs=[inference_graph.logits])
    plan = Plan.of_flags(run.flags, has_validation=len(dataset.validation.labels) > 0)
    keeper = CheckpointKeeper(run, worker.count)
    with Evaluator(inference_graph) as evaluator, ProgressBar(run.name) as progress:
        board = Board(summary_dir, run, flags.chosen(FLAGS), evaluator, dataset.validation)
        # As late as this, so that the others hear of what fails before it.
        worker.share_verdict(rollbacks=len(run.rollbacks))
        # The evaluation last: at its own start, it may already tell the other observers of one, and
        # they must have started.
        observers = [progress, board, Evaluation(evaluator, keeper, dataset)]
        training = Training(graph, batches.taking(worker.part), plan, keeper, worker, observers)
        with board:
            training.run(StopRequest())


if __name__ == "__main__":
    commands.run(main, flags.SECTIONS)
