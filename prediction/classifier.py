"""Classifying images by one trained network, or several together."""

import contextlib
from collections.abc import Callable, Sequence

import numpy as np

import model
from storage import finding
from storage.checkpoints import Checkpoint
from storage.run import Run
from training import evaluator
from training.evaluator import BATCH_SIZE, Evaluator

CLASSES = 10


class Classifier:
    """The networks of one or several checkpoints, whose probabilities are averaged."""

    def __init__(self, members: Sequence[tuple[Run, Checkpoint]]):
        """Builds the inference graphs, and loads the weights.

        Args:
            members: one or more runs, each with a checkpoint of it; see `members.find`.

        Raises:
            InputError: a checkpoint is missing, damaged, or from another network.
        """
        self._stack = contextlib.ExitStack()
        self._evaluators: list[Evaluator] = []
        for run, checkpoint in members:
            graph = model.inference_graph(evaluator.network_of_run(run))
            # A run in training may have replaced it while the graph was built.
            checkpoint = finding.find_again(run, checkpoint)
            one = self._stack.enter_context(Evaluator(graph))
            one.restore(checkpoint)
            self._evaluators.append(one)

    def __enter__(self) -> "Classifier":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the sessions."""
        self._stack.close()

    def probabilities(
        self, images: np.ndarray, on_batch: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """Returns the probabilities of the digits 0 to 9, float32 [n, 10]; rows sum to 1.

        Args:
            images: uint8 [n, 28, 28], as `preparation.to_mnist` returns them.
            on_batch: called after each batch of `training.evaluator.BATCH_SIZE` images.
        """
        batches = [np.zeros((0, CLASSES), np.float32)]
        for start in range(0, len(images), BATCH_SIZE):
            part = images[start : start + BATCH_SIZE]
            each = [one.values(one.graph.probabilities, part) for one in self._evaluators]
            batches.append(np.mean(each, axis=0))
            on_batch()
        return np.concatenate(batches)
