"""What the tests share that start commands: a few trained runs."""

import json
import pathlib
import shutil

import pytest

from tests.helpers import last_line, made_once, run_command


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory, data_flags) -> pathlib.Path:
    """A folder in which two networks were trained for a few steps, with and without batch norm."""

    def train(folder: pathlib.Path) -> None:
        lines = {}
        for network in ("small", "mlp"):
            for suffix, batch_norm in (("bn", "--batch_norm"), ("nobn", "--nobatch_norm")):
                flags = [f"--model={network}", batch_norm, "--train_steps=40", "--eval_every=20"]
                completed = run_command("train.py", *flags, *data_flags, cwd=folder)
                lines[f"{network}-{suffix}"] = last_line(completed)
        (folder / "lines.json").write_text(json.dumps(lines))

    return made_once(tmp_path_factory, "trained", train)


@pytest.fixture(scope="module")
def trained_runs(trained_once, tmp_path_factory) -> tuple[pathlib.Path, dict[str, str]]:
    """A copy of that folder, and the last line that each `train.py` printed, by the run's name."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(trained_once, folder, dirs_exist_ok=True)
    return folder, json.loads((folder / "lines.json").read_text())
