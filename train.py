"""Trains a batch-normalized network on MNIST, and measures its test accuracy once, at the end.

python train.py                                 MNIST, three epochs
python train.py --nobatch_norm                  the same network without batch normalization
python train.py --flagfile=presets/blog.flags   the recipe of the old tutorials
python evaluate.py                              the checkpoint, in a separate inference graph
tensorboard --logdir=summaries                  the curves
"""

import pathlib
from typing import Any

from absl import flags as absl_flags

import flags
from mnist import datasets
from mnist.batches import Batches
from runtime import classification, commands, files, lock, processor, runs
from runtime.progress import note

FLAGS = absl_flags.FLAGS
flags.define_training()


def main() -> None:
    """Trains a run according to the flags."""
    commands.check_json_flag(FLAGS.json)
    dataset = datasets.load(FLAGS.dataset, FLAGS.data_dir).with_validation(FLAGS.validation_size)
    batches = Batches(*dataset.train, FLAGS.batch_size, FLAGS.seed)
    name = FLAGS.run or f"{FLAGS.model}-{'bn' if FLAGS.batch_norm else 'nobn'}"
    folder = pathlib.Path(FLAGS.checkpoint_dir, name)
    summary_dir = pathlib.Path(FLAGS.summary_dir, name)
    files.make_folder(summary_dir)
    files.make_folder(folder.parent)
    with lock.only_process(folder):
        run = runs.open_run(
            folder,
            flags.of_run(FLAGS, batches.steps_per_epoch),
            flags.defaults_of_run(FLAGS),
            dataset.description(),
            FLAGS.data_dir,
            summary_dir,
            resume=FLAGS.resume,
            overwrite=FLAGS.overwrite,
        )
        if run.result:
            note(runs.how_to_go_on(run))
        else:
            run.result = train(run, dataset, batches, summary_dir)
            run.save()
    commands.finish(run.result, FLAGS.json)
    is_default = FLAGS["checkpoint_dir"].using_default_value
    where = [] if is_default else [f"--checkpoint_dir={FLAGS.checkpoint_dir}"]
    note(f"to see the curves: {commands.tensorboard(FLAGS.summary_dir)}")
    note(f"to evaluate again: {commands.line('evaluate.py', f'--run={name}', *where)}")


def train(
    run: runs.Run, dataset: datasets.Dataset, batches: Batches, summary_dir: pathlib.Path
) -> dict[str, Any]:
    """Trains a run to its end; returns its result on the test images."""
    note(
        f"{run.name}: training on {dataset.name}, {len(dataset.train.labels)} images, "
        f"{run.flags['train_steps']} steps of {run.flags['batch_size']}"
    )
    hint = processor.precision_hint(run.flags["precision"], processor.features())
    if hint:
        note(hint)
    # Not at the top of the file: it takes seconds, and wrong input should be reported at once.
    commands.import_tensorflow()
    import model
    from dashboard import hparams, summaries
    from runtime import evaluation, training

    if not run.checkpoints:
        runs.clear_and_begin(run)
    network = model.network_of(run.flags)
    graph = model.training_graph(network, model.recipe_of(run.flags))
    with (
        hparams.session(summary_dir, {**run.flags, "dataset": dataset.name}),
        evaluation.Evaluator(model.inference_graph(network)) as evaluator,
    ):
        checkpoint = training.train(graph, run, batches, dataset.validation, evaluator, summary_dir)
        averaged = run.flags["weight_average"] > 0
        if averaged or run.flags["population"] == "exact":
            checkpoint = evaluation.save_exact_population(
                evaluator, checkpoint, dataset.train, averaged=averaged
            )
            run.add_checkpoint(checkpoint)
        evaluator.restore(checkpoint)
        outcome = evaluator.classify(*dataset.test)
        result = classification.result(outcome, dataset.name, "test", checkpoint)
        again = commands.line("evaluate.py", f"--checkpoint={checkpoint}")
        summaries.write_test_outcome(summary_dir / "test", dataset.test, outcome, result, again)
    return result


if __name__ == "__main__":
    commands.run(main)
