"""Trains a batch-normalized network on MNIST, and measures its test accuracy once, at the end.

python train.py                                 MNIST, three epochs
python train.py --nobatch_norm                  the same network without batch normalization
python train.py --flagfile=presets/blog.flags   the recipe of the old tutorials
python evaluate.py                              the checkpoint, in a separate inference graph
tensorboard --logdir=summaries                  the curves
"""

import pathlib
import sys
from typing import Any

import flags
from cluster import joining, local
from mnist.batches import Batches
from mnist.datasets import Dataset, load
from runtime import commands, lock, processor, runs
from runtime.alone import FINISHED, Alone
from runtime.progress import note

FLAGS = flags.FLAGS
flags.define_training()


def main() -> None:
    """Trains a run according to the flags, alone or as one of several workers."""
    commands.check_json_flag(FLAGS.json)
    dataset = load(FLAGS.dataset, FLAGS.data_dir, is_named=FLAGS["data_dir"].present > 0)
    dataset = dataset.with_validation(FLAGS.validation_size)
    batches = Batches(*dataset.train, FLAGS.batch_size, FLAGS.seed)
    if FLAGS.workers > 1:
        sys.exit(local.train(FLAGS.workers))
    values = flags.of_run(FLAGS, batches.steps_per_epoch)
    name = FLAGS.run or f"{FLAGS.model}-{'bn' if FLAGS.batch_norm else 'nobn'}"
    folder = pathlib.Path(FLAGS.checkpoint_dir, name)
    with joining.joined(values, dataset.description()) as workers:
        if not workers.is_chief:
            return workers.follow(values, batches, folder, dataset.description())
        summary_dir = pathlib.Path(FLAGS.summary_dir, name)
        with lock.only_process(folder):
            run = runs.open_run(
                folder,
                values,
                flags.defaults_of_run(FLAGS),
                dataset.description(),
                FLAGS.data_dir,
                summary_dir,
                resume=FLAGS.resume,
                overwrite=FLAGS.overwrite,
            )
            if run.result is None:
                run.result = train(run, dataset, batches, workers, summary_dir)
                run.save()
            else:
                workers.number_from_chief(FINISHED)
                note(runs.how_to_go_on(run, summary_dir))
    if run.validation_accuracy is not None:
        print(f"validation accuracy {run.validation_accuracy:.4f} at step {run.evaluated_step}")
    commands.finish(run.result, FLAGS.json, [run])
    commands.note_next(name, FLAGS.summary_dir, FLAGS.checkpoint_dir)


def train(
    run: runs.Run, dataset: Dataset, batches: Batches, workers: Alone, summary_dir: pathlib.Path
) -> dict[str, Any]:
    """Trains a run to its end; returns what it reaches on the test images."""
    note(
        f"{run.name}: training on {dataset.name}, {len(dataset.train.labels)} images, "
        f"{run.flags['train_steps']} steps of {run.flags['batch_size']}"
    )
    processor.note_precision(run.flags["precision"], run.flags["model"])
    # Not at the top of the file: it takes seconds, and wrong input should be reported at once.
    commands.import_tensorflow()
    import model
    from dashboard import hparams
    from runtime import evaluation, training

    if not run.checkpoints:
        runs.clear_and_begin(run)
    network = model.network_of(run.flags, run.dataset)
    graph = model.training_graph(network, model.recipe_of(run.flags), workers.replica)
    with (
        hparams.session(summary_dir, {**run.flags, "dataset": dataset.name}),
        evaluation.Evaluator(model.inference_graph(network)) as evaluator,
    ):
        checkpoint = training.train(
            graph, run, batches, dataset.validation, evaluator, summary_dir, workers
        )
        averaged = run.flags["weight_average"] > 0
        if averaged or run.flags["population"] == "exact":
            checkpoint = evaluation.save_exact_population(
                evaluator, checkpoint, dataset.train, averaged=averaged
            )
            run.add_checkpoint(checkpoint)
        return evaluation.test(evaluator, checkpoint, dataset, summary_dir / "test")


if __name__ == "__main__":
    commands.run(main, flags.SECTIONS)
