"""Classifies a data split with the weights of a checkpoint, in an inference graph of its own.

python evaluate.py                                            the run trained last, test images
python evaluate.py --run=cnn-nobn --split=validation
python evaluate.py --checkpoint=checkpoints/cnn-bn/best.ckpt-1287
python evaluate.py --fold_batch_norm                          as one would deploy it
python evaluate.py --run=best0,best1,best2                    the mean of what several runs say
python evaluate.py --tta=8                                    each image seen in nine ways
python evaluate.py --projector                                the digits in TensorBoard's Projector
"""

import functools
import pathlib
from typing import Any

from absl import flags as absl_flags

import flags
from mnist import datasets
from runtime import checkpoints, classification, commands, files, records, runs
from runtime.classification import Outcome
from runtime.errors import InputError
from runtime.progress import Progress, note

FLAGS = absl_flags.FLAGS
flags.define_evaluation()


def main() -> None:
    """Evaluates, as the flags say."""
    commands.check_json_flag(FLAGS.json)
    names = FLAGS.run.split(",") if FLAGS.run else [None]
    found = [runs.find(FLAGS.checkpoint_dir, name, FLAGS.checkpoint) for name in names]
    for run, _ in found:
        _check(run, found[0][0])
    if FLAGS.projector:
        files.make_folder(pathlib.Path(FLAGS.summary_dir, found[0][0].name))
    dataset = _load_dataset(found[0][0])
    commands.import_tensorflow()
    networks = [_network_of(run) for run, _ in found]

    for run, _ in found:
        if _split_as_for(run, dataset).description() != run.dataset:
            note(
                f"{run.folder} was trained on {run.dataset['name']}, is evaluated on {dataset.name}"
            )
    outcomes = _classify_with_each(found, networks, dataset)
    results = [
        classification.result(outcome, dataset.name, FLAGS.split, checkpoint, FLAGS.tta)
        for outcome, (_, checkpoint) in zip(outcomes, found, strict=True)
    ]
    outcome, result = outcomes[0], results[0]
    if len(found) > 1:
        outcome = classification.combine(outcomes, vote=FLAGS.vote)
        result = classification.ensemble_result(
            outcome, dataset.name, FLAGS.split, results, vote=FLAGS.vote
        )
    print(classification.report(outcome))
    commands.finish(result, FLAGS.json)


def _check(run: runs.Run, first: runs.Run) -> None:
    """Refuses a run that can't be evaluated as the flags say, or not together with the first."""
    if FLAGS.fold_batch_norm and run.flags.get("batch_norm") is False:
        raise InputError(f"--fold_batch_norm: {run.folder} was trained without batch norm")
    if FLAGS.split != "test" and run.dataset != first.dataset:
        raise InputError(
            f"--split: expected runs that were trained on the same images, but {run.folder} "
            f"was not on those of {first.folder}"
        )


def _network_of(run: runs.Run) -> Any:
    # Not at the top of the file, since TensorFlow comes with it.
    import model

    try:
        return model.network_of(run.flags)
    except ValueError as error:
        raise InputError(f"{run.folder / records.FILE}: {error}") from None


def _load_dataset(run: runs.Run) -> datasets.Dataset:
    """The data that the flags say, or else those that the run was trained on, split as it was."""
    name = run.dataset["name"]
    is_synthetic = name == "synthetic" and not FLAGS.data_dir
    # A path from a file is read from, but nothing is downloaded to it.
    is_there = datasets.is_complete(run.data_dir)
    if name not in ("mnist", "synthetic") and not (is_there or FLAGS.data_dir or FLAGS.dataset):
        raise InputError(f"--data_dir: expected the images of {name}, found none in {run.data_dir}")
    dataset = datasets.load(
        FLAGS.dataset or ("synthetic" if is_synthetic else "mnist"),
        FLAGS.data_dir or (run.data_dir if is_there else "data"),
    )
    dataset = _split_as_for(run, dataset)
    if not len(getattr(dataset, FLAGS.split).labels):
        raise InputError(f"--split: {run.folder} was trained on the validation images as well")
    return dataset


def _split_as_for(run: runs.Run, dataset: datasets.Dataset) -> datasets.Dataset:
    """The data, with the validation images that the run had if it was trained on them."""
    validation_size = run.dataset.get("validation")
    if dataset.name == run.dataset["name"] and isinstance(validation_size, int):
        return dataset.with_validation(validation_size)
    return dataset


def _classify_with_each(
    found: list[tuple[runs.Run, str]], networks: list[Any], dataset: datasets.Dataset
) -> list[Outcome]:
    """What the network of each checkpoint makes of the images."""
    from runtime import evaluation

    batches = evaluation.batches_of(getattr(dataset, FLAGS.split).labels)
    looks = len(found) * (1 + FLAGS.tta)
    with Progress(looks * batches, 0, f"{FLAGS.split} images") as progress:
        return [
            _classify(run, checkpoint, network, dataset, progress)
            for (run, checkpoint), network in zip(found, networks, strict=True)
        ]


def _classify(
    run: runs.Run, checkpoint: str, network: Any, dataset: datasets.Dataset, progress: Progress
) -> Outcome:
    """What the network of a checkpoint makes of the images."""
    import model
    from runtime import evaluation, projector, variables

    build = model.folded_inference_graph if FLAGS.fold_batch_norm else model.inference_graph

    def evaluator_of(graph: Any) -> evaluation.Evaluator:
        evaluator = evaluation.Evaluator(graph)
        if FLAGS.fold_batch_norm:
            values = variables.read(checkpoint)
            evaluator.load(model.fold_batch_norms(values, network.bn_epsilon), checkpoint)
        else:
            evaluator.restore(checkpoint)
        return evaluator

    if run.flags.get("weight_average") and checkpoints.kind_of(checkpoint) == checkpoints.MODEL:
        note(f"{checkpoint} is evaluated with the weights themselves, not with their average")
    images, labels = getattr(dataset, FLAGS.split)
    on_batch = functools.partial(progress.advance, run.name)
    with evaluator_of(build(network)) as evaluator:
        outcome = evaluator.classify(images, labels, on_batch=on_batch)
        if FLAGS.projector:
            name = f"{dataset.name} {FLAGS.split} digits at step {checkpoints.step_of(checkpoint)}"
            embedding = evaluator.embedding(images)
            summary_dir = pathlib.Path(FLAGS.summary_dir, run.name)
            projector.write(summary_dir, name, embedding, images, labels, outcome.predictions)
            note(
                f"to see the digits: {commands.tensorboard(FLAGS.summary_dir)}, then Projector, "
                f"{run.name}/{projector.FOLDER} (restart one that is running)"
            )
    if FLAGS.tta:
        if run.flags.get("augment", "none") == "none":
            note(f"{run.folder} was trained without --augment: distorted digits are new to it")
        with evaluator_of(build(network, augment="affine")) as evaluator:
            distorted = [
                evaluator.classify(images, labels, distortion, on_batch)
                for distortion in range(FLAGS.tta)
            ]
        outcome = classification.combine([outcome, *distorted])
    return outcome


if __name__ == "__main__":
    commands.run(main)
