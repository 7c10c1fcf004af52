"""Shuffled batches, accessible by step."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from console.errors import InputError


class Batches:
    """Training batches: batch k of epoch e depends only on (seed, e, k).

    So a resumed run continues with the exact batch at which it stopped. Every batch is full: each
    epoch is reshuffled and drops the few images at its end that do not fill a batch, since the
    statistics of a smaller batch are noisier.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        seed: int,
        part: slice = slice(None),
    ):
        """Takes images [n, ...] and labels [n], without copying them, and which part of each batch.

        Raises:
            InputError: there are fewer than `batch_size` images.
        """
        if batch_size > len(labels):
            raise InputError(
                f"--batch_size: expected at most {len(labels)}, the number of images to train on, "
                f"without those held out for validation, found {batch_size}"
            )
        self._images, self._labels = images, labels
        self.batch_size = batch_size
        self._seed = seed
        self._part = part
        self._epoch = -1
        self.steps_per_epoch = len(labels) // batch_size

    def taking(self, part: slice) -> "Batches":
        """Returns these batches, but only a part of each."""
        return Batches(self._images, self._labels, self.batch_size, self._seed, part)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the images and labels of a step, counted from 0 over all epochs."""
        epoch, k = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = np.random.default_rng([self._seed, epoch])
            self._order = generator.permutation(len(self._labels))
            self._epoch = epoch
        chosen = self._order[k * self.batch_size : (k + 1) * self.batch_size][self._part]
        return self._images[chosen], self._labels[chosen]

    def ahead(self, first_step: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the batches of steps `first_step` to `end` - 1.

        A thread gathers each batch while the caller is busy with the one before it.
        """
        with ThreadPoolExecutor(max_workers=1) as gatherer:
            upcoming = gatherer.submit(self.batch, first_step)
            for next_step in range(first_step + 1, end + 1):
                ready = upcoming.result()
                if next_step < end:
                    upcoming = gatherer.submit(self.batch, next_step)
                yield ready
