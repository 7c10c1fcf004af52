"""What someone who does not know the suite types, and what it answers."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from console.errors import InputError
from storage import finding
from tests import processes
from tests.helpers import (
    PROJECT,
    assert_one_line_error,
    last_line,
    run_command,
    said,
    start_command,
    wait_for,
    write_noise,
)

FLAGS = ["--model=mlp", "--batch_size=32"]


@pytest.mark.parametrize("command", ["train.py", "evaluate.py", "compare.py"])
def test_help_is_no_error_and_begins_with_examples(command, tmp_path):
    helped = run_command(command, "--help", cwd=tmp_path)
    assert helped.returncode == 0 and helped.stderr == ""
    before, _, flags = helped.stdout.partition("\nData:\n")
    assert f"python {command}" in before
    assert "--dataset=auto|mnist|synthetic" in flags


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "export", "compare", "runs"])
def test_help_has_every_flag_that_a_command_takes(command, tmp_path):
    helped = run_command(f"{command}.py", "--help", cwd=tmp_path).stdout
    shown = re.findall(r"^  --(?:\[no\])?(\w+)", helped, re.MULTILINE)
    # As absl knows them, without its own.
    is_ours = "not FLAGS.find_module_defining_flag(name).startswith('absl.')"
    program = f"from {command} import FLAGS; print(*(name for name in FLAGS if {is_ours}))"
    taken = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert len(shown) > 1 and sorted(shown) == sorted(taken.stdout.split())


def test_half_an_epoch(tmp_path, digits, data_flags):
    steps = 1100 // 32 // 2
    trained = run_command("train.py", *FLAGS, "--epochs=0.5", *data_flags, cwd=tmp_path)
    assert f"at step {steps}, " in last_line(trained)


def test_an_abbreviation_is_understood(tmp_path):
    refused = run_command("train.py", "--lr=0.1", cwd=tmp_path)
    assert_one_line_error(refused, 2, "--lr", "--learning_rate")


def test_without_a_study_the_studies_are_listed(tmp_path):
    assert_one_line_error(
        run_command("compare.py", cwd=tmp_path), 2, "--study", "paper, smoothness, speed"
    )


def test_a_folder_with_a_typo_is_refused_by_every_command(tmp_path, trained_runs):
    named = "--data_dir=no-such-folder"
    shutil.copytree(trained_runs[0] / "checkpoints", tmp_path / "checkpoints")
    for command in (["train.py"], ["evaluate.py"], ["compare.py", "--study=paper"]):
        refused = run_command(*command, named, cwd=tmp_path)
        assert_one_line_error(refused, 2, "--data_dir", "no-such-folder, found no such folder")
    assert not (tmp_path / "no-such-folder").exists()


def test_a_run_that_is_not_there_is_told_with_those_that_are(trained_runs):
    refused = run_command("evaluate.py", "--run=nope", cwd=trained_runs[0])
    assert_one_line_error(refused, 2, "expected a run in", "nope", "mlp-bn", "small-nobn")


def test_the_result_has_the_validation_accuracy_and_all_that_explains_it(tmp_path, data_flags):
    flags = [*FLAGS, "--train_steps=40", "--eval_every=20", "--seed=3", "--json=result.json"]
    trained = run_command("train.py", *flags, *data_flags, cwd=tmp_path)
    found = re.search(r"^validation accuracy (0\.\d{4}) at step 40$", trained.stdout, re.MULTILINE)
    result = json.loads((tmp_path / "result.json").read_text())
    assert found and float(found.group(1)) == round(result["runs"][0]["validation_accuracy"], 4)
    assert found.group(1) in "".join(said(trained.stderr)), "the last line of progress has it too"
    (run,) = result["runs"]
    assert run["run"] == "mlp-bn" and run["flags"]["seed"] == 3 and "tensorflow" in run["made_with"]
    low, high = result["interval"]
    assert low < result["accuracy"] < high
    evaluated = run_command("evaluate.py", "--json=again.json", *data_flags, cwd=tmp_path)
    assert last_line(evaluated) == last_line(trained)
    assert json.loads((tmp_path / "again.json").read_text()) == result


def test_what_is_printed_can_be_typed_anywhere(tmp_path, data_flags):
    trained = run_command("train.py", *FLAGS, "--train_steps=5", *data_flags, cwd=tmp_path)
    (line,) = re.findall(r"^to evaluate again: (.*)$", trained.stderr, re.MULTILINE)
    # The words are the shell's; only the process is forked.
    words = subprocess.run(
        f"printf '%s\\n' {line}", shell=True, cwd=tmp_path, capture_output=True, text=True
    ).stdout.splitlines()
    assert shutil.which(words[0])
    assert last_line(processes.run(words, tmp_path, dict(os.environ))) == last_line(trained)


def test_a_run_in_training_is_told_as_such(tmp_path, data_flags):
    flags = [*FLAGS, "--train_steps=20000", "--save_every=10", "--lr_schedule=constant"]
    training = start_command("train.py", *flags, *data_flags, cwd=tmp_path)
    try:
        wait_for(tmp_path / "checkpoints/mlp-bn/model.ckpt-10.index", training)
        wait_for(tmp_path / "checkpoints/mlp-bn/run.json", training)
        evaluated = run_command("evaluate.py", *data_flags, cwd=tmp_path)
    finally:
        training.kill()
        training.wait()
    assert f"is in training (process {training.pid} " in evaluated.stderr
    assert "; this is step " in evaluated.stderr


def test_the_runs_are_listed_with_what_tells_them_apart(trained_runs, tmp_path):
    folder, lines = trained_runs
    # As in a pipe: pytest's own processes have a width.
    listed = run_command("runs.py", f"--json={tmp_path}/runs.json", cwd=folder, COLUMNS="0")
    header, *rows = last_line(listed) and listed.stdout.splitlines()
    assert header.split()[:4] == ["run", "state", "step", "data"]
    differences = {row.split()[0]: set(row.split()) & {"model=mlp", "model=small"} for row in rows}
    assert differences["mlp-bn"] == differences["mlp-nobn"] != differences["small-bn"]
    runs = {run["run"]: run for run in json.loads((tmp_path / "runs.json").read_text())["runs"]}
    assert set(runs) == set(lines) and len(rows) == len(lines)
    for name, line in lines.items():
        assert runs[name]["state"] == "finished" and runs[name]["step"] == 40
        assert f"accuracy {runs[name]['test_accuracy']:.4f}" in line
        assert runs[name]["bytes"] > 1e5
    narrow = run_command("runs.py", cwd=folder, COLUMNS="92").stdout
    assert max(map(len, narrow.splitlines())) <= 92 < max(map(len, listed.stdout.splitlines()))
    flags = [sorted(re.findall(r"\w+=\w+", each)) for each in (narrow, listed.stdout)]
    assert flags[0] == flags[1]
    nothing = run_command("runs.py", cwd=tmp_path)
    assert_one_line_error(nothing, 2, "--checkpoint_dir", "found none")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(""),
        lambda path: path.mkdir(),
        lambda path: path.write_text('{"format": 3}'),
        lambda path: path.write_text("[]"),
    ],
    ids=["empty", "folder", "newer", "foreign"],
)
def test_one_bad_record_hides_no_other_run(trained_runs, tmp_path, damage):
    folder, lines = trained_runs
    shutil.copytree(folder / "checkpoints/mlp-bn", tmp_path / "checkpoints/mlp-bn")
    (tmp_path / "checkpoints/other").mkdir()
    damage(tmp_path / "checkpoints/other/run.json")
    (tmp_path / "checkpoints/mlp-bn/best.ckpt-40.index").unlink()
    listed = run_command("runs.py", f"--json={tmp_path}/runs.json", cwd=tmp_path)
    assert "finished, best.ckpt-40 missing" in listed.stdout
    assert last_line(listed).split() == ["other", "damaged"]
    assert "warning: checkpoints/other/run.json: expected" in listed.stderr
    runs = json.loads((tmp_path / "runs.json").read_text())["runs"]
    assert [run["run"] for run in runs] == ["mlp-bn", "other"]
    evaluated = run_command("evaluate.py", cwd=tmp_path)
    assert last_line(evaluated) == lines["mlp-bn"]
    assert "passed over: checkpoints/other/run.json" in evaluated.stderr


def test_a_finished_run_without_its_checkpoints_does_not_pretend(
    trained_runs, tmp_path, data_flags
):
    folder, lines = trained_runs
    for part in ("checkpoints", "summaries"):
        shutil.copytree(folder / part / "mlp-bn", tmp_path / part / "mlp-bn")
    for path in (tmp_path / "checkpoints/mlp-bn").glob("model.ckpt-40.*"):
        path.unlink()
    flags = ["--model=mlp", "--train_steps=40", "--eval_every=20", *data_flags]
    again = run_command("train.py", *flags, cwd=tmp_path)
    assert last_line(again) == lines["mlp-bn"]
    assert "model.ckpt-40 can't be evaluated: the files are gone" in again.stderr
    assert "to evaluate again" not in again.stderr
    refused = run_command("evaluate.py", cwd=tmp_path)
    assert_one_line_error(refused, 2, "model.ckpt-40", "--checkpoint=checkpoints/mlp-bn/", "sound")


def test_a_checkpoint_that_training_has_replaced_is_found_again(
    trained_runs, tmp_path, capsys, monkeypatch
):
    folder, _ = trained_runs
    shutil.copytree(folder / "checkpoints/mlp-bn", tmp_path / "mlp-bn")
    run, checkpoint = finding.find_checkpoint(str(tmp_path), "mlp-bn", None)
    assert finding.find_again(run, checkpoint) == checkpoint
    older = dataclasses.replace(checkpoint, step=1)
    assert finding.find_again(run, older) == checkpoint
    assert "model.ckpt-1 has been replaced in training" in capsys.readouterr().err
    with monkeypatch.context() as patched:
        # As if training had gone on between the look at the record and that at the files.
        stale = dataclasses.replace(run, checkpoints={older.name: {f"{older.name}.index": "0"}})
        records = iter([stale])
        patched.setattr(finding, "load_run", lambda folder: next(records, run))
        assert finding.find_checkpoint(str(tmp_path), "mlp-bn", None) == (run, checkpoint)
    checkpoint.remove()
    run.checkpoints.pop(checkpoint.name)
    run.save()
    with pytest.raises(InputError, match="has been deleted"):
        finding.find_again(run, checkpoint)


# evaluate.py, while training goes on: once the graphs are built, there is another checkpoint.
OVERTAKEN = """
import evaluate
from console import commands

build = evaluate.graphs_of

def build_and_replace(run):
    graphs = build(run)
    for path in run.folder.glob("model.ckpt-40.*"):
        path.rename(path.with_name(path.name.replace("-40", "-41")))
    sums = run.checkpoints.pop("model.ckpt-40")
    run.checkpoints["model.ckpt-41"] = {name.replace("-40", "-41"): sums[name] for name in sums}
    run.save()
    return graphs

evaluate.graphs_of = build_and_replace
commands.run(evaluate.main)
"""


def test_a_checkpoint_that_is_replaced_before_it_is_read_is_found_again(trained_runs, tmp_path):
    shutil.copytree(trained_runs[0] / "checkpoints/mlp-bn", tmp_path / "mlp-bn")
    overtaken = processes.run(
        [sys.executable, "-c", OVERTAKEN, f"--checkpoint_dir={tmp_path}"], PROJECT, dict(os.environ)
    )
    assert last_line(overtaken).endswith("at step 41, " + str(tmp_path / "mlp-bn/model.ckpt-41"))
    assert "model.ckpt-40 has been replaced in training; this is step 41" in overtaken.stderr


def test_batches_of_one_image_are_told_to_teach_nothing(tmp_path, data_flags):
    """test_advice.py covers when."""
    flags = ["--model=mlp", "--batch_size=1", "--train_steps=2", *data_flags]
    trained = run_command("train.py", *flags, cwd=tmp_path)
    assert last_line(trained)
    assert "warning: batch norm of a dense layer sees one value" in trained.stderr


def test_a_run_that_was_renamed_goes_by_its_new_name(trained_runs, tmp_path, data_flags):
    folder, lines = trained_runs
    shutil.copytree(folder / "checkpoints/mlp-bn", tmp_path / "checkpoints/renamed")
    shutil.copytree(folder / "summaries/mlp-bn", tmp_path / "summaries/renamed")
    flags = ["--model=mlp", "--train_steps=40", "--eval_every=20", "--run=renamed"]
    again = run_command("train.py", *flags, *data_flags, cwd=tmp_path)
    assert last_line(again) == lines["mlp-bn"].replace("mlp-bn", "renamed")


def test_make_says_which_python_it_needs_and_leaves_nothing(tmp_path):
    old = tmp_path / "python3.9"
    pretend = "import sys; sys.version_info = (3, 9, 0); exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{pretend}" "$1"\n')
    old.chmod(0o755)
    shutil.copy(PROJECT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    made = subprocess.run(
        ["make", "train", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert made.returncode != 0
    assert "expected Python 3.10 to 3.13, found 3.9" in made.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_help_lists_every_target():
    helped = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=PROJECT, capture_output=True, text=True
    )
    listed = re.findall(r"^make (\S+) +\S", helped.stdout, re.MULTILINE)
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert listed == targets.split(), helped.stderr


def test_without_the_libraries_a_command_says_where_they_are(tmp_path):
    bare = subprocess.run(
        # Without the environment's packages.
        [sys.executable, "-S", str(PROJECT / "train.py")],
        cwd=tmp_path,
        env={**os.environ, "COVERAGE_PROCESS_CONFIG": ""},
        capture_output=True,
        text=True,
    )
    assert bare.returncode == 1
    assert "requirements.txt" in bare.stderr and "make train" in bare.stderr
    assert "Traceback" not in bare.stderr


@pytest.mark.parametrize("network", ["--model=cnn", "--model=mlp"])
def test_a_set_of_ones_own_simply_trains(tmp_path, digits, network):
    """Twelve classes of images of 32x24 pixels, in each way of classifying them."""
    write_noise(tmp_path / "letters", size=(32, 24), classes=12)
    flags = [network, "--train_steps=4", "--batch_size=8", "--label_smoothing=0.1"]
    flags += ["--augment=elastic", "--data_dir=letters", "--run=letters"]
    trained = run_command("train.py", *flags, cwd=tmp_path)
    assert last_line(trained).startswith("letters test accuracy")
    shutil.copytree(tmp_path / "checkpoints/letters", tmp_path / "checkpoints/again")
    for extra in (["--run=letters,again", "--vote"], ["--fold_batch_norm"], ["--tta=2"]):
        evaluated = run_command("evaluate.py", *extra, cwd=tmp_path)
        assert last_line(evaluated).startswith("letters test accuracy"), evaluated.stderr
        assert "\n    11 " in evaluated.stdout, "a row of the confusion matrix"
    assert last_line(run_command("evaluate.py", "--projector", cwd=tmp_path))
    refused = run_command("evaluate.py", f"--data_dir={digits}", cwd=tmp_path)
    assert_one_line_error(refused, 2, "12 classes of 32x24 pixels, found 10 classes of 28x28")
    path = tmp_path / "checkpoints/again/run.json"
    record = json.loads(path.read_text())
    record["dataset"]["classes"] = 11
    path.write_text(json.dumps(record))
    refused = run_command("evaluate.py", "--run=letters,again", cwd=tmp_path)
    assert_one_line_error(refused, 2, "--run", "the same classes")


def test_a_run_from_before_classes_were_counted_goes_on(tmp_path):
    """Such a run of a set of five classes has ten outputs."""
    write_noise(tmp_path / "five", classes=5)
    flags = [*FLAGS, "--batch_size=8", "--train_steps=4", "--data_dir=five", "--run=old"]
    trained = run_command("train.py", *flags, cwd=tmp_path)
    path = tmp_path / "checkpoints/old/run.json"
    record = json.loads(path.read_text())
    del record["dataset"]["classes"], record["dataset"]["image_size"]
    path.write_text(json.dumps(record))
    finished = run_command("train.py", *flags, cwd=tmp_path)
    assert last_line(finished) == last_line(trained), finished.stderr
    assert "is finished" in finished.stderr
