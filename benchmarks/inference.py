"""Inference with and without folding the batch norms into the preceding weights."""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import model
from console.markdown import table
from mnist import datasets
from storage import finding
from storage.checkpoints import Checkpoint
from training.evaluator import Evaluator

ROUNDS = 10
RUNS_A_ROUND = {1: 300, 1000: 6}  # by batch size


def section(data_dir: str) -> str:
    """Returns the table of the effects of folding on a trained network, in each precision."""
    test = datasets.load("mnist", data_dir).test
    rows, facts = [], []
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("float32", "bfloat16"):
            checkpoint = _train(precision, data_dir, pathlib.Path(folder))
            network = model.Network("cnn", True, 0.9, 1e-5, precision)
            plain = Evaluator(model.inference_graph(network))
            folded = Evaluator(model.folded_inference_graph(network))
            with plain, folded:
                plain.restore(checkpoint)
                folded.restore(checkpoint)
                rows += [[precision, *_race(plain, folded, test, size)] for size in RUNS_A_ROUND]
                facts.append(f"- {precision}: {_agreement(plain, folded, test)}")
    header = ["precision", "batch", "images/s", "images/s, folded", "ratio", "spread over rounds"]
    return "\n".join([table(header, rows), "", "Of the 10,000 test images:", "", *facts])


def _train(precision: str, data_dir: str, folder: pathlib.Path) -> Checkpoint:
    """Trains for an epoch and returns the checkpoint."""
    command = [sys.executable, "train.py", "--epochs=1", f"--precision={precision}"]
    command += [f"--data_dir={data_dir}", f"--run={precision}"]
    command += [f"--checkpoint_dir={folder}/checkpoints", f"--summary_dir={folder}/summaries"]
    subprocess.run(command, check=True, capture_output=True)
    return finding.find_checkpoint(f"{folder}/checkpoints", precision, None)[1]


def _race(plain: Evaluator, folded: Evaluator, test: datasets.Split, batch_size: int) -> list[str]:
    """Returns a row: images per second of both, and the ratio."""
    speeds: dict[Evaluator, list[float]] = {plain: [], folded: []}
    runs = RUNS_A_ROUND[batch_size]
    for _ in range(ROUNDS + 1):
        for evaluator, results in speeds.items():
            started = time.perf_counter()
            for _ in range(runs):
                evaluator.logits(test.images[:batch_size])
            results.append(runs * batch_size / (time.perf_counter() - started))
    # The first round was the warm-up.
    medians = [statistics.median(results[1:]) for results in speeds.values()]
    ratios = [b / a for a, b in zip(speeds[plain][1:], speeds[folded][1:], strict=True)]
    return [
        f"{batch_size:,}",
        *(f"{median:,.0f}" for median in medians),
        f"**{statistics.median(ratios):.2f}**",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
    ]


def _agreement(plain: Evaluator, folded: Evaluator, test: datasets.Split) -> str:
    """Says how much the predictions and logits of the two differ."""
    pairs = [
        (plain.logits(test.images[i : i + 1000]), folded.logits(test.images[i : i + 1000]))
        for i in range(0, len(test.labels), 1000)
    ]
    one, other = (np.concatenate(logits) for logits in zip(*pairs, strict=True))
    same = int(np.sum(one.argmax(axis=1) == other.argmax(axis=1)))
    return (
        f"{same:,} are classified the same; logits, which go up to {np.abs(one).max():.1f}, "
        f"differ by at most {np.abs(one - other).max():.1e}"
    )
