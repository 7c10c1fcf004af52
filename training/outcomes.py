"""A network's predictions and how good they are: metrics, tables, and the result line."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from console.files import write_json
from storage.checkpoints import Checkpoint
from storage.run import Run

# The tags of the curves, shared by training and every split.
LOSS_TAG, ACCURACY_TAG = "classification/loss", "classification/accuracy"
# With more classes than this, a confusion matrix is too wide for a terminal.
MOST_COLUMNS = 40


class Outcome(NamedTuple):
    """A network's output for the images of one split."""

    labels: np.ndarray  # int64 [n]
    predictions: np.ndarray  # int64 [n]
    cross_entropy: np.ndarray  # float32 [n], in nats
    probabilities: np.ndarray  # float32 [n, classes]; rows sum to 1

    @property
    def correct(self) -> int:
        """Number of images classified correctly."""
        return int(np.sum(self.predictions == self.labels))

    @property
    def accuracy(self) -> float:
        """Share of the images classified correctly."""
        return self.correct / len(self.labels)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return float(np.mean(self.cross_entropy, dtype=np.float64))

    @property
    def scalars(self) -> dict[str, float]:
        """The points of the curves, by the tags that training and every split share."""
        return {LOSS_TAG: self.loss, ACCURACY_TAG: self.accuracy}


def combine(outcomes: Sequence[Outcome], *, vote: bool = False) -> Outcome:
    """Combines the outcomes of several networks, or of several passes of one, on the same images.

    Args:
        outcomes: for the same images in the same order.
        vote: predict the class with the most votes, breaking ties by mean probability; if false,
            the class with the highest mean probability.
    """
    labels = outcomes[0].labels
    probabilities = np.mean([outcome.probabilities for outcome in outcomes], axis=0)
    scores = probabilities
    if vote:
        one_hot = np.eye(probabilities.shape[1])
        votes = np.sum([one_hot[outcome.predictions] for outcome in outcomes], axis=0)
        scores = votes + probabilities / 2
    # Keeps the logarithm of a probability of 0 finite.
    likelihood = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-38)
    return Outcome(labels, np.argmax(scores, axis=1), -np.log(likelihood), probabilities)


def interval(correct: int, total: int) -> tuple[float, float]:
    """Returns the 95 % confidence interval of an accuracy, for images drawn at random.

    Wilson's interval (1927), which stays within [0, 1] and remains valid near both ends.
    """
    accuracy, z = correct / total, 1.959964
    middle = accuracy + z**2 / (2 * total)
    half = z * math.sqrt(accuracy * (1 - accuracy) / total + z**2 / (4 * total**2))
    return (middle - half) / (1 + z**2 / total), (middle + half) / (1 + z**2 / total)


def confusion_matrix(outcome: Outcome) -> np.ndarray:
    """Returns int64 [classes, classes]: row is the true digit, column the predicted one."""
    classes = outcome.probabilities.shape[1]
    matrix = np.zeros([classes, classes], np.int64)
    np.add.at(matrix, (outcome.labels, outcome.predictions), 1)
    return matrix


def report(outcome: Outcome) -> str:
    """Returns the confusion matrix as text, with the accuracy of each class beside its row."""
    matrix = confusion_matrix(outcome)
    # Of many classes, only the accuracies fit.
    columns = len(matrix) if len(matrix) <= MOST_COLUMNS else 0
    lines = ["confusion matrix: row = true digit, column = predicted"] if columns else []
    lines.append("      " + "".join(f"{digit:6d}" for digit in range(columns)) + "   accuracy")
    for digit, row in enumerate(matrix):
        counts = "".join(f"{count or '.':>6}" for count in row[:columns])
        share = f"{row[digit] / row.sum():.4f}" if row.sum() else "no images"
        lines.append(f"{digit:6d}{counts}   {share}")
    return "\n".join(lines)


def result(
    outcome: Outcome, dataset: str, split: str, checkpoint: Checkpoint, distorted_copies: int = 0
) -> dict[str, Any]:
    """Returns the facts in the result line, as `--json` writes them."""
    return {
        **_figures(outcome, dataset, split),
        "step": checkpoint.step,
        "checkpoint": str(checkpoint),
        "distorted_copies": distorted_copies,
    }


def of_members(
    outcomes: Sequence[Outcome],
    members: Sequence[Checkpoint],
    dataset: str,
    split: str,
    *,
    distorted_copies: int,
    vote: bool,
) -> tuple[Outcome, dict[str, Any]]:
    """Returns the outcome of one checkpoint, or of several combined, and its `result`."""
    results = [
        result(outcome, dataset, split, checkpoint, distorted_copies)
        for outcome, checkpoint in zip(outcomes, members, strict=True)
    ]
    if len(results) == 1:
        return outcomes[0], results[0]
    outcome = combine(outcomes, vote=vote)
    facts = {
        **_figures(outcome, dataset, split),
        "vote": vote,
        "distorted_copies": distorted_copies,
        "members": results,
    }
    return outcome, facts


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
    """Returns a line with the confidence interval of a result's accuracy on images of this kind."""
    low, high = interval(facts["correct"], facts["total"])
    return f"95 % interval of the {facts['split']} accuracy (Wilson): {low:.4f} to {high:.4f}"


def result_line(facts: dict[str, Any]) -> str:
    """Returns the last line of a command: `mnist test accuracy 0.9941 (9941/10000) at step ...`."""
    line = "{dataset} {split} accuracy {accuracy:.4f} ({correct}/{total}) ".format(**facts)
    if "members" in facts:
        line += f"of {len(facts['members'])} runs together{', by vote' * facts['vote']}"
    else:
        line += "at step {step}, {checkpoint}".format(**facts)
    copies = facts.get("distorted_copies")
    if copies:
        line += f", each image and {copies} distorted {'copy' if copies == 1 else 'copies'} of it"
    return line


def announce(facts: dict[str, Any], json_path: str | None, runs: Sequence[Run]) -> None:
    """Prints the result, its line as the command's last on standard output, and writes it as JSON.

    Args:
        facts: see `result`. If it has members, each gets a line of its own first.
        json_path: of the file, or None. Besides the facts, it has the interval and, of each run,
            the name, the flags, the data and the versions.
        runs: whose result it is.
    """
    for member in facts.get("members", []):
        print(f"{result_line(member)}; {interval_line(member)}")
    print(interval_line(facts))
    print(result_line(facts), flush=True)
    if json_path:
        bounds = interval(facts["correct"], facts["total"])
        content = {**facts, "interval": bounds, "runs": [about(run) for run in runs]}
        write_json(pathlib.Path(json_path), content)


def about(run: Run) -> dict[str, Any]:
    """Returns what a result's JSON says of a run."""
    return {
        "run": run.name,
        "flags": run.flags,
        "dataset": run.dataset,
        "made_with": run.made_with,
        "validation_accuracy": run.validation_accuracy,
    }
