"""The benchmarks' contestants that need nothing beyond what the suite needs."""

import json
import subprocess
import sys

import pytest

from benchmarks import accuracy
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
        timeout=120,
    )
    assert completed.returncode == 0, completed.stderr
    ready, seconds = completed.stdout.splitlines()
    assert ready == "ready" and 0 < json.loads(seconds) < 100


def test_a_result_counts_for_as_long_as_the_preset_is_the_same(tmp_path, monkeypatch):
    training = accuracy.Training("accurate", seed=1, without="dropout")
    result = {"correct": 9970, "total": 10000, "loss": 0.01, "seconds": 200.0}
    accuracy.Results(tmp_path / "runs.json")[training] = result
    assert training in accuracy.Results(tmp_path / "runs.json")
    assert training._replace(seed=2) not in accuracy.Results(tmp_path / "runs.json")
    monkeypatch.setitem(accuracy.WITHOUT, "dropout", ["--dropout=0.1"])
    assert training not in accuracy.Results(tmp_path / "runs.json")


def test_tables_of_accuracy_have_every_seed_and_the_mean(tmp_path):
    results = accuracy.Results(tmp_path / "runs.json")
    for seed in accuracy.SEEDS:
        for without in ("", *accuracy.WITHOUT):
            correct = 9970 + seed - 10 * (without == "dropout")
            training = accuracy.Training("accurate", seed, without)
            results[training] = {"correct": correct, "total": 10000, "loss": 0.0, "seconds": 200}
    rows = accuracy.preset_section("accurate", results).splitlines()
    assert rows[2].startswith("| 0 | 99.70 % | 99.57 to 99.79 % | 200 |")
    assert rows[-1] == "| **mean** | **99.720 %** |  | **200** |"
    rows = accuracy.ablation_section(results).splitlines()
    assert rows[2] == "| nothing | 99.70 | 99.71 | 99.72 | **99.710** |  |"
    (row,) = [row for row in rows if "--dropout=0" in row]
    assert row.endswith("| 99.60 | 99.61 | 99.62 | **99.610** | -0.100 |")


def test_the_way_to_an_accuracy_is_read_at_the_last_step(real_mnist):
    flags = ["--model=mlp", "--train_steps=30", f"--data_dir={real_mnist}"]
    completed = subprocess.run(
        [sys.executable, "-m", "benchmarks.time_to_accuracy", *flags],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    (reading,) = json.loads(completed.stdout)
    assert reading["step"] == 30 and reading["seconds"] > 0 and 0.1 < reading["accuracy"] < 1
