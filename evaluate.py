"""Classifies a data split with the weights of a checkpoint, in a separate inference graph.

python evaluate.py                                            the run trained last, test images
python evaluate.py --run=cnn-nobn --split=validation
python evaluate.py --checkpoint=checkpoints/cnn-bn/best.ckpt-1287
python evaluate.py --fold_batch_norm                          as it would be deployed
python evaluate.py --run=cnn-bn,cnn-nobn                      several runs together
python evaluate.py --run=accurate --tta=8                     trained with --augment: copies, too
python evaluate.py --projector                                the digits in TensorBoard's Projector
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # where `python -I` does not look
from console import first  # noqa: F401, for what it does when it is imported

# isort: split
import functools
import pathlib
from typing import TYPE_CHECKING

import flags
from console import commands, files
from console.errors import InputError
from console.importing import import_tensorflow
from console.progress import Progress, doing, note
from storage import finding, lock, run_data
from storage.run import Run
from training import outcomes

if TYPE_CHECKING:
    from model import InferenceGraph

FLAGS = flags.FLAGS
flags.define_evaluation()


def main() -> None:
    """Evaluates checkpoints according to the flags."""
    commands.check_json_flag(FLAGS.json)
    names = FLAGS.run.split(",") if FLAGS.run else [None]
    found = [
        finding.find_checkpoint(FLAGS.checkpoint_dir, name, FLAGS.checkpoint) for name in names
    ]
    members = [run for run, _ in found]
    for run, checkpoint in found:
        trained_by = lock.holder(run.folder)
        if trained_by:
            note(f"{run.folder} is in training ({trained_by}); this is step {checkpoint.step}")
        if FLAGS.fold_batch_norm and run.flags.get("batch_norm") is False:
            raise InputError(f"--fold_batch_norm: {run.folder} was trained without batch norm")
    summary_dir = pathlib.Path(FLAGS.summary_dir, members[0].name)
    if FLAGS.projector:
        files.make_folder(summary_dir)
    dataset = run_data.load(members, FLAGS.split, FLAGS.dataset, FLAGS.data_dir)
    split = getattr(dataset, FLAGS.split)
    those = ", ".join(str(checkpoint) for _, checkpoint in found)
    note(f"evaluating {those} on {len(split.labels)} {FLAGS.split} images of {dataset.name}")
    import_tensorflow()
    from dashboard import projector
    from diagnosis import asking
    from training import evaluator

    with doing("building the graphs"):
        graphs = [graphs_of(run) for run in members]
    of_members, checkpoints = [], []
    looks = len(found) * (1 + FLAGS.tta)
    with Progress(looks * evaluator.batches_of(split), 0, f"{FLAGS.split} images") as progress:
        for (run, checkpoint), pair in zip(found, graphs, strict=True):
            # A run in training may have replaced it while the graph was built.
            checkpoint = finding.find_again(run, checkpoint)
            checkpoints.append(checkpoint)
            evaluator.note_mismatches(run, checkpoint, FLAGS.tta)
            on_batch = functools.partial(progress.advance, run.name)
            of_members.append(
                evaluator.classify_with_copies(*pair, checkpoint, split, FLAGS.tta, on_batch)
            )
            if not FLAGS.fold_batch_norm:
                asking.warn(pair[0].graph, outputs=[pair[0].logits], checkpoint=str(checkpoint))
    outcome, result = outcomes.of_members(
        of_members,
        checkpoints,
        dataset.name,
        FLAGS.split,
        distorted_copies=FLAGS.tta,
        vote=FLAGS.vote,
    )
    if FLAGS.projector:
        name = f"{dataset.name} {FLAGS.split} digits at step {checkpoints[0].step}"
        with evaluator.Evaluator(graphs[0][0]) as first:
            first.restore(checkpoints[0])
            embedding = first.embedding(split.images)
        projector.write(
            summary_dir, name, embedding, split.images, split.labels, outcome.predictions
        )
        note(
            f"to see the digits: {commands.tensorboard(FLAGS.summary_dir)}, then Projector, "
            f"{members[0].name}/projector (restart TensorBoard if it is running)"
        )
    print(outcomes.report(outcome))
    outcomes.announce(result, FLAGS.json, members)


def graphs_of(run: Run) -> "tuple[InferenceGraph, InferenceGraph | None]":
    """Builds a run's inference graph and, for --tta, the one that distorts its images."""
    # Not at the top of the file, since they import TensorFlow.
    import model
    from training import evaluator

    network = evaluator.network_of_run(run)
    build = model.folded_inference_graph if FLAGS.fold_batch_norm else model.inference_graph
    return build(network), build(network, augment="affine") if FLAGS.tta else None


if __name__ == "__main__":
    commands.run(main, flags.SECTIONS)
