"""What an export answers, beside what `evaluate.py` answers with the same weights."""

import pathlib
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

import numpy as np

from console.commands import PROJECT
from console.errors import CommandError
from console.files import writing
from serving import runtime

# Of the images that may get another class in a precision lower than float32.
SHARE_THAT_MAY_DIFFER = 0.02


class Reference(NamedTuple):
    """What `evaluate.py`'s graph answers."""

    labels: np.ndarray  # int64 [n]
    logits: np.ndarray  # float32 [n, classes]

    @property
    def classes(self) -> np.ndarray:
        """The likeliest class of each image, int64 [n]."""
        return self.logits.argmax(axis=1)

    def compare(self, logits: np.ndarray, classes: np.ndarray) -> dict[str, Any]:
        """Returns how many of other answers are right, and how far they are from these."""
        return {
            "correct": int(np.sum(classes == self.labels)),
            "total": len(self.labels),
            "other_classes": int(np.sum(classes != self.classes)),
            "largest_logit_difference": float(np.abs(logits - self.logits).max()),
        }


def verify(
    name: str, runtime_name: str, export: pathlib.Path, images: np.ndarray, reference: Reference
) -> dict[str, Any]:
    """Has an export classify images in a fresh process; returns the comparison and the speed.

    Raises:
        CommandError: it could not be loaded or run, or there is no room for the images.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, runtime.IMAGES_FILE)
        with writing(path):
            np.save(path, images)
        arguments = [name, runtime_name, str(export.absolute()), folder]
        completed = subprocess.run(
            [sys.executable, "-m", "serving.runtime", *arguments],
            cwd=PROJECT,
            capture_output=True,
            text=True,
        )
        if completed.returncode:
            lines = completed.stderr.strip().splitlines() or [f"exit code {completed.returncode}"]
            raise CommandError(
                f"not exported: can't be loaded back into {runtime_name}: {lines[-1]}"
            )
        with np.load(pathlib.Path(folder, runtime.ANSWERS_FILE)) as answers:
            return {
                "runtime": runtime_name,
                **reference.compare(answers["logits"], answers["classes"]),
                runtime.LATENCY: float(answers[runtime.LATENCY]),
                runtime.THROUGHPUT: float(answers[runtime.THROUGHPUT]),
            }


def check(compared: dict[str, Any], precision: str) -> None:
    """Refuses an export that does not answer as `evaluate.py` does.

    Raises:
        CommandError: an image gets another class in float32; in a lower precision, more than
            `SHARE_THAT_MAY_DIFFER` do; or a logit is not a number.
    """
    most = 0 if precision == "float32" else SHARE_THAT_MAY_DIFFER * compared["total"]
    difference = compared["largest_logit_difference"]
    if compared["other_classes"] > most or not np.isfinite(difference):
        raise CommandError(
            f"not exported: in {compared['runtime']}, {compared['other_classes']} of "
            f"{compared['total']} images get another class than from evaluate.py (at most "
            f"{most:g} may), and logits differ by up to {difference:.2g}"
        )
