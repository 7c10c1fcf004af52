"""compare.py: a grid that is stopped and resumed, and what is refused."""

import json
import os
import pathlib
import shutil
import signal
import sys
import time

import pytest

import flags
from studies import results, write_up
from studies.catalogue import STUDIES
from tests import processes
from tests.helpers import (
    DIGITS,
    PROJECT,
    assert_one_line_error,
    last_line,
    run_command,
    said,
    wait_for,
)
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


def test_a_grid_that_was_stopped_goes_on_where_it_was(tmp_path, start_grid):
    """By Ctrl-C after the first run, and killed in the second."""
    folder = tmp_path / "paper"
    process = start_grid()
    wait_for(folder / results.FILE, process)
    os.killpg(process.pid, signal.SIGINT)  # like a terminal, which signals the workers as well
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "SIGINT" in stderr.splitlines()[-1] and "Traceback" not in stderr
    first = what_is_left(process, folder)

    long = folder / "summaries" / CELLS[1].name
    shutil.rmtree(long, ignore_errors=True)
    process = start_grid()
    wait_for(long / "train", process)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert what_is_left(process, folder) == first

    process = start_grid()
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "1 of 2 runs to train" in stderr
    assert stderr.count("well-formed, but not MNIST") == 1, "the workers do not repeat it"
    for line in said(stderr):
        assert line.startswith(("1 of 2 runs to train", "to see the curves: ")), line
    assert f"--logdir={folder}/summaries, then http://localhost:6006/" in said(stderr)[-1]
    assert stdout.splitlines()[-1] == str(folder / "report.md")
    both = (folder / results.FILE).read_text()
    assert both.startswith(first), "the finished run was not trained again"
    assert len(results.outcomes(results.Results(folder / results.FILE).rows)) == 2
    assert sorted(p.name for p in (folder / "summaries").iterdir()) == sorted(c.name for c in CELLS)


def what_is_left(process, folder):
    """The results of a grid that has been stopped, once its workers are gone as well."""
    deadline = time.monotonic() + 20
    while not group_is_empty(process) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert group_is_empty(process), "no worker goes on by itself"
    assert not (folder / "report.md").exists()
    return (folder / results.FILE).read_text()


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


def test_two_runs_are_compared_on_the_same_images(trained_runs, dataset):
    folder, lines = trained_runs
    compared = run_command("compare.py", "small-bn", "--json=both.json", "mlp-nobn", cwd=folder)
    last = last_line(compared)
    facts = json.loads((folder / "both.json").read_text())
    images, labels = facts["images"], dataset.test.labels
    for result, name, only in zip(
        facts["results"], ("small-bn", "mlp-nobn"), ("first", "second"), strict=True
    ):
        assert f"{lines[name]}; 95 % interval of the test accuracy (Wilson)" in compared.stdout
        assert result["correct"] == images["both_right"] + images[f"only_{only}_right"]
    assert sum(images.values()) == len(labels)
    unlike = facts["disagreements"]
    assert all(each["label"] == labels[each["index"]] for each in unlike)
    for side, only in enumerate(("only_first_right", "only_second_right")):
        right = [each for each in unlike if each["predictions"][side] == each["label"]]
        assert len(right) == images[only]
    difference = (images["only_first_right"] - images["only_second_right"]) / len(labels)
    low, high = facts["interval"]
    assert low < difference == facts["difference"] < high
    verdict = "it could be chance" if facts["p_value"] >= 0.05 else "chance seldom gives as much"
    assert last == (
        f"{DIGITS} test accuracy of small-bn minus that of mlp-nobn: {difference:+.4f}, "
        f"95 % interval {low:+.4f} to {high:+.4f} (Newcombe, same images), "
        f"p = {facts['p_value']:.2g} (exact McNemar): {verdict}"
    )
    table = compared.stdout.partition("\n\n")[0].splitlines()
    assert [row.split() for row in table] == [
        ["flag", "small-bn", "mlp-nobn"],
        ["model", "small", "mlp"],
        ["batch_norm", "True", "False"],
    ]
    of_first = [str(unlike[0][name]) for name in ("index", "label")]
    assert [*of_first, *map(str, unlike[0]["predictions"])] in [
        line.split() for line in compared.stdout.splitlines()
    ]
    assert f"they disagree on {len(unlike)} of {len(labels)} images:" in compared.stdout
    assert f"\n... and {len(unlike) - 20} more\n" in compared.stdout


def test_runs_of_the_same_flags_are_the_same(trained_runs, tmp_path):
    for name in ("one", "other"):
        shutil.copytree(trained_runs[0] / "checkpoints/mlp-bn", tmp_path / "checkpoints" / name)
    compared = run_command("compare.py", "one", "other", cwd=tmp_path)
    assert ": +0.0000, 95 % interval -" in last_line(compared) and "p = 1 " in compared.stdout
    assert "no flag differs" in compared.stdout and "disagree on 0 of 300" in compared.stdout


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["mlp-bn"], ["the names of two runs", "mlp-bn"]),
        (["mlp-bn", "mlp-bn"], ["the names of two runs", "mlp-bn and mlp-bn"]),
        (["mlp-bn", "small-bn", "mlp-nobn"], ["at most 2 names", "'mlp-nobn'"]),
        (["mlp-bn", "missing"], ["checkpoints/missing", "small-bn"]),
        (["mlp-bn", "../mlp-bn"], ["file name", "../mlp-bn"]),
        (["mlp-bn", "small-bn", "--study=paper"], ["--study", "two runs"]),
        (["--study=paper", "--json=paper.json"], ["--json", "a study"]),
        (["mlp-bn", "small-bn", "--json=none/x.json"], ["--json", "none/x.json"]),
    ],
)
def test_what_can_not_be_compared_gets_one_line(trained_runs, arguments, fragments):
    refused = run_command("compare.py", *arguments, cwd=trained_runs[0])
    assert_one_line_error(refused, 2, *fragments)


@pytest.mark.parametrize(
    ("name", "value", "fragment"),
    [
        ("name", "letters", "letters (10 classes"),
        ("classes", 12, "12 classes"),
        ("image_size", [32, 32], "of 32x32 pixels"),
        ("fingerprint", "0123456789", "fingerprint 01234567)"),
    ],
)
def test_runs_on_other_data_are_not_compared(trained_runs, tmp_path, name, value, fragment):
    for run in ("one", "other"):
        shutil.copytree(trained_runs[0] / "checkpoints/mlp-bn", tmp_path / "checkpoints" / run)
    path = tmp_path / "checkpoints/other/run.json"
    record = json.loads(path.read_text())
    record["dataset"][name] = value
    path.write_text(json.dumps(record))
    refused = run_command("compare.py", "one", "other", cwd=tmp_path)
    assert_one_line_error(refused, 2, "trained on the same data", fragment)


def test_wrong_input_gets_one_line(tmp_path):
    nothing = run_command("compare.py", cwd=tmp_path)
    assert_one_line_error(nothing, 2, "--study", *flags.STUDIES, "two runs")
    refused = run_command("compare.py", "--study=weather", cwd=tmp_path)
    assert_one_line_error(refused, 2, "weather", "learning_rate")
    (tmp_path / "results/paper").mkdir(parents=True)
    (tmp_path / "results/paper/results.csv").write_text("a,b\n1,2\n")
    refused = run_command("compare.py", "--study=paper", cwd=tmp_path)
    assert_one_line_error(refused, 2, "results.csv", "status")
