"""Classifies a data split with the weights of a checkpoint, in an inference graph of its own.

python evaluate.py                                            the run trained last, test images
python evaluate.py --run=cnn-nobn --split=validation
python evaluate.py --checkpoint=checkpoints/cnn-bn/best.ckpt-1287
python evaluate.py --fold_batch_norm                          as one would deploy it
python evaluate.py --projector                                the digits in TensorBoard's Projector
"""

import pathlib

from absl import flags as absl_flags

import flags
from runtime import commands

FLAGS = absl_flags.FLAGS
flags.define_evaluation()


def main() -> None:
    """Evaluates, as the flags say."""
    # Not at the top of the file: TensorFlow takes seconds to import, a mistyped flag should not.
    import model
    from mnist import datasets
    from runtime import checkpoints, evaluation, files, projector, runs
    from runtime.errors import InputError
    from runtime.progress import note

    commands.check_json_flag(FLAGS.json)
    run, checkpoint = runs.find(FLAGS.checkpoint_dir, FLAGS.run, FLAGS.checkpoint)
    summary_dir = pathlib.Path(FLAGS.summary_dir, run.name)
    if FLAGS.projector:
        files.make_folder(summary_dir)
    is_synthetic = run.dataset["name"] == "synthetic" and not FLAGS.data_dir
    # A path from a file is read from, but nothing is downloaded to it.
    recorded = run.data_dir if datasets.is_complete(run.data_dir) else "data"
    dataset = datasets.load(
        FLAGS.dataset or ("synthetic" if is_synthetic else "mnist"), FLAGS.data_dir or recorded
    )
    if dataset.description() != run.dataset:
        note(f"{run.folder} was trained on {run.dataset['name']}, is evaluated on {dataset.name}")

    try:
        network = model.network_of(run.flags)
    except ValueError as error:
        raise InputError(f"{run.folder / runs.RUN_FILE}: {error}") from None
    if FLAGS.fold_batch_norm and not network.batch_norm:
        raise InputError(f"--fold_batch_norm: {run.folder} was trained without batch norm")
    build = model.folded_inference_graph if FLAGS.fold_batch_norm else model.inference_graph
    with evaluation.Evaluator(build(network)) as evaluator:
        if FLAGS.fold_batch_norm:
            variables = checkpoints.read(checkpoint)
            evaluator.load(model.fold_batch_norms(variables, network.bn_epsilon))
        else:
            evaluator.restore(checkpoint)
        images, labels = getattr(dataset, FLAGS.split)
        outcome = evaluator.classify(images, labels)
        if FLAGS.projector:
            name = f"{dataset.name} {FLAGS.split} digits at step {checkpoints.step_of(checkpoint)}"
            embedding = evaluator.embedding(images)
            projector.write(summary_dir, name, embedding, images, labels, outcome.predictions)
            note(
                f"to see the digits: {commands.python()} -m tensorboard.main "
                f"--logdir={FLAGS.summary_dir}, then Projector, {run.name}/{projector.FOLDER} "
                "(restart one that is running)"
            )
    print(evaluation.report(outcome))
    commands.finish(evaluation.result(outcome, dataset.name, FLAGS.split, checkpoint), FLAGS.json)


if __name__ == "__main__":
    commands.run(main)
