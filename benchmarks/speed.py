"""Measures the suite against its peers, in turns on one machine, and writes docs/results/speed.md.

python -m benchmarks.speed --data_dir=data
"""

import argparse
import datetime
import json
import pathlib
import platform
import statistics
import subprocess
import sys
from importlib import metadata
from typing import NamedTuple

from tqdm import tqdm

from benchmarks import (
    ceiling,
    contestant,
    inference,
    layer,
    processes,
    serving,
    time_to_accuracy,
)
from benchmarks.ratio import COLUMNS, Ratio
from benchmarks.report import PROJECT, machine
from console.markdown import table

OUTPUT = PROJECT / "docs" / "results" / "speed.md"


class Contestant(NamedTuple):
    """What trains, in which precision: a module in this folder, and its arguments."""

    name: str
    precision: str
    module: str
    mode: str | None = None

    def start(self, batch_size: int, data_dir: str) -> subprocess.Popen:
        """Starts the process, and returns it once it has warmed up.

        Raises:
            RuntimeError: it exited before it was ready; run it on its own to see why.
        """
        arguments = [f"--batch_size={batch_size}", f"--precision={self.precision}"]
        arguments += [f"--data_dir={data_dir}"] + ([f"--mode={self.mode}"] if self.mode else [])
        command = [sys.executable, "-m", f"benchmarks.{self.module}", *arguments]
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout
        if "ready\n" in process.stdout:
            return process
        raise RuntimeError(f"exit code {process.wait()} of: {' '.join(command)}")


OURS = {p: Contestant("this suite", p, "ours", "none") for p in ("float32", "bfloat16")}
CEILING = {
    p: Contestant("a matrix product, in GFLOP/s", p, "ceiling") for p in ("float32", "bfloat16")
}
TUTORIAL = Contestant("the tutorials' program", "float32", "tutorial")
PYTORCH = {
    p: [Contestant(f"PyTorch, {mode}", p, "pytorch", mode) for mode in ("eager", "compile")]
    for p in ("float32", "bfloat16")
}
KERAS = [
    Contestant("Keras fit", "float32", "keras_fit", "jit"),
    Contestant("Keras fit, jit_compile=False", "float32", "keras_fit", "nojit"),
]
ALL = [
    *OURS.values(),
    *PYTORCH["float32"],
    *PYTORCH["bfloat16"],
    *KERAS,
    TUTORIAL,
    *CEILING.values(),
]


def measure(
    contestants: list[Contestant], batch_size: int, data_dir: str, rounds: int
) -> dict[Contestant, list[float]]:
    """Returns the speed of each contestant in each round; all take a turn per round.

    Speeds are in images per second, those of the ceilings in FLOP per second.
    """
    processes = {}
    images = contestant.BURST_IMAGES // batch_size * batch_size
    speeds: dict[Contestant, list[float]] = {one: [] for one in contestants}
    try:
        for one in tqdm(contestants, f"batch {batch_size}: starting", leave=False):
            processes[one] = one.start(batch_size, data_dir)
        for _ in tqdm(range(rounds), f"batch {batch_size}: rounds", leave=False):
            for one, process in processes.items():
                process.stdin.write("go\n")
                process.stdin.flush()
                work = ceiling.BURST_FLOP if one.module == "ceiling" else images
                speeds[one].append(work / json.loads(process.stdout.readline()))
    finally:
        for process in processes.values():
            process.stdin.close()
            process.wait()
    return speeds


def ratios(speeds: dict[int, dict[Contestant, list[float]]]) -> list[Ratio]:
    """Returns the suite's targets, and what was measured."""
    f32, bf16 = OURS["float32"], OURS["bfloat16"]

    def best_of(batch_size: int, others: list[Contestant]) -> list[list[float]]:
        return [speeds[batch_size][one] for one in others]

    share = ceiling_shares(speeds[256], f32)
    return [
        Ratio.of(
            "float32, batch 128, over the best PyTorch float32",
            1.35,
            speeds[128][f32],
            best_of(128, PYTORCH["float32"]),
        ),
        Ratio.of(
            "float32, batch 128, over Keras `fit`",
            1.8,
            speeds[128][f32],
            best_of(128, KERAS[:1]),
        ),
        Ratio.of(
            "bfloat16, batch 256, over the best PyTorch bfloat16",
            1.5,
            speeds[256][bf16],
            best_of(256, PYTORCH["bfloat16"]),
        ),
        Ratio.of(
            "float32, batch 50, over the tutorials' program",
            1.35,
            speeds[50][f32],
            best_of(50, [TUTORIAL]),
        ),
        Ratio.of(
            "bfloat16, batch 50, over the tutorials' program",
            2.5,
            speeds[50][bf16],
            best_of(50, [TUTORIAL]),
        ),
        Ratio("float32, batch 256, share of the matrix ceiling", 0.75, share),
    ]


def ceiling_shares(speeds: dict[Contestant, list[float]], one: Contestant) -> list[float]:
    """Returns the share of the matrix product's FLOP/s that a contestant reaches, by round."""
    return [
        images * contestant.TRAINING_FLOP / flop
        for images, flop in zip(speeds[one], speeds[CEILING[one.precision]], strict=True)
    ]


def training_section(speeds: dict[int, dict[Contestant, list[float]]]) -> str:
    """Returns the tables of training speeds."""
    sections = []
    for batch_size, by_contestant in speeds.items():
        rows = []
        for one, values in by_contestant.items():
            if one.module == "ceiling":
                share, unit = 1.0, 1e9
            else:
                share, unit = statistics.median(ceiling_shares(by_contestant, one)), 1.0
            rows.append(
                [
                    one.name,
                    one.precision,
                    f"{statistics.median(values) / unit:,.0f}",
                    f"{min(values) / unit:,.0f} to {max(values) / unit:,.0f}",
                    f"{100 * share:.0f} %",
                ]
            )
        header = ["who", "precision", "images/s, median", "spread", "of the matrix ceiling"]
        sections.append(f"### Batch size {batch_size}\n\n{table(header, rows)}")
    return "\n\n".join(sections)


def main() -> None:
    """Measures everything and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data", help="folder of MNIST's four files")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant")
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
    arguments = parser.parse_args()
    data_dir = str(pathlib.Path(arguments.data_dir).resolve())

    speeds = {size: measure(ALL, size, data_dir, arguments.rounds) for size in (50, 128, 256)}
    targets = [ratio.row for ratio in ratios(speeds)]
    versions = [f"{name} {metadata.version(name)}" for name in ("tensorflow", "torch", "keras")]
    report = f"""# Speed

Written by `make bench` on {datetime.date.today()}: {machine()}. Python
{platform.python_version()}, {", ".join(versions)}. Each figure is the median of
{arguments.rounds} bursts of {contestant.BURST_IMAGES} images; the contestants took turns, burst by
burst, so that a slow moment of the machine meets them all.

{(PROJECT / "benchmarks" / "about_speed.md").read_text()}
## Targets

Set before the work on speed began; those that are missed are what is left to win.

{table(COLUMNS, targets)}

## Training, images per second

{training_section(speeds)}

## A batch norm layer

{layer.section()}

## Inference

{inference.section(data_dir)}

## Serving

{serving.section(data_dir)}

## Start-up and memory

{processes.section(data_dir)}

## Time to 99 %

{time_to_accuracy.section(data_dir)}
"""
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(report)
    print(report)


if __name__ == "__main__":
    main()
