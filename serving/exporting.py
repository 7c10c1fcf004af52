"""From a checkpoint to an export that was loaded back and compared."""

import contextlib
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

import model
from console.errors import CommandError, reason
from console.importing import held_back_stderr, is_quiet
from console.progress import doing
from mnist.datasets import Dataset
from serving import formats, graph, place, record, verification
from serving.verification import Reference
from storage import variables
from storage.checkpoints import Checkpoint
from storage.run import Run
from training.evaluator import Evaluator, network_of_run, note_mismatches

# Training images from which TFLite takes the ranges of activations.
CALIBRATION_IMAGES = 500


def export(
    run: Run,
    checkpoint: Checkpoint,
    dataset: Dataset,
    folder: pathlib.Path,
    name: str,
    precision: str,
    *,
    folded: bool,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Exports a checkpoint to `folder`, once the export has answered as `evaluate.py` does.

    In int8, it is compared with float32.

    Args:
        run: the run, and `checkpoint` the weights of it.
        dataset: its test images are for the comparison, some training images for calibration.
        folder: the export's place, where something is replaced.
        name: the format's.
        precision: one that the format has.
        folded: whether to fold batch norms.

    Returns:
        The comparisons, one for each of `evaluate.py`'s precisions and the format's runtimes, and
        the record.

    Raises:
        InputError: the checkpoint is damaged, or from another network.
        CommandError: the export can't be written or loaded, or answers differently.
    """
    note_mismatches(run, checkpoint, distorted_copies=0)
    network = network_of_run(run)
    computed_in = "float32" if precision == "int8" else precision
    references = {
        each: _reference(network._replace(precision=each), checkpoint, dataset)
        for each in dict.fromkeys([network.precision, computed_in])
    }
    reference = references[computed_in]
    rows = [
        {"runtime": f"evaluate.py, {each}", **reference.compare(other.logits, other.classes)}
        for each, other in references.items()
    ]
    format_module = formats.module_of(name)
    with place.replacing(folder) as unfinished:
        with doing(f"writing {formats.FORMATS[name].title}"):
            served = graph.served(
                network._replace(precision=computed_in),
                variables.read(checkpoint),
                folded=folded,
                precision=precision,
            )
            calibration = dataset.train.images[:CALIBRATION_IMAGES]
            _write(format_module.write, served, unfinished, folder, calibration)
        for runtime_name in format_module.RUNTIMES:
            with doing(f"loading it into {runtime_name}"):
                answers = verification.verify(
                    name, runtime_name, unfinished, dataset.test.images, reference
                )
            verification.check(answers, precision)
            rows.append(answers)
        test = {"dataset": dataset.name} | {
            key: rows[-1][key] for key in ("correct", "total", "other_classes")
        }
        content = record.write(unfinished, name, precision, run, checkpoint, test, folded=folded)
    return rows, content


def _reference(network: model.Network, checkpoint: Checkpoint, dataset: Dataset) -> Reference:
    """Returns what `evaluate.py` answers in the network's precision, without folding."""
    with doing(f"classifying in {network.precision}"):
        with Evaluator(model.inference_graph(network)) as evaluator:
            evaluator.restore(checkpoint)
            logits = evaluator.values(evaluator.graph.logits, dataset.test.images)
    return Reference(dataset.test.labels.astype(np.int64), logits)


def _write(
    write: Callable[..., None],
    served: graph.Served,
    unfinished: pathlib.Path,
    folder: pathlib.Path,
    calibration: np.ndarray,
) -> None:
    # Converters explain themselves to their developers.
    with held_back_stderr() if is_quiet() else contextlib.nullcontext():
        try:
            write(served, unfinished, calibration)
        except (OSError, tf.errors.OpError) as error:
            raise CommandError(
                f"{folder}: can't be written: {reason(error)}; nothing was exported"
            ) from error
