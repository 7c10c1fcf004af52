"""The benchmarks' processes, as far as they need nothing beyond what the suite needs."""

import json
import os
import sys

import pytest

from benchmarks import accuracy
from benchmarks.accuracy_runs import Results, Training
from tests import processes
from tests.helpers import PROJECT


def run(*arguments):
    completed = processes.run([sys.executable, *arguments], PROJECT, dict(os.environ))
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.mark.parametrize(("module", "mode"), [("ours", ["--mode=elastic"]), ("tutorial", [])])
def test_a_contestant_trains_a_burst_when_it_is_told_to(digits, module, mode):
    arguments = [*mode, "--batch_size=64", "--precision=float32", f"--data_dir={digits}"]
    program = f"""
import io, sys
from benchmarks import contestant, {module}
contestant.BURST_IMAGES = 128
sys.stdin = io.StringIO("go\\n")
{module}.main()
"""
    ready, seconds = run("-c", program, *arguments).splitlines()
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
    (reading,) = json.loads(run("-m", "benchmarks.time_to_accuracy", *flags))
    assert reading["step"] == 30 and reading["seconds"] > 0 and 0.1 < reading["accuracy"] < 1
