"""The exports beside PyTorch, ONNX Runtime on PyTorch's own export, and OpenVINO.

python -m benchmarks.serving --data_dir=data     renews this section of docs/results/speed.md

It is a part of `make bench` too.
"""

import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata

import numpy as np
from tqdm import tqdm

from benchmarks import serving_contestant as contestant
from benchmarks.ratio import COLUMNS, Ratio
from benchmarks.report import PROJECT, machine
from console.markdown import table
from mnist import datasets
from storage import finding, variables

REPORT = PROJECT / "docs" / "results" / "speed.md"
ROUNDS = 6
EXPORTS = (
    ["--format=frozen_graph"],
    ["--format=saved_model"],
    ["--format=tflite"],
    ["--format=tflite", "--precision=int8"],
    ["--format=onnx"],
)
PYTORCH = [name for name in contestant.CONTESTANTS if name.startswith("PyTorch, ")]
THEIR_ONNX, OUR_ONNX = "PyTorch's ONNX in ONNX Runtime", "our ONNX in ONNX Runtime"


def section(data_dir: str, rounds: int = ROUNDS) -> str:
    """Returns the targets and the table of speeds."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepare(folder, data_dir)
        speeds, classes = measure(folder, rounds)
        labels = datasets.load("mnist", data_dir).test.labels
    rows = [_row(name, by_size, classes, labels) for name, by_size in speeds.items()]
    header = ["who", "1 image", "spread", "1,000 images", "spread", "accuracy", "other classes"]
    targets = [ratio.row for ratio in ratios(speeds)]
    versions = [f"{name} {metadata.version(name)}" for name in ("onnxruntime", "openvino", "torch")]
    return (
        "Images per second with the default network in float32, one image at a time and 1,000 at a "
        f"time, measured on {datetime.date.today()}: {machine()}, {', '.join(versions)}. Each "
        f"figure is the median of {rounds} processes; the contestants took turns. The exports are "
        "those of `export.py`; of the test images, `other classes` counts those that get another "
        "class than from `Session.run`.\n\n"
        f"{table(COLUMNS, targets)}\n\n"
        f"{table(header, rows)}"
    )


def prepare(folder: pathlib.Path, data_dir: str) -> None:
    """Trains for an epoch, and exports the network in each way, also as PyTorch's own."""
    test = datasets.load("mnist", data_dir).test
    np.save(folder / contestant.TEST_IMAGES, test.images)
    checkpoints = f"--checkpoint_dir={folder / contestant.CHECKPOINTS}"
    run = f"--run={contestant.RUN}"
    train = ["train.py", "--epochs=1", f"--data_dir={data_dir}", f"--summary_dir={folder}/s"]
    _run(*train, checkpoints, run)
    for flags in EXPORTS:
        _run("export.py", checkpoints, run, f"--output_dir={folder / contestant.EXPORTS}", *flags)
    checkpoint = finding.find_checkpoint(
        str(folder / contestant.CHECKPOINTS), contestant.RUN, None
    )[1]
    np.savez(folder / "values.npz", **variables.read(checkpoint))  # type: ignore[arg-type]
    _run("-m", "benchmarks.serving_torch", str(folder))


def measure(
    folder: pathlib.Path, rounds: int
) -> tuple[dict[str, dict[int, list[float]]], dict[str, np.ndarray]]:
    """Returns images per second by contestant, batch size and round; and each one's classes."""
    names = list(contestant.CONTESTANTS)
    speeds: dict[str, dict[int, list[float]]] = {
        name: {size: [] for size in contestant.SECONDS} for name in names
    }
    classes = {}
    for turn in tqdm(range(rounds * len(names)), "serving: turns", leave=False):
        name = names[turn % len(names)]
        found = json.loads(_run("-m", "benchmarks.serving_contestant", name, str(folder)))
        for size, speed in found["speeds"].items():
            speeds[name][int(size)].append(speed)
        classes[name] = np.array(found["classes"])
    return speeds, classes


def ratios(speeds: dict[str, dict[int, list[float]]]) -> list[Ratio]:
    """Returns the targets, and what was measured."""

    def ratio(what: str, ours: str, others: list[str], size: int) -> Ratio:
        against = [speeds[other][size] for other in others]
        return Ratio.of(what, 1.0, speeds[ours][size], against)

    frozen = "frozen graph in a session"
    ours = (
        "this suite's `Session.run`, folded",
        frozen,
        "SavedModel in TensorFlow 2",
        "TFLite, int8",
    )
    others = [name for name in speeds if name not in ours]
    return [
        ratio("our ONNX over PyTorch's in ONNX Runtime, 1 image", OUR_ONNX, [THEIR_ONNX], 1),
        ratio("our ONNX over PyTorch's in ONNX Runtime, 1,000", OUR_ONNX, [THEIR_ONNX], 1000),
        ratio("TFLite over ONNX Runtime, 1 image", "TFLite", [OUR_ONNX, THEIR_ONNX], 1),
        ratio("frozen graph over the best of PyTorch, 1 image", frozen, PYTORCH, 1),
        ratio("frozen graph over the best of other runtimes, 1,000", frozen, others, 1000),
    ]


def _row(
    name: str,
    by_size: dict[int, list[float]],
    classes: dict[str, np.ndarray],
    labels: np.ndarray,
) -> list[str]:
    row = [name]
    for speeds in by_size.values():
        row += [f"{statistics.median(speeds):,.0f}", f"{min(speeds):,.0f} to {max(speeds):,.0f}"]
    first = next(iter(classes.values()))
    others = int(np.sum(classes[name] != first))
    return [*row, f"{100 * np.mean(classes[name] == labels):.2f} %", str(others)]


def _run(*arguments: str) -> str:
    """Runs a command of this Python to completion, and returns what it printed.

    Raises:
        RuntimeError: it failed.
    """
    completed = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, capture_output=True, text=True
    )
    if completed.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {completed.stderr[-2000:]}")
    return completed.stdout


def main() -> None:
    """Renews the section of the report, and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data", help="folder of MNIST's four files")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="processes of each contestant")
    parser.add_argument("--report", type=pathlib.Path, default=REPORT)
    arguments = parser.parse_args()
    data_dir = str(pathlib.Path(arguments.data_dir).resolve())
    renewed = section(data_dir, arguments.rounds)
    arguments.report.write_text(with_section(arguments.report.read_text(), renewed))
    print(renewed)


def with_section(report: str, renewed: str) -> str:
    """Returns a report with this section in place of the former one, or after `Inference`."""
    before, title, after = report.partition("## Serving\n")
    if not title:
        before, _, after = report.partition("## Start-up and memory\n")
    return f"{before}## Serving\n\n{renewed}\n\n## Start-up and memory\n" + (
        after.partition("## Start-up and memory\n")[2] if title else after
    )


if __name__ == "__main__":
    main()
