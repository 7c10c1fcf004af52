"""The benchmarks' processes, as far as they need nothing beyond what the suite needs."""

import json
import subprocess
import sys

import pytest

from benchmarks import accuracy
from benchmarks.accuracy_runs import Results, Training
from tests.helpers import PROJECT


@pytest.mark.parametrize(("module", "mode"), [("ours", ["--mode=elastic"]), ("tutorial", [])])
def test_a_contestant_trains_a_burst_when_it_is_told_to(digits, module, mode):
    arguments = [*mode, "--batch_size=256", "--precision=float32", f"--data_dir={digits}"]
    short = f"from benchmarks import contestant, {module}; contestant.BURST_IMAGES = 512"
    completed = subprocess.run(
        [sys.executable, "-c", f"{short}; {module}.main()", *arguments],
        cwd=PROJECT,
        input="go\n",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert completed.returncode == 0, completed.stderr
    ready, seconds = completed.stdout.splitlines()
    assert ready == "ready" and 0 < json.loads(seconds) < 100


def test_after_a_training_that_failed_no_other_is_begun(tmp_path, digits):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "accurate0").write_text("not a folder")
    trainings = [Training("accurate", seed) for seed in (0, 1)]
    with pytest.raises(RuntimeError, match="checkpoint/accurate0"):
        accuracy.train_missing(trainings, Results(tmp_path), tmp_path, str(digits), abreast=1)
    assert not (tmp_path / "checkpoint" / "accurate1").exists()


def test_the_way_to_an_accuracy_is_read_at_the_last_step(digits):
    flags = ["--model=mlp", "--train_steps=30", f"--data_dir={digits}"]
    completed = subprocess.run(
        [sys.executable, "-m", "benchmarks.time_to_accuracy", *flags],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    (reading,) = json.loads(completed.stdout)
    assert reading["step"] == 30 and reading["seconds"] > 0 and 0.1 < reading["accuracy"] < 1
