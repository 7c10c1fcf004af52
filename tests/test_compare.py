"""The studies: a grid that is stopped and goes on, figures that are right, reports that repeat."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import model
from mnist import datasets
from runtime.errors import InputError
from studies import results, sensitivity, statistics, write_up
from studies.catalogue import STUDIES
from studies.cells import DEFAULTS, FINISHED, Cell
from studies.trials import Trial
from tests.helpers import PROJECT, assert_one_line_error, last_line, run_command, wait_for
from tests.small_study import CELLS

RESULTS = PROJECT / "docs" / "results"


@pytest.fixture
def start_grid(tmp_path, data_flags):
    """A function that starts the grid of two cells, in a process group of its own."""

    def start():
        return subprocess.Popen(
            [sys.executable, "-m", "tests.small_study", "--study=paper", *data_flags]
            + [f"--results_dir={tmp_path}"],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

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
        os.killpg(process.pid, stop)  # as a terminal does: to the workers as well
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
    assert "1 of 2 cells to train" in stderr
    for line in stderr.splitlines():
        assert line.startswith(("1 of 2 cells to train", "curves: ")), line
    assert stdout.splitlines()[-1] == str(folder / "report.md")
    both = (folder / results.FILE).read_text()
    assert both.startswith(first), "the cell that was done was not trained again"
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
        # Besides the workers there is a process that keeps track of what they share.
        if b"spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
            break
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    assert "was killed" in stderr.splitlines()[-1] and "Traceback" not in stderr


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("full", [False, True])
def test_the_grids_are_sound(name, full):
    cells = STUDIES[name].cells(full)
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        assert cell.flags.keys() == DEFAULTS.keys()
        model.network_of(cell.flags)
        model.recipe_of({**model.Recipe._field_defaults, **cell.flags})


def some_digits():
    dataset = datasets.load("synthetic", "")
    return dataset._replace(
        train=datasets.Split(dataset.train.images[:2000], dataset.train.labels[:2000]),
        validation=datasets.Split(dataset.validation.images[:200], dataset.validation.labels[:200]),
        test=datasets.Split(dataset.test.images[:200], dataset.test.labels[:200]),
    )


def test_a_training_that_diverges_is_a_result(tmp_path):
    """And it stays one in the table, in the mean, and in the plot."""
    dataset = some_digits()
    table = results.Results(tmp_path / results.FILE)
    cells = [
        Cell(
            {"model": "mlp", "batch_norm": False, "learning_rate": rate, "seed": seed},
            {"train_steps": 40},
        )
        for rate in (1e-3, 1e38)
        for seed in (0, 1)
    ]
    for cell in cells:
        rows = sensitivity.train(cell, dataset, tmp_path / cell.name)
        table.add(cell, [{"dataset": dataset.name, **row} for row in rows], cells)
    again = results.Results(tmp_path / results.FILE)
    assert again.rows == table.rows
    ends = results.outcomes(again.rows)
    assert [row["status"] for row in ends] == ["finished", "finished", "diverged", "diverged"]
    assert results.accuracy_of(ends[2:]) == "10.00 ± 0.00 (2), 2 diverged"
    assert all(results.final_accuracy(row) > 0.2 for row in ends[:2])


def test_a_training_that_diverged_is_a_guess_from_there_on():
    finished = [
        {"step": 10, "accuracy": 0.8, "status": None},
        {"step": 20, "accuracy": 0.9, "status": "finished"},
    ]
    diverged = [{"step": 17, "accuracy": None, "status": "diverged"}]
    steps, errors = results.error_curves([diverged, finished])
    assert steps == [10, 20]
    np.testing.assert_allclose(errors, [[90, 20], [90, 10]])


def test_the_study_of_statistics_averages_as_the_layer_does():
    flags = {**DEFAULTS, "model": "mlp", "bn_decay": 0.9, "train_steps": 20, "batch_size": 8}
    moving_averages = statistics.MovingAverages(statistics.Kind(0.9))
    with Trial(flags, some_digits().train) as trial:
        layers = trial.graph.graph.get_collection(model.BATCH_NORMS)
        with trial.graph.graph.as_default():
            moments = [statistics.layer_moments(inputs) for inputs, _, _ in layers]
        for images, labels in trial.batches.ahead(0, 20):
            feed = {trial.graph.images: images, trial.graph.labels: labels}
            _, of_batch = trial.session.run((trial.graph.train_op, moments), feed)
            moving_averages.update(of_batch)
        variables = trial.variables()
    for (_, pop_mean, pop_var), (mean, var) in zip(layers, moving_averages.values(), strict=True):
        np.testing.assert_allclose(variables[pop_mean.op.name], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(variables[pop_var.op.name], var, rtol=1e-4)


@pytest.mark.parametrize(
    "folder", [path.parent for path in sorted(RESULTS.glob("*/results.csv"))], ids=lambda f: f.name
)
def test_the_committed_reports_are_made_from_their_tables(tmp_path, folder):
    for name in (results.FILE, write_up.FACTS_FILE):
        shutil.copy(folder / name, tmp_path)
    study = STUDIES[folder.name.removesuffix("-full")]
    write_up.check(tmp_path, study.cells(folder.name.endswith("-full")), "auto")
    rows = results.Results(tmp_path / results.FILE).rows
    report = write_up.write(tmp_path, study, rows)
    assert report.read_text() == (folder / "report.md").read_text()
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
    report = (RESULTS / "learning_rate/report.md").read_text()
    assert (tmp_path / "learning_rate/report.md").read_text() == report
    other = ["--dataset=synthetic", f"--results_dir={tmp_path}"]
    refused = run_command("compare.py", "--study=learning_rate", *other, cwd=tmp_path)
    assert_one_line_error(refused, 2, "expected data mnist, found synthetic")


def test_the_study_of_statistics_evaluates_every_kind_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "STEPS", (10, 20))
    monkeypatch.setattr(statistics, "LAST_STEP", 20)
    cell = Cell({"model": "mlp", "batch_size": 8, "seed": 0}, {"train_steps": 20})
    rows = statistics.train(cell, some_digits(), tmp_path)
    kinds = [*(kind.name for kind in statistics.KINDS), statistics.EXACT, statistics.OWN]
    assert [(row["step"], row["statistics"]) for row in rows] == [
        (step, kind) for step in (10, 20) for kind in kinds
    ]
    assert rows[-1]["status"] == FINISHED
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    of = {row["statistics"]: row["accuracy"] for row in rows if row["step"] == 20}
    assert of["decay 0.999, not debiased"] < of[statistics.EXACT], "it still knows nothing"


def test_results_of_another_grid_or_of_nobody_knows_what_are_not_mixed_in(tmp_path):
    write_up.begin(tmp_path, "python compare.py", CELLS, {"name": "mnist"})
    other = [CELLS[0]._replace(fixed={"train_steps": 21}), CELLS[1]]
    with pytest.raises(InputError, match="grid"):
        write_up.begin(tmp_path, "python compare.py", other, {"name": "mnist"})
    (tmp_path / results.FILE).write_text("step,status\n1,finished\n")
    (tmp_path / write_up.FACTS_FILE).unlink()
    with pytest.raises(InputError, match="beside"):
        write_up.begin(tmp_path, "python compare.py", CELLS, {"name": "mnist"})


def test_results_of_other_data_are_not_mixed_in(tmp_path):
    write_up.begin(tmp_path, "python compare.py", CELLS, {"name": "mnist"})
    with pytest.raises(InputError, match="synthetic"):
        write_up.begin(tmp_path, "python compare.py", CELLS, {"name": "synthetic"})


def test_wrong_input_gets_one_line(tmp_path):
    assert_one_line_error(run_command("compare.py", cwd=tmp_path), 2, "--study")
    refused = run_command("compare.py", "--study=weather", cwd=tmp_path)
    assert_one_line_error(refused, 2, "weather", "learning_rate")
    (tmp_path / "results/paper").mkdir(parents=True)
    (tmp_path / "results/paper/results.csv").write_text("a,b\n1,2\n")
    refused = run_command("compare.py", "--study=paper", cwd=tmp_path)
    assert_one_line_error(refused, 2, "results.csv", "status")
