"""Classifying a data split with the weights of a checkpoint, and saying how well it went."""

import itertools
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from bn_wrapper import population_moments, population_statistics
from runtime import checkpoints
from runtime.errors import InputError
from runtime.files import writing
from runtime.progress import Progress

BATCH_SIZE = 1000
# Enough images for a smooth histogram, few enough to take no time.
HISTOGRAM_IMAGES = 10
# What the curves of training and of all splits are called.
LOSS_TAG, ACCURACY_TAG = "classification/loss", "classification/accuracy"
# What follows a variable's name in that of its `tf.train.ExponentialMovingAverage`.
AVERAGE = "/ExponentialMovingAverage"


class Outcome(NamedTuple):
    """What a network made of the images of one split."""

    labels: np.ndarray  # int64 [n]
    predictions: np.ndarray  # int64 [n]
    cross_entropy: np.ndarray  # float32 [n], in nats
    probabilities: np.ndarray  # float32 [n, 10], of each digit

    @property
    def correct(self) -> int:
        """How many images were classified right."""
        return int(np.sum(self.predictions == self.labels))

    @property
    def accuracy(self) -> float:
        """Share of the images that were classified right."""
        return self.correct / len(self.labels)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return float(np.mean(self.cross_entropy, dtype=np.float64))

    @property
    def scalars(self) -> dict[str, float]:
        """The points of the curves, by the tags that training and all splits share."""
        return {LOSS_TAG: self.loss, ACCURACY_TAG: self.accuracy}


class Evaluator:
    """An inference graph with a session. Its weights come from checkpoints, never from training."""

    def __init__(self, graph: Any):
        """Opens a session on `graph`, a `model.InferenceGraph`, and keeps it as attribute."""
        self.graph = graph
        self._session = tf.Session(graph=graph.graph)
        with graph.graph.as_default():
            self._saver = tf.train.Saver(max_to_keep=1, save_relative_paths=True)
        # Made when they are needed first: plain evaluation has no use for them.
        self._moments: list | None = None

    def __enter__(self) -> "Evaluator":
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()

    def restore(self, checkpoint: str) -> None:
        """Takes the weights of a checkpoint.

        Raises:
            InputError: the checkpoint is missing, damaged, or of another network.
        """
        with self.graph.graph.as_default():
            checkpoints.restore(self._saver, self._session, checkpoint)

    def restore_average(
        self,
        checkpoint: str,
        images: np.ndarray,
        labels: np.ndarray,
        progress: Progress | None = None,
    ) -> None:
        """Takes the moving average of the weights in a checkpoint.

        The checkpoint's statistics are those of the weights themselves, and wrong for their
        average: what averaged weights make of the images is computed anew, from these.

        Raises:
            InputError: the checkpoint is missing, damaged, of another network, or has no averages.
        """
        variables = checkpoints.read(checkpoint)
        averages = {
            name.removesuffix(AVERAGE): value
            for name, value in variables.items()
            if name.endswith(AVERAGE)
        }
        if not averages:
            raise InputError(f"{checkpoint}: expected averages of the weights, found none")
        self.load(variables | averages, checkpoint)
        self.compute_population(images, labels, progress)

    def load(self, variables: dict[str, np.ndarray], source: str) -> None:
        """Takes the values of all variables, by name.

        Raises:
            InputError: `source`, which it names, is of another network.
        """
        with self.graph.graph.as_default():
            for variable in tf.global_variables():
                name, shape = variable.op.name, tuple(variable.shape.as_list())
                found = variables[name].shape if name in variables else "none"
                if found != shape:
                    raise InputError(f"{source}: expected {name} of shape {shape}, found {found}")
                variable.load(variables[name], self._session)

    def save(self, kind: str, folder: pathlib.Path, step: int) -> str:
        """Saves what inference needs, as `checkpoints.BEST` or `checkpoints.EXACT`."""
        with self.graph.graph.as_default(), writing(folder / kind):
            return self._saver.save(
                self._session,
                str(folder / kind),
                global_step=step,
                # The file named `checkpoint` is the training Saver's.
                latest_filename=f"{kind}.latest",
                write_meta_graph=False,
            )

    def compute_population(
        self, images: np.ndarray, labels: np.ndarray, progress: Progress | None = None
    ) -> None:
        """Replaces the moving averages by the exact statistics of all these images.

        `progress` counts batches: all of them, for one layer after the other.
        """
        layers = self.graph.batch_norms
        batches = itertools.count(1)

        def feeds() -> Iterator[dict]:
            for start in range(0, len(labels), BATCH_SIZE):
                yield self._feed(images, labels, start, BATCH_SIZE)
                if progress:
                    progress.update(next(batches), f"{len(layers)} layers")

        if self._moments is None:
            self._moments = population_moments(layers)
        population_statistics(self._session, layers, feeds, self._moments)

    def classify(
        self, images: np.ndarray, labels: np.ndarray, distortion: int | None = None
    ) -> Outcome:
        """Classifies uint8 images [n, 28, 28] with labels [n].

        `distortion` says which one to see them with, in a graph that distorts.
        """
        fetches = (self.graph.predictions, self.graph.cross_entropy, self.graph.probabilities)
        feed = {} if distortion is None else {self.graph.distortion: distortion}
        batches = [
            self._session.run(fetches, feed | self._feed(images, labels, start, BATCH_SIZE))
            for start in range(0, len(labels), BATCH_SIZE)
        ]
        return Outcome(labels.astype(np.int64), *map(np.concatenate, zip(*batches, strict=True)))

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits, float32 [n, 10], of uint8 images [n, 28, 28] in a single run."""
        return self._session.run(self.graph.logits, {self.graph.images: images})

    def embedding(self, images: np.ndarray) -> np.ndarray:
        """Returns the last hidden layer, float32 [n, units], of uint8 images [n, 28, 28]."""
        return self.values(self.graph.embedding, images)

    def values(self, tensor: tf.Tensor, images: np.ndarray) -> np.ndarray:
        """Returns the values, [n, ...], of a tensor of the graph for uint8 images [n, 28, 28]."""
        batches = [
            self._session.run(tensor, {self.graph.images: images[start : start + BATCH_SIZE]})
            for start in range(0, len(images), BATCH_SIZE)
        ]
        return np.concatenate(batches)

    def filters(self) -> np.ndarray:
        """Returns the first layer's weights as pictures, float32 [height, width, count]."""
        return self._session.run(self.graph.filters)

    def histograms(self, images: np.ndarray, labels: np.ndarray) -> bytes:
        """Returns a serialized Summary of the statistics, and of the first images' activations."""
        feed = self._feed(images, labels, 0, HISTOGRAM_IMAGES)
        return self._session.run(self.graph.histograms, feed)

    def _feed(self, images: np.ndarray, labels: np.ndarray, start: int, count: int) -> dict:
        part = slice(start, start + count)
        return {self.graph.images: images[part], self.graph.labels: labels[part]}


def save_exact_population(graph: Any, checkpoint: str, split: Any, *, averaged: bool) -> str:
    """Saves a checkpoint beside `checkpoint`, with the exact statistics of the images of `split`.

    Args:
        graph: a `model.InferenceGraph`.
        checkpoint: the weights.
        split: a `mnist.datasets.Split`.
        averaged: whether to take the moving average of the weights.
    """
    batches = len(graph.batch_norms) * math.ceil(len(split.labels) / BATCH_SIZE)
    with (
        Evaluator(graph) as evaluator,
        Progress(batches, 0, "population statistics") as progress,
    ):
        if averaged:
            evaluator.restore_average(checkpoint, split.images, split.labels, progress)
        else:
            evaluator.restore(checkpoint)
            evaluator.compute_population(split.images, split.labels, progress)
        folder = pathlib.Path(checkpoint).parent
        return evaluator.save(checkpoints.EXACT, folder, checkpoints.step_of(checkpoint))


def combine(outcomes: Sequence[Outcome], *, vote: bool = False) -> Outcome:
    """Returns what several networks, or one that looks several times, make of the same images.

    Args:
        outcomes: of the same images in the same order.
        vote: predict what most of them do, and of those that are level the likeliest one; without
            it, what is likeliest by the mean of their probabilities.
    """
    labels = outcomes[0].labels
    probabilities = np.mean([outcome.probabilities for outcome in outcomes], axis=0)
    scores = probabilities
    if vote:
        votes = np.sum([np.eye(10)[outcome.predictions] for outcome in outcomes], axis=0)
        scores = votes + probabilities / 2
    # So that the logarithm of a probability of 0 is a number.
    likelihood = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-38)
    return Outcome(labels, np.argmax(scores, axis=1), -np.log(likelihood), probabilities)


def interval(correct: int, total: int) -> tuple[float, float]:
    """Returns the 95 % interval of an accuracy, for images drawn at random.

    Wilson's (1927), which keeps within 0 and 1 and holds near them too.
    """
    accuracy, z = correct / total, 1.959964
    middle = accuracy + z**2 / (2 * total)
    half = z * math.sqrt(accuracy * (1 - accuracy) / total + z**2 / (4 * total**2))
    return (middle - half) / (1 + z**2 / total), (middle + half) / (1 + z**2 / total)


def confusion_matrix(outcome: Outcome, classes: int = 10) -> np.ndarray:
    """Returns int64 [classes, classes]: row is the true digit, column the predicted one."""
    matrix = np.zeros([classes, classes], np.int64)
    np.add.at(matrix, (outcome.labels, outcome.predictions), 1)
    return matrix


def report(outcome: Outcome) -> str:
    """Returns the confusion matrix as text, with the accuracy of each class beside its row."""
    matrix = confusion_matrix(outcome)
    lines = ["confusion matrix: row = true digit, column = predicted"]
    lines.append("      " + "".join(f"{digit:6d}" for digit in range(10)) + "   accuracy")
    for digit, row in enumerate(matrix):
        share = f"{row[digit] / row.sum():.4f}" if row.sum() else "no images"
        lines.append(f"{digit:6d}" + "".join(f"{count or '.':>6}" for count in row) + f"   {share}")
    return "\n".join(lines)


def result(
    outcome: Outcome, dataset: str, split: str, checkpoint: str, distorted_copies: int = 0
) -> dict[str, Any]:
    """Returns the facts of the result line, as `--json` writes them."""
    return {
        **_figures(outcome, dataset, split),
        "step": checkpoints.step_of(checkpoint),
        "checkpoint": checkpoint,
        "distorted_copies": distorted_copies,
    }


def ensemble_result(
    outcome: Outcome, dataset: str, split: str, members: list[dict[str, Any]], *, vote: bool
) -> dict[str, Any]:
    """Returns the facts of the result line of several runs, each of which has a `result`."""
    return {
        **_figures(outcome, dataset, split),
        "vote": vote,
        "distorted_copies": members[0]["distorted_copies"],
        "members": members,
    }


def _figures(outcome: Outcome, dataset: str, split: str) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "split": split,
        "accuracy": outcome.accuracy,
        "correct": outcome.correct,
        "total": len(outcome.labels),
        "loss": outcome.loss,
    }


def interval_line(facts: dict[str, Any]) -> str:
    """Returns how far the accuracy of a result may be from that on other images of the kind."""
    low, high = interval(facts["correct"], facts["total"])
    return f"95 % interval (Wilson): {low:.4f} to {high:.4f}"


def result_line(facts: dict[str, Any]) -> str:
    """Returns the last line of a command: `mnist test accuracy 0.9941 (9941/10000) at step ...`."""
    line = "{dataset} {split} accuracy {accuracy:.4f} ({correct}/{total}) ".format(**facts)
    if "members" in facts:
        line += f"of {len(facts['members'])} runs together{', by vote' * facts['vote']}"
    else:
        line += "at step {step}, {checkpoint}".format(**facts)
    copies = facts.get("distorted_copies")
    return f"{line}, each image and {copies} distorted copies of it" if copies else line
