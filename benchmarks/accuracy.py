"""Measures how accurate the presets are and what each of their ingredients contributes, and writes
docs/results/accuracy.md.

python -m benchmarks.accuracy --data_dir=data

Trains 10 runs one after the other, which are timed, and then the ablation's, one for each core:
some two and a half hours on two cores. Stopped, it goes on with the runs that were not finished.
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import model
from benchmarks.report import machine
from benchmarks.speed import Contestant, measure
from mnist import datasets
from mnist.datasets import Split
from runtime import evaluation, pictures, runs
from runtime.files import write_json, write_text
from runtime.markdown import table

PROJECT = pathlib.Path(__file__).parents[1]
OUTPUT = PROJECT / "docs" / "results" / "accuracy.md"
PRESETS = {"accurate": "cnn", "best": "deep"}
SEEDS, ABLATION_SEEDS = range(5), range(3)
AUGMENTATIONS = ("none", "affine", "elastic")
# What is taken away from `accurate.flags`, and the flags that do it.
WITHOUT = {
    "batch norm": ["--nobatch_norm"],
    "batch norm at a tenth of the rate": ["--nobatch_norm", "--learning_rate=6e-4"],
    "augmentation": ["--augment=none"],
    "weight averaging": ["--weight_average=0"],
    "dropout": ["--dropout=0"],
    "label smoothing": ["--label_smoothing=0"],
    "the one-cycle schedule": ["--lr_schedule=constant"],
}


class Training(NamedTuple):
    """One run of `train.py`."""

    preset: str
    seed: int
    without: str = ""

    @property
    def run(self) -> str:
        """The run's name."""
        without = f"-without-{'-'.join(self.without.split())}" if self.without else ""
        return f"{self.preset}{self.seed}{without}"

    @property
    def flags(self) -> list[str]:
        """What `train.py` is told, besides where the files are."""
        lines = (PROJECT / "presets" / f"{self.preset}.flags").read_text().splitlines()
        recipe = [line for line in lines if line.startswith("--")]
        return [*recipe, f"--seed={self.seed}", f"--run={self.run}", *WITHOUT.get(self.without, [])]

    def train(self, folder: pathlib.Path, data_dir: str, threads: int | None) -> dict[str, Any]:
        """Trains from the start; returns the result with the `seconds` of the whole command.

        Raises:
            subprocess.CalledProcessError: the command failed, and said why.
        """
        places = [f"--{kind}_dir={folder / kind}" for kind in ("checkpoint", "summary")]
        command = [sys.executable, str(PROJECT / "train.py"), *self.flags, *places, "--overwrite"]
        command += ["--dataset=mnist", f"--data_dir={data_dir}"]
        environment = dict(os.environ)
        if threads:
            environment |= {f"TF_NUM_{kind}OP_THREADS": str(threads) for kind in ("INTRA", "INTER")}
        result_file = folder / f"{self.run}.json"
        started = time.monotonic()
        subprocess.run(
            [*command, f"--json={result_file}"],
            check=True,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        return json.loads(result_file.read_text()) | {"seconds": time.monotonic() - started}


class Results:
    """The results of the runs that are finished, in a JSON file beside their checkpoints."""

    def __init__(self, path: pathlib.Path):
        """Reads the file, if there is one."""
        self._path = path
        self._results = json.loads(path.read_text()) if path.exists() else {}

    def __contains__(self, training: Training) -> bool:
        """Whether it was trained with the flags that it has now, on this machine."""
        return _facts(training).items() <= self._results.get(training.run, {}).items()

    def __getitem__(self, training: Training) -> dict[str, Any]:
        return self._results[training.run]

    def __setitem__(self, training: Training, result: dict[str, Any]) -> None:
        kept = {name: result[name] for name in ("correct", "total", "loss", "seconds")}
        self._results[training.run] = kept | _facts(training)
        write_json(self._path, self._results)


def _facts(training: Training) -> dict[str, Any]:
    return {"flags": " ".join(training.flags), "made_with": runs.made_with()}


def train_missing(
    trainings: list[Training], results: Results, folder: pathlib.Path, data_dir: str, abreast: int
) -> None:
    """Trains those that have no result yet, so many of them at a time.

    Raises:
        subprocess.CalledProcessError: a training failed. Those that ran beside it are kept.
    """
    missing = [training for training in trainings if training not in results]
    threads = None if abreast == 1 else 1
    one_at_a_time = threading.Lock()

    def train_and_keep(training: Training) -> None:
        result = training.train(folder, data_dir, threads)
        with one_at_a_time:
            results[training] = result
            progress.set_postfix_str(f"{training.run} {percent(result):.2f} %")
            progress.update()

    with (
        tqdm(total=len(trainings), initial=len(trainings) - len(missing), unit="run") as progress,
        concurrent.futures.ThreadPoolExecutor(abreast) as workers,
    ):
        futures = [workers.submit(train_and_keep, training) for training in missing]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        finally:
            workers.shutdown(cancel_futures=True)


def preset_section(preset: str, results: Results) -> str:
    """Returns a row for each seed, and their mean."""
    of_seeds = [results[Training(preset, seed)] for seed in SEEDS]
    rows = [
        [
            seed,
            f"{percent(one):.2f} %",
            "{:.2f} to {:.2f} %".format(
                *(100 * end for end in evaluation.interval(one["correct"], one["total"]))
            ),
            f"{one['seconds']:.0f}",
        ]
        for seed, one in zip(SEEDS, of_seeds, strict=True)
    ]
    seconds = statistics.fmean(one["seconds"] for one in of_seeds)
    rows.append(["**mean**", f"**{mean(of_seeds):.3f} %**", "", f"**{seconds:.0f}**"])
    return table(["seed", "test accuracy", "95 % interval (Wilson)", "seconds"], rows)


def ablation_section(results: Results) -> str:
    """Returns a row for each ingredient that was taken away."""
    whole = [results[Training("accurate", seed)] for seed in ABLATION_SEEDS]
    rows = [["nothing", *figures(whole), ""]]
    for without in WITHOUT:
        ones = [results[Training("accurate", seed, without)] for seed in ABLATION_SEEDS]
        flags = " ".join(f"`{flag}`" for flag in WITHOUT[without])
        rows.append([f"{without} ({flags})", *figures(ones), f"{mean(ones) - mean(whole):+.3f}"])
    header = ["without", *(f"seed {seed}" for seed in ABLATION_SEEDS), "mean", "difference"]
    return table(header, rows)


def percent(result: dict[str, Any]) -> float:
    """Returns the accuracy in percent."""
    return 100 * result["correct"] / result["total"]


def mean(results: list[dict[str, Any]]) -> float:
    """Returns the mean accuracy in percent."""
    return statistics.fmean(percent(result) for result in results)


def figures(results: list[dict[str, Any]]) -> list[str]:
    """Returns the cells of a row: each accuracy, and the mean."""
    return [*(f"{percent(result):.2f}" for result in results), f"**{mean(results):.3f}**"]


def augmentation_section(data_dir: str) -> str:
    """Measures what distorting the images adds to a step, in turns with a step without it."""
    rows = []
    for precision, batch_size in (("float32", 128), ("bfloat16", 256)):
        contestants = [Contestant(mode, precision, "ours", mode) for mode in AUGMENTATIONS]
        speeds = measure(contestants, batch_size, data_dir, rounds=7)
        for one in contestants[1:]:
            costs = [
                100 * (without / with_it - 1)
                for without, with_it in zip(speeds[contestants[0]], speeds[one], strict=True)
            ]
            spread = f"{min(costs):+.1f} to {max(costs):+.1f} %"
            setting = f"`cnn`, {precision}, batch {batch_size}"
            rows.append([f"`{one.name}`", setting, f"{statistics.median(costs):+.1f} %", spread])
    return table(["augment", "step", "median of 7 rounds", "spread"], rows)


def classify(preset: str, folder: pathlib.Path, test: Split) -> list[evaluation.Outcome]:
    """Returns what the run of each seed makes of the test images."""
    outcomes = []
    for seed in SEEDS:
        name = Training(preset, seed).run
        run, checkpoint = runs.find(str(folder / "checkpoint"), name, None)
        with evaluation.Evaluator(model.inference_graph(model.network_of(run.flags))) as evaluator:
            evaluator.restore(checkpoint)
            outcomes.append(evaluator.classify(*test))
    return outcomes


def ensemble_section(folder: pathlib.Path, test: Split, picture: pathlib.Path) -> str:
    """Evaluates the runs of each preset together, and draws what all of `best` get wrong."""
    outcomes = {preset: classify(preset, folder, test) for preset in PRESETS}
    rows = []
    for preset in PRESETS:
        for how, vote in (("mean of probabilities", False), ("majority", True)):
            correct = evaluation.combine(outcomes[preset], vote=vote).correct
            low, high = evaluation.interval(correct, len(test.labels))
            share = f"{100 * correct / len(test.labels):.2f} %"
            interval = f"{100 * low:.2f} to {100 * high:.2f} %"
            rows.append([f"five `{preset}` runs, {how}", share, interval])
    wrong_in_all = np.all([one.predictions != test.labels for one in outcomes["best"]], axis=0)
    voted = evaluation.combine(outcomes["best"], vote=True).predictions
    digits = (test.images, test.labels, voted)
    pictures.misclassified_grid(*(values[wrong_in_all] for values in digits)).save(picture)
    return (
        f"{table(['together', 'test accuracy', '95 % interval (Wilson)'], rows)}\n\n"
        f"The {np.sum(wrong_in_all)} digits that all five `best` runs get wrong, with what most of "
        f"them take each for, and its label:\n\n"
        f"![Digits, as predicted/label]({picture.parent.name}/{picture.name})"
    )


def main() -> None:
    """Trains what is missing and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data", help="folder of MNIST's four files")
    parser.add_argument("--folder", default="results/accuracy", help="of the runs")
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
    arguments = parser.parse_args()
    folder = pathlib.Path(arguments.folder).resolve()
    data_dir = str(pathlib.Path(arguments.data_dir).resolve())
    figures_folder = arguments.output.with_suffix("")
    for made in (folder, figures_folder):
        made.mkdir(parents=True, exist_ok=True)

    dataset = datasets.load("mnist", data_dir)
    if dataset.name != "mnist":
        parser.error(f"--data_dir: expected MNIST in {data_dir}, found {dataset.name}")

    results = Results(folder / "runs.json")
    timed = [Training(preset, seed) for preset in PRESETS for seed in SEEDS]
    train_missing(timed, results, folder, data_dir, abreast=1)
    ablation = [Training("accurate", s, without) for s in ABLATION_SEEDS for without in WITHOUT]
    train_missing(ablation, results, folder, data_dir, abreast=len(os.sched_getaffinity(0)))

    sections = "\n\n".join(
        f"## `presets/{preset}.flags`: one `{network}` network\n\n{preset_section(preset, results)}"
        for preset, network in PRESETS.items()
    )
    report = f"""# Accuracy

Written by `python -m benchmarks.accuracy` on {datetime.date.today()}: {machine()}. Python
{platform.python_version()}, tensorflow {metadata.version("tensorflow")}. Each seed is one run of
`python train.py --flagfile=presets/PRESET.flags --seed=S` on all 60,000 training images; the test
set was read once, at its end. Seconds are those of the whole command.

{(PROJECT / "benchmarks" / "about_accuracy.md").read_text()}
{sections}

## Together

{ensemble_section(folder, dataset.test, figures_folder / "wrong.png")}

## What distorting the images costs

{augmentation_section(data_dir)}

## What each ingredient contributes

`accurate.flags` with one thing taken away, test accuracy in percent:

{ablation_section(results)}
"""
    shutil.copy(folder / "runs.json", figures_folder)
    write_text(arguments.output, report)
    print(report)


if __name__ == "__main__":
    main()
