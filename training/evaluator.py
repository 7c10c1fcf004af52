"""Classifying images with the weights of a checkpoint."""

import contextlib
import functools
import math
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow.compat.v1 as tf

import model
from bn_tools import population_moments, population_statistics
from console.errors import InputError
from console.files import writing
from console.progress import Progress, note
from mnist.datasets import Split
from model import InferenceGraph
from storage import checkpoints, records, variables
from storage.checkpoints import Checkpoint
from storage.run import Run
from training import outcomes
from training.outcomes import Outcome
from training.weights import AVERAGE

BATCH_SIZE = 1000
# Enough images for a smooth histogram, few enough to take no time.
HISTOGRAM_IMAGES = 5


class Evaluator:
    """An inference graph with a session.

    The record of a run has only what comes from checkpoints (`restore`). The early points of the
    validation curves, and the rows of studies, come straight from a training in progress (`load`).
    """

    def __init__(self, graph: InferenceGraph):
        """Opens a session on `graph`, which becomes an attribute."""
        self.graph = graph
        self._session = tf.Session(graph=graph.graph)
        with graph.graph.as_default():
            # `Run.add_checkpoint` deletes older checkpoints once the newer one is recorded.
            self._saver = tf.train.Saver(max_to_keep=None, save_relative_paths=True)
        # Built on first use, since plain evaluation does not need them.
        self._moments: list | None = None

    def __enter__(self) -> "Evaluator":
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Loads the weights of a checkpoint.

        Raises:
            InputError: the checkpoint is missing, damaged, or from another network.
        """
        if self.graph.fold:
            self.load(self.graph.fold(variables.read(checkpoint)), checkpoint)
        else:
            with self.graph.graph.as_default():
                variables.restore(self._saver, self._session, checkpoint)

    def restore_average(
        self,
        checkpoint: Checkpoint,
        images: np.ndarray,
        labels: np.ndarray,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        """Loads the moving average of the weights in a checkpoint; see `load_average`.

        Raises:
            InputError: the checkpoint is missing, damaged, from another network, or has no
                averages.
        """
        self.load_average(variables.read(checkpoint), checkpoint, images, labels, on_batch)

    def load_average(
        self,
        values: dict[str, np.ndarray],
        source: object,
        images: np.ndarray,
        labels: np.ndarray,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        """Sets all variables to their moving averages in `values`, which is by name.

        The statistics in `values` belong to the weights themselves and are wrong for their average,
        so they are recomputed from these images.

        Raises:
            InputError: the values are from another network, or have no averages; the message
                names `source`.
        """
        averages = {
            name.removesuffix(AVERAGE): value
            for name, value in values.items()
            if name.endswith(AVERAGE)
        }
        if not averages:
            raise InputError(f"{source}: expected averages of the weights, found none")
        self.load(values | averages, source)
        self.compute_population(images, labels, on_batch)

    def load(self, values: dict[str, np.ndarray], source: object) -> None:
        """Sets all variables to `values`, given by name.

        Raises:
            InputError: the values are from another network; the message names `source`.
        """
        with self.graph.graph.as_default():
            for variable in tf.global_variables():
                name, shape = variable.op.name, tuple(variable.shape.as_list())
                found = values[name].shape if name in values else "none"
                if found != shape:
                    raise InputError(f"{source}: expected {name} of shape {shape}, found {found}")
                variable.load(values[name], self._session)

    def variable_names(self) -> list[str]:
        """Returns the names of the variables that `load` sets."""
        with self.graph.graph.as_default():
            return [variable.op.name for variable in tf.global_variables()]

    def save(self, kind: str, folder: pathlib.Path, step: int) -> Checkpoint:
        """Saves what inference needs, as `checkpoints.BEST` or `checkpoints.EXACT`."""
        with self.graph.graph.as_default(), writing(folder / kind, tf.errors.OpError):
            path = self._saver.save(
                self._session,
                str(folder / kind),
                global_step=step,
                # The file named `checkpoint` belongs to the training Saver.
                latest_filename=f"{kind}.latest",
                write_meta_graph=False,
            )
        return Checkpoint.at(path)

    def compute_population(
        self, images: np.ndarray, labels: np.ndarray, on_batch: Callable[[], None] = lambda: None
    ) -> None:
        """Replaces the moving averages with the exact statistics of all these images.

        One layer at a time, `on_batch` is called after each batch; see `batches_of`.
        """
        layers = self.graph.batch_norms

        def feeds() -> Iterator[dict]:
            for start in range(0, len(labels), BATCH_SIZE):
                yield self._feed(images, labels, start, BATCH_SIZE)
                on_batch()

        if self._moments is None:
            self._moments = population_moments(layers)
        population_statistics(self._session, layers, feeds, self._moments)

    def classify(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        distortion: int | None = None,
        on_batch: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Classifies uint8 images [n, height, width] with labels [n].

        `distortion` selects the distortion to apply, in a graph that distorts. `on_batch` is called
        after each batch; see `batches_of`.
        """
        fetches = (self.graph.predictions, self.graph.cross_entropy, self.graph.probabilities)
        feed = {} if distortion is None else {self.graph.distortion: distortion}
        batches = []
        for start in range(0, len(labels), BATCH_SIZE):
            feed |= self._feed(images, labels, start, BATCH_SIZE)
            batches.append(self._session.run(fetches, feed))
            on_batch()
        return Outcome(labels.astype(np.int64), *map(np.concatenate, zip(*batches, strict=True)))

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits, float32 [n, classes], for images as in `classify`, in one run."""
        return self._session.run(self.graph.logits, {self.graph.images: images})

    def embedding(self, images: np.ndarray) -> np.ndarray:
        """Returns the last hidden layer, float32 [n, units], for images as in `classify`."""
        return self.values(self.graph.embedding, images)

    def values(self, tensor: tf.Tensor, images: np.ndarray) -> np.ndarray:
        """Returns the values, [n, ...], of a tensor of the graph for images as in `classify`."""
        batches = [
            self._session.run(tensor, {self.graph.images: images[start : start + BATCH_SIZE]})
            for start in range(0, len(images), BATCH_SIZE)
        ]
        return np.concatenate(batches)

    def filters(self) -> np.ndarray:
        """Returns the first layer's weights as pictures, float32 [height, width, count]."""
        return self._session.run(self.graph.filters)

    def histograms(self, images: np.ndarray, labels: np.ndarray) -> bytes | None:
        """Returns a serialized Summary of the statistics, and of the first images' activations.

        None if one of these is infinite or not a number, for which there is no histogram.
        """
        feed = self._feed(images, labels, 0, HISTOGRAM_IMAGES)
        try:
            return self._session.run(self.graph.histograms, feed)
        except tf.errors.InvalidArgumentError as error:
            # "Nan in summary histogram", "Infinity in Histogram": as different TensorFlows say it.
            if "in histogram" not in error.message.lower().replace("summary ", ""):
                raise
            return None

    def _feed(self, images: np.ndarray, labels: np.ndarray, start: int, count: int) -> dict:
        part = slice(start, start + count)
        return {self.graph.images: images[part], self.graph.labels: labels[part]}


def batches_of(split: Split) -> int:
    """Returns the number of batches in which an `Evaluator` processes a split."""
    return math.ceil(len(split.labels) / BATCH_SIZE)


def network_of_run(run: Run) -> model.Network:
    """Returns the network of a run.

    Raises:
        InputError: its record describes none that there is.
    """
    try:
        return model.network_of(run.flags, run.dataset)
    except ValueError as error:
        raise InputError(f"{run.folder / records.FILE}: {error}") from None


def save_exact_population(
    evaluator: Evaluator, checkpoint: Checkpoint, split: Split, *, averaged: bool
) -> Checkpoint:
    """Saves a checkpoint next to `checkpoint`, with the exact statistics of the images in `split`.

    Args:
        evaluator: for the same network; it keeps the new checkpoint's weights and statistics.
        checkpoint: the weights.
        split: the images to compute the statistics from.
        averaged: whether to use the moving average of the weights.
    """
    layers = len(evaluator.graph.batch_norms)
    with Progress(layers * batches_of(split), 0, "population statistics") as progress:
        on_batch = functools.partial(progress.advance, f"{layers} layers")
        if averaged:
            evaluator.restore_average(checkpoint, split.images, split.labels, on_batch)
        else:
            evaluator.restore(checkpoint)
            evaluator.compute_population(split.images, split.labels, on_batch)
    return evaluator.save(checkpoints.EXACT, checkpoint.folder, checkpoint.step)


def classify_with_copies(
    graph: InferenceGraph,
    distorting: InferenceGraph | None,
    checkpoint: Checkpoint,
    split: Split,
    distorted_copies: int,
    on_batch: Callable[[], None],
) -> Outcome:
    """Classifies images by the mean probabilities of each image and distorted copies of it.

    Args:
        graph: the inference graph of the checkpoint's network.
        distorting: the same graph with an `augment`; None if there are no copies.
        checkpoint: the weights.
        split: the images.
        distorted_copies: the number of copies of each image, 0 or more (test-time augmentation).
        on_batch: called after each batch (see `batches_of`) of the images, then of each copy.

    Raises:
        InputError: the checkpoint is missing, damaged, or from another network.
    """
    with contextlib.ExitStack() as stack:
        evaluators = [
            stack.enter_context(Evaluator(each)) for each in (graph, distorting) if each is not None
        ]
        # All at first, since a run in training replaces its checkpoints.
        for evaluator in evaluators:
            evaluator.restore(checkpoint)
        outcome = evaluators[0].classify(*split, on_batch=on_batch)
        if distorting is None:
            return outcome
        copies = [
            evaluators[1].classify(*split, distortion, on_batch)
            for distortion in range(distorted_copies)
        ]
    return outcomes.combine([outcome, *copies])


def note_mismatches(run: Run, checkpoint: Checkpoint, distorted_copies: int) -> None:
    """Notes what makes this evaluation worse than the one at the end of the run's training."""
    if run.flags.get("weight_average") and checkpoint.kind == checkpoints.MODEL:
        note(f"{checkpoint} is evaluated with its raw weights, not with their average")
    if distorted_copies and run.flags.get("augment", "none") == "none":
        note(f"{run.folder} was trained without --augment: it has never seen distorted digits")
