"""The benchmarks' contestants that need nothing beyond what the suite needs."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import accuracy, accuracy_report
from benchmarks.accuracy_runs import SEEDS, WITHOUT, Results, Training
from mnist.datasets import Split
from runtime.classification import Outcome
from tests.helpers import PROJECT


@pytest.mark.parametrize(("module", "mode"), [("ours", ["--mode=elastic"]), ("tutorial", [])])
def test_a_contestant_trains_a_burst_when_it_is_told_to(real_mnist, module, mode):
    arguments = [*mode, "--batch_size=256", "--precision=float32", f"--data_dir={real_mnist}"]
    completed = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=PROJECT,
        input="go\n",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert completed.returncode == 0, completed.stderr
    ready, seconds = completed.stdout.splitlines()
    assert ready == "ready" and 0 < json.loads(seconds) < 100


def test_a_result_counts_for_as_long_as_the_preset_is_the_same(tmp_path, monkeypatch):
    training = Training("accurate", seed=1, without="dropout")
    Results(tmp_path).add(training, {"correct": 9970, "total": 10000, "seconds": 200.0}, None)
    assert training in Results(tmp_path)
    assert training._replace(seed=2) not in Results(tmp_path)
    monkeypatch.setitem(WITHOUT, "dropout", ["--dropout=0.1"])
    assert training not in Results(tmp_path)


def test_after_a_training_that_failed_no_other_is_begun(tmp_path, real_mnist):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "accurate0").write_text("not a folder")
    trainings = [Training("accurate", seed) for seed in (0, 1)]
    with pytest.raises(RuntimeError, match="checkpoint/accurate0"):
        accuracy.train_missing(trainings, Results(tmp_path), tmp_path, str(real_mnist), abreast=1)
    assert not (tmp_path / "checkpoint" / "accurate1").exists()


def test_tables_of_accuracy_have_the_seeds_that_are_trained_and_their_mean(tmp_path):
    results = Results(tmp_path)
    assert accuracy_report.preset_section("accurate", results).startswith("Not yet")
    for seed in SEEDS:
        for without in ("", *WITHOUT):
            if without == "augmentation" and seed == 2:
                continue
            correct = 9970 + seed - 10 * (without == "dropout")
            training = Training("accurate", seed, without)
            results.add(training, {"correct": correct, "total": 10000, "seconds": 200}, None)
    rows = accuracy_report.preset_section("accurate", results).splitlines()
    assert rows[2].startswith("| 0 | 99.70 % | 99.57 to 99.79 % | 200 |")
    assert rows[-1].startswith("| **mean** | **99.720 %** |")
    by_name = {
        row.split("|")[1].split("(")[0].strip(): row.split("|")[2:7]
        for row in accuracy_report.ablation_section(results).splitlines()
    }
    assert by_name["nothing"] == [" 99.70 ", " 99.71 ", " 99.72 ", " **99.710** ", "  "]
    assert by_name["dropout"] == [" 99.60 ", " 99.61 ", " 99.62 ", " **99.610** ", " -0.100 "]
    assert by_name["augmentation"] == [" 99.70 ", " 99.71 ", "  ", " **99.705** ", " +0.000 "]


def test_five_runs_are_read_together_from_what_is_kept_of_them(tmp_path):
    """Runs that are wrong about one digit each are right together; about one all of them err."""
    labels = np.arange(10)
    test = Split(np.zeros([10, 28, 28], np.uint8), labels)
    for seed in SEEDS:
        predictions = labels.copy()
        predictions[[seed, 9]] = 7
        probabilities = np.eye(10, dtype=np.float32)[predictions]
        outcome = Outcome(labels, predictions, np.zeros(10, np.float32), probabilities)
        result = {"correct": outcome.correct, "total": 10, "seconds": 200}
        if seed == 0:
            section = accuracy_report.ensemble_section(Results(tmp_path), test, tmp_path / "w.png")
            assert section.startswith("Not yet")
        Results(tmp_path).add(Training("best", seed), result, outcome)
    section = accuracy_report.ensemble_section(Results(tmp_path), test, tmp_path / "w.png")
    assert "mean of probabilities | 90.00 %" in section and "majority | 90.00 %" in section
    assert "The 1 digits that all five" in section and (tmp_path / "w.png").exists()


def test_the_way_to_an_accuracy_is_read_at_the_last_step(real_mnist):
    flags = ["--model=mlp", "--train_steps=30", f"--data_dir={real_mnist}"]
    completed = subprocess.run(
        [sys.executable, "-m", "benchmarks.time_to_accuracy", *flags],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    (reading,) = json.loads(completed.stdout)
    assert reading["step"] == 30 and reading["seconds"] > 0 and 0.1 < reading["accuracy"] < 1
