"""The training curve as it is recorded: means over the last few steps, and training speed."""

import collections
import contextlib
import statistics
import time
from collections.abc import Iterable, Iterator

from training.outcomes import ACCURACY_TAG, LOSS_TAG

# Each point of the training curve is the mean over this many steps.
STEPS_PER_POINT = 10
# What the clock is stopped for.
SAVING, EVALUATING = "checkpoints", "evaluation and summaries"
LEARNING_RATE_TAG, SPEED_TAG = "training/learning_rate", "training/images_per_second"


class Point:
    """The next point of the training curve.

    Attributes:
        seen: loss and accuracy of the steps since the last point.
    """

    def __init__(self, seen: Iterable[list[float]] = (), began: float = 0.0):
        """Starts with steps `seen` before a checkpoint, at time `began` of a `Clock`."""
        self.seen = list(seen)
        self._began = began
        self._images = 0

    def add(self, loss: float, accuracy: float, images: int) -> None:
        """Adds a step on that many images."""
        self.seen.append([float(loss), float(accuracy)])
        self._images += images

    def scalars(self, now: float) -> dict[str, float]:
        """Returns means, and the speed until `now`, a time of the same `Clock`, by their tags."""
        losses, accuracies = zip(*self.seen, strict=True)
        return {
            LOSS_TAG: statistics.fmean(losses),
            ACCURACY_TAG: statistics.fmean(accuracies),
            SPEED_TAG: self._images / (now - self._began),
        }


class Clock:
    """Measures the time spent on training, excluding the activities that interrupt it."""

    def __init__(self) -> None:
        """Starts the clock."""
        self._started = time.monotonic()
        self._interruptions: dict[str, float] = collections.defaultdict(float)

    @contextlib.contextmanager
    def stopped(self, activity: str) -> Iterator[None]:
        """Stops the clock while the block runs."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._interruptions[activity] += time.monotonic() - began

    def seconds(self) -> float:
        """Returns the seconds of training so far."""
        return time.monotonic() - self._started - sum(self._interruptions.values())

    def report(self) -> str:
        """Returns the seconds since the start, and the share that each interruption took."""
        total = time.monotonic() - self._started
        shares = [f", {100 * s / total:.1f} % {name}" for name, s in self._interruptions.items()]
        return f"{total:.1f} s of training{''.join(shares)}"
