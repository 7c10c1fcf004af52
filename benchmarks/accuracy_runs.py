"""The runs of the accuracy benchmark, and their stored results."""

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

import model
from benchmarks.report import PROJECT, machine
from console import processor
from console.files import write_json
from mnist import datasets
from storage import finding
from storage.run import made_with
from training.evaluator import Evaluator
from training.outcomes import Outcome

PRESETS = {"accurate": "cnn", "best": "deep"}
SEEDS, ABLATION_SEEDS = range(5), range(3)
# What is removed from `accurate.flags`, and the flags that remove it.
WITHOUT = {
    "batch norm": ["--nobatch_norm"],
    "batch norm at a tenth of the rate": ["--nobatch_norm", "--learning_rate=6e-4"],
    "augmentation": ["--augment=none"],
    # Weight averaging uses exact statistics; so does this, to remove nothing but the averaging.
    "weight averaging": ["--weight_average=0", "--population=exact"],
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
    def is_member(self) -> bool:
        """Whether it is one of a preset's runs that are also evaluated together."""
        return not self.without

    @property
    def flags(self) -> list[str]:
        """The flags for `train.py`, except for the locations of files."""
        lines = (PROJECT / "presets" / f"{self.preset}.flags").read_text().splitlines()
        recipe = [line for line in lines if line.startswith("--")]
        return [*recipe, f"--seed={self.seed}", f"--run={self.run}", *WITHOUT.get(self.without, [])]

    def train(self, folder: pathlib.Path, data_dir: str, threads: int | None) -> dict[str, Any]:
        """Trains, resuming a stopped run if there is one; returns the result.

        Its `seconds` are those of the whole command, or None if the run was resumed, or if
        `threads` is set because others run beside it.

        Raises:
            RuntimeError: the command failed; the message is the reason it gave.
        """
        places = [f"--{kind}_dir={folder / kind}" for kind in ("checkpoint", "summary")]
        command = [sys.executable, str(PROJECT / "train.py"), *self.flags, *places]
        command += [f"--precision={native_precision()}"]
        command += ["--dataset=mnist", f"--data_dir={data_dir}"]
        environment = dict(os.environ)
        if threads:
            environment |= {f"TF_NUM_{kind}OP_THREADS": str(threads) for kind in ("INTRA", "INTER")}
        result_file = folder / f"{self.run}.json"
        is_begun = (folder / "checkpoint" / self.run).exists()
        started = time.monotonic()
        completed = subprocess.run(
            [*command, f"--json={result_file}"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if completed.returncode != 0:
            raise RuntimeError(completed.stderr.strip().rpartition("\n")[-1])
        seconds = None if is_begun or threads else time.monotonic() - started
        return json.loads(result_file.read_text()) | {"seconds": seconds}

    def classify(self, folder: pathlib.Path, data_dir: str) -> Outcome:
        """Classifies the test images with the trained run."""
        test = datasets.load("mnist", data_dir).test
        run, checkpoint = finding.find_checkpoint(str(folder / "checkpoint"), self.run, None)
        network = model.network_of(run.flags, run.dataset)
        with Evaluator(model.inference_graph(network)) as evaluator:
            evaluator.restore(checkpoint)
            return evaluator.classify(*test)


OF_PRESETS = [Training(preset, seed) for preset in PRESETS for seed in SEEDS]
ABLATION = [Training("accurate", seed, without) for seed in ABLATION_SEEDS for without in WITHOUT]


def native_precision() -> str:
    """Returns the presets' own precision, unless this processor would emulate it."""
    return "float32" if processor.emulates_bfloat16(processor.features()) else "bfloat16"


class Results:
    """The results so far, in files stored beside the report."""

    def __init__(self, folder: pathlib.Path):
        """Reads what is there."""
        self._folder = folder
        self._path = folder / "runs.json"
        self._results = json.loads(self._path.read_text()) if self._path.exists() else {}

    def __contains__(self, training: Training) -> bool:
        """Whether it was trained with its current flags."""
        return self._results.get(training.run, {}).get("flags") == " ".join(training.flags)

    def is_complete(self, training: Training) -> bool:
        """Whether it was trained, and its outcome is there if it needs one."""
        return training in self and (
            not training.is_member or self._outcome_file(training).exists()
        )

    def trained(
        self, preset: str, seeds: Iterable[int], without: str = ""
    ) -> dict[int, dict[str, Any]]:
        """Returns the figures of the seeds trained so far."""
        trainings = {seed: Training(preset, seed, without) for seed in seeds}
        return {seed: self._results[one.run] for seed, one in trainings.items() if one in self}

    def add(self, training: Training, result: dict[str, Any], outcome: Outcome | None) -> None:
        """Stores the figures of a run and, if given, its `outcome` on the test images."""
        if outcome:
            np.savez_compressed(self._outcome_file(training), **outcome._asdict())
        self._results[training.run] = {
            "flags": " ".join(training.flags),
            **{name: result[name] for name in ("correct", "total", "seconds")},
            "precision": native_precision(),
            "machine": machine(),
            "made_with": made_with(),
        }
        write_json(self._path, self._results)

    def outcome(self, training: Training) -> Outcome:
        """Returns the run's outcome on the test images."""
        with np.load(self._outcome_file(training)) as fields:
            return Outcome(**fields)

    def _outcome_file(self, training: Training) -> pathlib.Path:
        return self._folder / f"{training.run}.npz"
