"""compare.py: a grid that is stopped and resumed, and what is refused."""

import os
import pathlib
import shutil
import signal
import sys
import time

import pytest

from studies import results, write_up
from studies.catalogue import STUDIES
from tests import processes
from tests.helpers import PROJECT, assert_one_line_error, last_line, run_command, said, wait_for
from tests.system.small_study import CELLS

RESULTS = PROJECT / "docs" / "results"


@pytest.fixture
def start_grid(tmp_path, data_flags):
    """A function that starts the grid of two runs, in its own process group."""

    command = [sys.executable, "-m", "tests.system.small_study", "--study=paper", *data_flags]
    command += [f"--results_dir={tmp_path}"]

    def start():
        return processes.Process(command, PROJECT, dict(os.environ), in_own_group=True)

    return start


def group_is_empty(process):
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(("stop", "exit_code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_grid_that_was_stopped_goes_on_where_it_was(tmp_path, start_grid, stop, exit_code):
    folder = tmp_path / "paper"
    process = start_grid()
    wait_for(folder / results.FILE, process)
    if stop == signal.SIGINT:
        os.killpg(process.pid, stop)  # like a terminal, which signals the workers as well
    else:
        process.send_signal(stop)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == exit_code, stderr
    if stop != signal.SIGKILL:
        assert stop.name in stderr.splitlines()[-1] and "Traceback" not in stderr
    deadline = time.monotonic() + 20
    while not group_is_empty(process) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert group_is_empty(process), "no worker goes on by itself"
    first = (folder / results.FILE).read_text()
    assert not (folder / "report.md").exists()

    process = start_grid()
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "1 of 2 runs to train" in stderr
    assert stderr.count("well-formed, but not MNIST") == 1, "the workers do not repeat it"
    for line in said(stderr):
        assert line.startswith(("1 of 2 runs to train", "to see the curves: ")), line
    assert said(stderr)[-1].endswith(f"--logdir={folder}/summaries")
    assert stdout.splitlines()[-1] == str(folder / "report.md")
    both = (folder / results.FILE).read_text()
    assert both.startswith(first), "the finished run was not trained again"
    assert len(results.outcomes(results.Results(folder / results.FILE).rows)) == 2
    assert sorted(p.name for p in (folder / "summaries").iterdir()) == sorted(c.name for c in CELLS)


def test_ctrl_c_while_the_workers_start_ends_the_grid(tmp_path, start_grid):
    """They take seconds to import TensorFlow, and Ctrl-C reaches them too."""
    process = start_grid()
    wait_for(tmp_path / "paper" / write_up.FACTS_FILE, process)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "SIGINT" in stderr.splitlines()[-1] and "Traceback" not in stderr


def test_a_worker_that_was_killed_ends_the_grid_with_one_line(tmp_path, start_grid):
    process = start_grid()
    wait_for(tmp_path / "paper" / results.FILE, process)
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        # Besides the workers there is a process that tracks what they share.
        if b"spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
            break
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    assert "was killed" in stderr.splitlines()[-1] and "Traceback" not in stderr


@pytest.mark.parametrize(
    "folder", [path.parent for path in sorted(RESULTS.glob("*/results.csv"))], ids=lambda f: f.name
)
def test_the_committed_reports_are_made_from_their_tables(tmp_path, folder):
    for name in (results.FILE, write_up.FACTS_FILE):
        shutil.copy(folder / name, tmp_path)
    study = STUDIES[folder.name.removesuffix("-full")]
    write_up.check(tmp_path, study.cells(folder.name.endswith("-full")), "auto")
    rows = results.Results(tmp_path / results.FILE).rows
    report, figures = write_up.write(tmp_path, study, rows)
    assert report.read_text() == (folder / "report.md").read_text()
    # What `compare.py` prints is what the report has below its first lines, without the plots.
    _, _, found = report.read_text().partition("\nNot varied: ")
    lines = [line for line in found.splitlines()[1:] if not line.startswith(("![", "| ---"))]
    lines.insert(0, "data: mnist")
    assert figures.split() == " ".join(lines).replace("|", " ").split()
    plots = {path.name: path.read_bytes() for path in tmp_path.glob("*.svg")}
    assert plots.keys() == {path.name for path in folder.glob("*.svg")}
    write_up.write(tmp_path, study, rows)
    for name, content in plots.items():
        assert (tmp_path / name).read_bytes() == content, "the same figures, the same bytes"


def test_a_finished_study_needs_no_data_to_be_written_up_again(tmp_path):
    shutil.copytree(RESULTS / "learning_rate", tmp_path / "learning_rate")
    (tmp_path / "learning_rate/report.md").unlink()
    again = run_command(
        "compare.py",
        "--study=learning_rate",
        f"--results_dir={tmp_path}",
        "--dataset=mnist",
        "--data_dir=nowhere",
        cwd=tmp_path,
    )
    assert last_line(again) == f"{tmp_path}/learning_rate/report.md"
    assert "nothing to train" in again.stderr and "curves: " not in again.stderr
    assert "0.01           98.52 ± 0.24 (3)                   97.53 ± 0.39 (3)\n" in again.stdout
    report = (RESULTS / "learning_rate/report.md").read_text()
    assert (tmp_path / "learning_rate/report.md").read_text() == report
    other = ["--dataset=synthetic", f"--results_dir={tmp_path}"]
    refused = run_command("compare.py", "--study=learning_rate", *other, cwd=tmp_path)
    assert_one_line_error(refused, 2, "expected data mnist, found synthetic")


def test_wrong_input_gets_one_line(tmp_path):
    assert_one_line_error(run_command("compare.py", cwd=tmp_path), 2, "--study")
    refused = run_command("compare.py", "--study=weather", cwd=tmp_path)
    assert_one_line_error(refused, 2, "weather", "learning_rate")
    (tmp_path / "results/paper").mkdir(parents=True)
    (tmp_path / "results/paper/results.csv").write_text("a,b\n1,2\n")
    refused = run_command("compare.py", "--study=paper", cwd=tmp_path)
    assert_one_line_error(refused, 2, "results.csv", "status")
