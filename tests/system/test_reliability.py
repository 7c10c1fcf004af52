"""What happens to long work: it is killed, its files are damaged, the disk fills up.

docs/reliability.md has a row for each of these.
"""

import dataclasses
import itertools
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from console import processor
from console.errors import InputError
from storage import checkpoints, finding, opening
from storage.checkpoints import Checkpoint
from storage.run import Run, load_run
from tests.helpers import (
    assert_one_line_error,
    assert_same_variables,
    command,
    last_line,
    made_once,
    run_command,
    run_from_nothing,
    said,
    scalars,
    sessions,
    start_command,
    trained_in_one_go,
    variables,
    wait_for,
)

# Saves often enough for a kill to hit a checkpoint while it is being written.
OFTEN = ("--model=small", "--batch_size=10", "--train_steps=40", "--eval_every=20")
OFTEN += ("--save_every=2",)
MLP = ("--model=mlp", "--train_steps=40", "--eval_every=20", "--save_every=10")
MLP += ("--lr_schedule=constant",)


def is_writing(folder):
    """Whether a checkpoint is being written, or was when its process was killed."""
    return any("temp" in name for name in os.listdir(folder))


def kill_in_a_write(process, folder):
    """Kills a process while it writes a checkpoint, unless it ends first."""
    while process.poll() is None:
        if is_writing(folder):
            process.send_signal(signal.SIGSTOP)
            if is_writing(folder):
                break
            process.send_signal(signal.SIGCONT)
        time.sleep(0.0005)
    process.kill()
    process.wait()


def kill_at_a_random_moment(process, folder, generator):
    """Kills a process once it has started, or some checkpoints later, unless it ends first."""
    before, seen = set(os.listdir(folder)), set()
    wanted = generator.randrange(7)
    while len(seen - before) < wanted and process.poll() is None:
        seen |= {name for name in os.listdir(folder) if name.endswith(".index")}
        time.sleep(0.0005)
    time.sleep(generator.uniform(0.0, 1.0 if wanted == 0 else 0.03))
    process.kill()
    process.wait()


def kill_during_the_import(flags, folder, generator):
    """Kills a process that has just been started, from nothing."""
    process = subprocess.Popen(
        command("train.py", *flags),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(generator.uniform(0.0, 2.0))
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory, data_flags):
    return trained_in_one_go(tmp_path_factory, "never-killed", [*OFTEN, *data_flags])


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 5))]
)
def test_killed_at_any_moment_and_resumed_is_never_killed(tmp_path, never_killed, data_flags, seed):
    """Six kills each: the first during the import, two as soon as a checkpoint is being written."""
    flags = [*OFTEN, *data_flags, "--run=killed"]
    whole, line = never_killed
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "checkpoints/killed"
    folder.mkdir()
    generator = random.Random(seed)
    kill_during_the_import(flags, tmp_path, generator)
    kills = writes_hit = 0
    for _ in range(30):
        process = start_command("train.py", *flags, cwd=tmp_path)
        if kills % 2:
            kill_in_a_write(process, folder)
        else:
            kill_at_a_random_moment(process, folder, generator)
        kills += process.returncode == -signal.SIGKILL
        writes_hit += is_writing(folder)
        if kills == 5:
            break
        record = folder / "run.json"
        if record.exists() and json.loads(record.read_text())["result"]:
            # The run was finished: the next rounds kill another one.
            assert_same_runs(tmp_path, "killed", "whole", step=40)
            shutil.rmtree(folder)
            shutil.rmtree(tmp_path / "summaries/killed")
            folder.mkdir()
    print(f"{writes_hit} of {kills} kills inside a checkpoint write")
    assert kills == 5 and writes_hit >= 2

    resumed = run_command("train.py", *flags, cwd=tmp_path)
    assert last_line(resumed) == line.replace("whole", "killed")
    assert_same_runs(tmp_path, "killed", "whole", step=40)
    assert not [name for name in os.listdir(folder) if "temp" in name or "part" in name]


def assert_same_runs(folder, one, other, step):
    """Weights, optimizer, statistics, and every curve, with no gaps or duplicates."""
    for kind in (f"model.ckpt-{step}",):
        assert_same_variables(
            folder / "checkpoints" / one / kind, folder / "checkpoints" / other / kind
        )
    for split in ("train", "validation", "test"):
        curves = [scalars(folder / "summaries" / run / split) for run in (one, other)]
        for each in curves:
            each.pop("training/images_per_second", None)
        assert curves[0] == curves[1]
    records = [
        json.loads((folder / "checkpoints" / run / "run.json").read_text()) for run in (one, other)
    ]
    for record in records:
        record["result"].pop("checkpoint")
    assert records[0]["result"] == records[1]["result"] and records[0]["best"] == records[1]["best"]


@pytest.mark.parametrize(
    "kind",
    # Few images per step in bfloat16, since most processors emulate it.
    [("--model=cnn",), ("--model=small", "--batch_size=32", "--precision=bfloat16")],
    ids=" ".join,
)
def test_the_same_flags_give_the_same_bits(tmp_path, data_flags, kind):
    flags = ["--train_steps=10", *kind, *data_flags]
    lines = [
        last_line(run_command("train.py", *flags, f"--run={run}", cwd=tmp_path))
        for run in ("one", "two")
    ]
    assert lines[0] == lines[1].replace("two", "one")
    assert_same_runs(tmp_path, "one", "two", step=10)
    made_with = json.loads((tmp_path / "checkpoints/one/run.json").read_text())["made_with"]
    assert {"tensorflow", "processor", "cores"} <= made_with.keys()


@pytest.fixture(scope="module")
def run_of_40_steps(tmp_path_factory, data_flags):
    """A folder with a finished run and its first 30 steps, and the last line that it printed."""

    def train(folder):
        whole = run_command("train.py", *MLP, "--run=whole", *data_flags, cwd=folder)
        (folder / "line").write_text(last_line(whole))
        begun = [*MLP, "--train_steps=30", "--run=stopped"]
        assert run_command("train.py", *begun, *data_flags, cwd=folder).returncode == 0

    folder = made_once(tmp_path_factory, "whole", train)
    return folder, (folder / "line").read_text()


@pytest.fixture
def run_with_two_checkpoints(tmp_path, run_of_40_steps):
    """A finished run of 40 steps, and one that was stopped after 30 with checkpoints 20 and 30."""
    whole, line = run_of_40_steps
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkpoints/stopped/run.json"
    record = json.loads(path.read_text())
    # Under a constant learning rate, the first steps do not depend on how many there will be.
    record["flags"]["train_steps"] = 40
    record |= {"result": None, "evaluated_step": 20, "best": None}
    path.write_text(json.dumps(record))
    return tmp_path, line


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off(path):
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


def put_another_in_its_place(path):
    other = path.with_name(path.name.replace("-30", "-20"))
    shutil.copy(other, path)


def test_a_damaged_checkpoint_is_named_and_never_used(run_with_two_checkpoints, data_flags):
    folder, whole = run_with_two_checkpoints
    flip_a_bit(folder / "checkpoints/stopped/model.ckpt-30.data-00000-of-00001")

    refused = run_command("evaluate.py", "--run=stopped", cwd=folder)
    assert_one_line_error(refused, 2, "checkpoints/stopped/model.ckpt-30", "data-00000-of-00001")
    earlier = run_command(
        "evaluate.py", "--checkpoint=checkpoints/stopped/model.ckpt-20", cwd=folder
    )
    assert "at step 20" in last_line(earlier)

    resumed = run_command("train.py", *MLP, "--run=stopped", *data_flags, cwd=folder)
    assert "warning: checkpoints/stopped/model.ckpt-30 is passed over" in resumed.stderr
    assert "resuming checkpoints/stopped at step 20" in resumed.stderr
    assert last_line(resumed) == whole.replace("whole", "stopped")


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize(
    "damage", [flip_a_bit, cut_off, pathlib.Path.unlink, put_another_in_its_place]
)
def test_every_damage_is_noticed(run_with_two_checkpoints, capsys, damage, part):
    folder, _ = run_with_two_checkpoints
    damaged = folder / "checkpoints/stopped/model.ckpt-30"
    damage(folder / f"checkpoints/stopped/model.ckpt-30.{part}")

    with pytest.raises(
        InputError, match=re.escape(f"{damaged}: can't be trusted: {damaged.name}.{part}")
    ):
        finding.find_checkpoint(str(folder / "checkpoints"), "stopped", None)
    earlier = str(folder / "checkpoints/stopped/model.ckpt-20")
    assert str(finding.find_checkpoint("", None, earlier)[1]) == earlier
    assert str(load_run(folder / "checkpoints/stopped").newest_sound()) == earlier
    assert f"warning: {damaged} is passed over: {damaged.name}.{part}" in capsys.readouterr().err


def test_where_no_checkpoint_is_sound_nothing_is_trained_over_it(
    run_with_two_checkpoints, data_flags
):
    folder, _ = run_with_two_checkpoints
    for path in (folder / "checkpoints/stopped").glob("model.ckpt-*.data*"):
        flip_a_bit(path)
    refused = run_command("train.py", *MLP, "--run=stopped", *data_flags, cwd=folder)
    assert refused.returncode == 2 and refused.stdout == ""
    assert "expected a sound checkpoint, found none" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr


def test_a_checkpoint_that_the_record_does_not_know_is_refused(run_with_two_checkpoints):
    folder, _ = run_with_two_checkpoints
    for path in (folder / "checkpoints/stopped").glob("model.ckpt-30.*"):
        path.rename(path.with_name(path.name.replace("-30", "-31")))
    refused = run_command(
        "evaluate.py", "--checkpoint=checkpoints/stopped/model.ckpt-31", cwd=folder
    )
    assert_one_line_error(refused, 2, "model.ckpt-31", "run.json")


def test_a_run_of_an_earlier_version_is_evaluated_and_taken_up(
    run_with_two_checkpoints, data_flags
):
    """Format 1 had no checksums, no rollbacks, and fewer flags; it saved at another interval."""
    folder, whole = run_with_two_checkpoints
    path = folder / "checkpoints/stopped/run.json"
    record = json.loads(path.read_text())
    for name in ("checkpoints", "rollbacks", "made_with"):
        del record[name]
    for flag in ("population", "on_nan"):
        del record["flags"][flag]
    record["flags"]["save_every"] = 100
    record |= {"format": 1, "versions": {"tensorflow": "2.21.0"}}
    path.write_text(json.dumps(record))

    assert "at step 30" in last_line(run_command("evaluate.py", "--run=stopped", cwd=folder))
    resumed = run_command("train.py", *MLP, "--run=stopped", *data_flags, cwd=folder)
    assert "resuming checkpoints/stopped at step 30" in resumed.stderr
    assert last_line(resumed) == whole.replace("whole", "stopped")


def test_a_full_disk_ends_the_run_with_one_line_and_loses_nothing(
    tmp_path, small_disk, never_killed, data_flags
):
    flags = [*OFTEN, f"--checkpoint_dir={small_disk}/checkpoints", *data_flags]
    stopped = run_command("train.py", *flags, "--run=full", cwd=tmp_path)
    assert stopped.returncode == 1 and stopped.stdout == ""
    (line,) = [line for line in stopped.stderr.splitlines() if "can't be written" in line]
    assert f"{small_disk}/checkpoints/full" in line and "No space left" in line
    assert "Traceback" not in stopped.stderr

    folder = small_disk / "checkpoints/full"
    record = json.loads((folder / "run.json").read_text())
    assert record["checkpoints"]
    for name in record["checkpoints"]:
        variables(folder / name)  # raises where TensorFlow's own checksums are wrong

    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
    resumed = run_command("train.py", *flags, "--run=full", cwd=tmp_path)
    assert "resuming" in resumed.stderr
    whole, line = never_killed
    assert last_line(resumed).split(",")[0] == line.split(",")[0]
    assert_same_variables(folder / "model.ckpt-40", whole / "checkpoints/whole/model.ckpt-40")


CURVES = ("--model=mlp", "--train_steps=40", "--eval_every=20")


@pytest.mark.parametrize("kilobytes", [20, 400])
def test_a_full_disk_for_the_curves_ends_the_run_in_the_same_way(
    tmp_path, small_disk, trained_runs, data_flags, kilobytes
):
    """Before the first point, or between two."""
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", small_disk], check=True)
    full = [*CURVES, *data_flags, "--run=full", f"--summary_dir={small_disk}/summaries"]
    stopped = run_command("train.py", *full, cwd=tmp_path)
    assert stopped.returncode == 1 and stopped.stdout == ""
    line = stopped.stderr.splitlines()[-1]
    assert f"{small_disk}/summaries/full" in line and "No space left" in line
    for line in said(stopped.stderr):
        assert line.startswith(("full: ", "hint: ", "train.py: ")), line

    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    resumed = run_command("train.py", *full, cwd=tmp_path)
    folder, lines = trained_runs
    assert last_line(resumed) == lines["mlp-bn"].replace("mlp-bn", "full")
    assert scalars(small_disk / "summaries/full/validation") == scalars(
        folder / "summaries/mlp-bn/validation"
    )


def test_the_second_of_two_on_one_run_stops_at_once_and_says_who_has_it(tmp_path, data_flags):
    flags = ["--model=mlp", "--train_steps=3000", "--save_every=10", "--run=shared", *data_flags]
    first = start_command("train.py", *flags, cwd=tmp_path)
    wait_for(tmp_path / "checkpoints/shared/run.json", first)
    try:
        for flag in ("--resume", "--overwrite"):
            second = run_command("train.py", *flags, flag, cwd=tmp_path)
            who = f"process {first.pid} "
            assert_one_line_error(second, 2, "checkpoints/shared", who, "--run=NAME")
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    # The lock of a killed process stops no one.
    afresh = run_command("train.py", *flags, "--train_steps=10", "--overwrite", cwd=tmp_path)
    assert "at step 10" in last_line(afresh)


def test_two_runs_side_by_side_do_not_mind_each_other(tmp_path, data_flags):
    processes = [
        start_command("train.py", *MLP, f"--run={run}", *data_flags, cwd=tmp_path)
        for run in ("one", "two")
    ]
    lines = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        lines.append(stdout.splitlines()[-1])
    assert lines[0] == lines[1].replace("two", "one")
    assert_same_runs(tmp_path, "one", "two", step=40)


# The first step makes the weights so large that in the second the loss is not finite.
DIVERGING = ("--model=small", "--nobatch_norm", "--optimizer=sgd", "--learning_rate=1e30")
DIVERGING += ("--lr_schedule=constant", "--train_steps=30")


@pytest.mark.parametrize("often", ["--save_every=1", "--eval_every=1"])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, data_flags, often):
    stopped = run_command("train.py", *DIVERGING, often, *data_flags, cwd=tmp_path)
    assert stopped.returncode == 1 and stopped.stdout == ""
    line = stopped.stderr.splitlines()[-1]
    for fragment in (
        "step ",
        "learning rate of 1e+30",
        "last good checkpoint",
        "--on_nan=rollback",
    ):
        assert fragment in line
    record = json.loads((tmp_path / "checkpoints/small-nobn/run.json").read_text())
    for name in record["checkpoints"]:
        for value in variables(tmp_path / "checkpoints/small-nobn" / name).values():
            assert np.all(np.isfinite(value)), name
    assert sessions(tmp_path / "summaries/small-nobn")[1] == ["STATUS_FAILURE"]


def run_poisoned(*flags, cwd):
    return run_command("tests/system/poisoned_train.py", *flags, cwd=cwd)


def test_rollback_goes_on_from_the_last_checkpoint_with_half_the_rate(tmp_path, data_flags):
    """The weights turn NaN in step 12, until the rate is down to a quarter."""
    flags = ["--model=mlp", "--lr_schedule=constant", "--learning_rate=0.01", "--train_steps=30"]
    flags += ["--save_every=5", "--on_nan=rollback", *data_flags]
    trained = run_poisoned(*flags, "--run=one", cwd=tmp_path)
    assert "at step 30" in last_line(trained)
    for factor in ("0.5", "0.25"):
        assert f"back to step 10 with {factor} of the learning rate" in trained.stderr
    record = json.loads((tmp_path / "checkpoints/one/run.json").read_text())
    assert record["rollbacks"] == [12, 12]
    rates = dict(scalars(tmp_path / "summaries/one/train")["training/learning_rate"])
    assert rates == pytest.approx({10: 0.01, 20: 0.0025, 30: 0.0025})
    again = run_poisoned(*flags, "--run=two", cwd=tmp_path)
    assert last_line(again) == last_line(trained).replace("one", "two")
    assert_same_variables(
        tmp_path / "checkpoints/one/model.ckpt-30", tmp_path / "checkpoints/two/model.ckpt-30"
    )
    # Stopping first and asking for the rollback later gets there as well.
    stopped = run_poisoned(*flags, "--on_nan=stop", "--run=three", cwd=tmp_path)
    assert stopped.returncode == 1
    taken_up = run_poisoned(*flags, "--run=three", cwd=tmp_path)
    assert last_line(taken_up) == last_line(trained).replace("one", "three")


def test_rollbacks_come_to_an_end(tmp_path, data_flags):
    flags = [*DIVERGING, "--on_nan=rollback", *data_flags]
    stopped = run_command("train.py", *flags, cwd=tmp_path)
    assert stopped.returncode == 1
    assert "after going back 5 times" in stopped.stderr.splitlines()[-1]


@pytest.fixture
def run_with_record(tmp_path, trained_runs):
    """A function that changes fields of a run's record and returns the run's folder."""
    folder, _ = trained_runs
    shutil.copytree(folder / "checkpoints/mlp-bn", tmp_path / "checkpoints/mlp-bn")
    path = tmp_path / "checkpoints/mlp-bn/run.json"
    record = json.loads(path.read_text())

    def change(**fields):
        path.write_text(json.dumps({**record, **fields}))
        return path.parent

    return change


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("checkpoints", {"../outside/model.ckpt-1": None}),
        ("checkpoints", {"model.ckpt-40": {"../../secret": "0"}}),
        ("checkpoints", {"model.ckpt-40": ["not", "a", "dict"]}),
        ("checkpoints", {"model.ckpt-40": {"model.ckpt-40.\0": "0"}}),
        ("checkpoints", ["model.ckpt-40"]),
        ("flags", "--model=mlp"),
        ("evaluated_step", "forty"),
        ("evaluated_step", True),
        ("format", 3),
        ("best", 7),
        ("best", {}),
        ("rollbacks", ["twelve"]),
        ("data_dir", "\ud800"),
        ("result", {"accuracy": "high"}),
        ("dataset", {"name": "mnist"}),
        ("dataset", {"name": "a", "train": 1, "fingerprint": "", "classes": "ten"}),
        ("flags", {"model": "mlp"}),
    ],
)
def test_a_record_that_is_not_sound_is_refused(run_with_record, field, value):
    folder = run_with_record(**{field: value})
    before = sorted(os.listdir(folder))
    with pytest.raises(InputError, match="run.json") as found:
        finding.find_checkpoint(str(folder.parent), None, None)
    assert "\n" not in str(found.value)
    wanted = Run(folder=folder, flags={}, dataset={}, data_dir="", checkpoints={})
    for overwrite in (False, True):
        with pytest.raises(InputError, match="run.json") as opened:
            nothing = folder.parent / "nothing"
            opening.open_run(wanted, {}, nothing, resume=True, overwrite=overwrite)
        assert str(opened.value) == str(found.value)
    assert sorted(os.listdir(folder)) == before


def test_the_commands_refuse_a_record_that_is_not_sound(tmp_path, run_with_record, data_flags):
    folder = run_with_record(checkpoints={"../outside/model.ckpt-1": None})
    before = sorted(os.listdir(folder))
    assert_one_line_error(run_command("evaluate.py", cwd=tmp_path), 2, "run.json")
    refused = run_command("train.py", "--model=mlp", *data_flags, cwd=tmp_path)
    assert_one_line_error(refused, 2, "run.json")
    assert sorted(os.listdir(folder)) == before


def newest_step(record):
    """The step of the newest checkpoint to resume from that a record names; 0 without one."""
    names = json.loads(record.read_text())["checkpoints"] if record.exists() else []
    steps = [Checkpoint.at(name).step for name in names if name.startswith(checkpoints.MODEL)]
    return max(steps, default=0)


def parent(path):
    return os.path.dirname(path) or "."


def disks_after_a_power_failure(trace, run):
    """What a power failure may leave on the disk, at each moment that `traced_train.py` wrote.

    Of a file there is what was flushed, or nothing. A folder has the names from its last flush, and
    each change of a name since then may or may not have reached the disk.

    Yields:
        the inode of each file, -1 if nothing of it was flushed, 0 for a folder; and the step that
        the run in the folder `run` must not fall behind.
    """
    on_disk, with_content, seen, promised = {}, {0}, set(), 0
    for moment in map(json.loads, (trace / "moments").read_text().splitlines()):
        names, flushed = moment["names"], moment["flushed"]
        with_content.update(what for what in flushed if isinstance(what, int))
        on_disk |= {path: names.get(path) for path in on_disk | names if parent(path) in flushed}
        step = newest_step(trace / str(names.get(f"{run}/run.json")))
        promised = step if run in flushed else min(promised, step)
        for reached in choices(changes(on_disk, names, run)):
            found = on_disk | {path: names.get(path) for path in itertools.chain(*reached)}
            disk = {
                path: inode if inode in with_content else -1
                for path, inode in found.items()
                if inode is not None
                and all(found.get(str(up)) == 0 for up in pathlib.PurePath(path).parents[:-1])
            }
            state = (promised, *sorted(disk.items()))
            if state not in seen:
                seen.add(state)
                yield disk, promised


def changes(on_disk, names, run):
    """Sets of names that differ from those on the disk. Each set reaches it together."""
    changed = {path for path in on_disk | names if on_disk.get(path) != names.get(path)}
    of_run = {path for path in changed if run in (path, parent(path)) or path == parent(run)}
    # The curves and the lock are never flushed, and too many to try all of their subsets.
    return [{path} for path in sorted(of_run)] + [changed - of_run]


def choices(all_changes):
    """Every subset of the changes; of many changes, only none, one, all but one, and all."""
    count = len(all_changes)
    sizes = range(count + 1) if count <= 6 else (0, 1, count - 1, count)
    for size in sizes:
        yield from itertools.combinations(all_changes, size)


def lay_out(disk, trace, folder):
    """Makes a folder look like a disk after a power failure."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_dir():
            path.unlink()
        elif str(path.relative_to(folder)) not in disk:
            path.rmdir()
    for name, inode in sorted(disk.items()):
        path = folder / name
        if inode == 0:
            path.mkdir(exist_ok=True)
        elif inode == -1:
            path.touch()
        else:
            path.hardlink_to(trace / str(inode))


def test_after_a_power_failure_a_record_names_only_what_is_on_the_disk(tmp_path, data_flags):
    """A new run, and one that overwrites it, go on from every disk that a failure may leave."""
    flags, name = [*MLP, *data_flags], "checkpoints/mlp-bn"
    whole, left = tmp_path / "whole", tmp_path / "left"
    whole.mkdir()
    left.mkdir()
    unfinished = []
    for flag in ("--nooverwrite", "--overwrite"):
        trace = tmp_path / f"trace{flag}"
        trace.mkdir()
        traced = run_command("tests/system/traced_train.py", trace, *flags, flag, cwd=whole)
        line, record = last_line(traced), load_run(whole / name)
        for disk, promised in disks_after_a_power_failure(trace, name):
            lay_out(disk, trace, left)
            wanted = dataclasses.replace(record, folder=left / name, checkpoints={})
            curves = left / "summaries/mlp-bn"
            run = opening.open_run(wanted, {}, curves, resume=True, overwrite=False)
            checkpoint = run.newest_sound()
            assert (checkpoint.step if checkpoint else 0) >= promised, disk
            # Nor does anything stop an evaluation.
            for kind in checkpoints.KINDS:
                assert not any(map(run.problem, run.newest(kind)[:1])), disk
            if f"{name}/run.json" in disk and promised < 40:
                unfinished.append((disk, trace))
    assert len(unfinished) > 100

    # The command itself takes seconds for each.
    for disk, trace in (unfinished[0], unfinished[len(unfinished) // 2], unfinished[-1]):
        lay_out(disk, trace, left)
        assert last_line(run_command("train.py", *flags, cwd=left)) == line
        assert_same_variables(left / name / "model.ckpt-40", whole / name / "model.ckpt-40")


def test_what_a_kill_left_half_written_is_cleared_away(run_with_two_checkpoints):
    folder = run_with_two_checkpoints[0] / "checkpoints/stopped"
    before = sorted(os.listdir(folder))
    for name in (".run.json.abc123.part", "model.ckpt-31.data-00000-of-00001.tempstate123"):
        (folder / name).write_text("half")
    load_run(folder).remove_strays()
    assert sorted(os.listdir(folder)) == before


def test_a_run_that_was_killed_in_its_first_write_begins_again(tmp_path, data_flags):
    folder = tmp_path / "checkpoints/mlp-bn"
    folder.mkdir(parents=True)
    (folder / ".run.json.abc123.part").write_text('{"format": 2, "run": "ml')
    trained = run_command("train.py", *MLP, *data_flags, cwd=tmp_path)
    assert "at step 40" in last_line(trained)


@pytest.mark.parametrize(
    ("flag", "value"), [("model", "__import__('os')"), ("bn_decay", "high"), ("precision", 16)]
)
def test_flags_in_a_record_are_checked_like_those_of_the_command_line(
    tmp_path, run_with_record, trained_runs, flag, value
):
    flags = load_run(trained_runs[0] / "checkpoints/mlp-bn").flags
    run_with_record(flags={**flags, flag: value})
    assert_one_line_error(run_command("evaluate.py", cwd=tmp_path), 2, "run.json", flag)


def test_a_state_file_that_points_outside_is_not_followed(tmp_path, trained_runs, data_flags):
    """The Saver's `checkpoint` is a text file that anyone can write."""
    folder, lines = trained_runs
    precious = tmp_path / "precious"
    shutil.copytree(folder / "checkpoints/mlp-nobn", precious)
    shutil.copytree(folder / "checkpoints/mlp-bn", tmp_path / "checkpoints/mlp-bn")
    (tmp_path / "checkpoints/mlp-bn/checkpoint").write_text(
        f'model_checkpoint_path: "{precious}/model.ckpt-40"\n'
        f'all_model_checkpoint_paths: "{precious}/model.ckpt-40"\n'
    )
    before = sorted(os.listdir(precious))
    assert last_line(run_command("evaluate.py", cwd=tmp_path)) == lines["mlp-bn"]
    flags = ["--model=mlp", "--eval_every=20", "--train_steps=40", *data_flags]
    run_command("train.py", *flags, "--overwrite", "--save_every=1", cwd=tmp_path)
    assert sorted(os.listdir(precious)) == before


@pytest.mark.parametrize("flag", ["--run=a*", "--checkpoint_dir=what?", "--checkpoint_dir=[1]"])
def test_a_path_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path, data_flags, flag):
    refused = run_command("train.py", *MLP, flag, *data_flags, cwd=tmp_path)
    assert_one_line_error(refused, 2, flag.partition("=")[2], "pattern")
    assert not list(tmp_path.glob("**/*ckpt*"))


def test_odd_paths_are_paths(tmp_path, data_flags):
    elsewhere = tmp_path / "where there is room"
    elsewhere.mkdir()
    (tmp_path / "Gewichte für später").mkdir()
    (tmp_path / "Gewichte für später" / "läufe").symlink_to(elsewhere)
    flags = [
        "--checkpoint_dir=Gewichte für später/läufe",
        "--summary_dir=曲線 und mehr",
        "--run=é 1 ~$HOME;'&",
    ]
    for extra in ([], ["--overwrite"]):
        trained = run_command("train.py", *MLP, *flags, *extra, *data_flags, cwd=tmp_path)
        assert last_line(trained).endswith(
            "at step 40, Gewichte für später/läufe/é 1 ~$HOME;'&/model.ckpt-40"
        )
    evaluated = run_command("evaluate.py", flags[0], cwd=tmp_path)
    assert last_line(evaluated) == last_line(trained)
    assert (elsewhere / "é 1 ~$HOME;'&/run.json").exists()
    assert scalars(tmp_path / "曲線 und mehr/é 1 ~$HOME;'&/validation")
    hint = next(line for line in trained.stderr.splitlines() if line.startswith("to evaluate"))
    again = shlex.split(hint.partition(": ")[2])
    assert last_line(run_command(*again[1:], cwd=tmp_path)) == last_line(trained)


@pytest.mark.parametrize("flag", ["--checkpoint_dir", "--summary_dir"])
def test_a_folder_that_cannot_be_written_is_told_before_any_work(tmp_path, data_flags, flag):
    refused = run_command("train.py", *MLP, f"{flag}=/proc/runs", *data_flags, cwd=tmp_path)
    assert_one_line_error(refused, 2, "/proc/runs")


def test_a_read_only_folder_is_told_before_any_work(tmp_path, small_disk, data_flags):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for flag in ("--checkpoint_dir", "--summary_dir"):
        refused = run_command("train.py", *MLP, f"{flag}={small_disk}", *data_flags, cwd=tmp_path)
        assert_one_line_error(refused, 2, str(small_disk), "Read-only")


def test_what_tensorflow_has_to_say_is_kept_back_unless_asked_for(
    tmp_path, data_flags, monkeypatch
):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)  # as conftest.py sets it
    flags = ["--model=mlp", "--train_steps=2", *data_flags]
    quiet = run_from_nothing("train.py", *flags, "--run=quiet", cwd=tmp_path)
    for line in said(quiet.stderr):
        assert line.startswith(("quiet: ", "hint: ", "to see ", "to evaluate ")), line
    flags += ["--run=loud", "--verbosity=1"]
    loud = run_from_nothing("train.py", *flags, cwd=tmp_path, TF_CPP_MIN_LOG_LEVEL="0")
    assert "oneDNN" in loud.stderr or "cpu_feature_guard" in loud.stderr
    # On such a processor only because the commands ask for it; test_processor.py has it turned off.
    if "avx2" in (processor.features() or ()):
        assert "oneDNN custom operations are on" in loud.stderr


def test_one_image_a_batch_trains(tmp_path, data_flags):
    """Dense layers then have one value per channel: variance 0, and no gradient through it."""
    flags = ["--batch_size=1", "--train_steps=20", "--save_every=20", *data_flags]
    for network in ("small", "mlp"):
        trained = run_command("train.py", *flags, f"--model={network}", cwd=tmp_path)
        assert "at step 20" in last_line(trained)
        for name, value in variables(tmp_path / f"checkpoints/{network}-bn/model.ckpt-20").items():
            assert np.all(np.isfinite(value)), name


def test_nothing_is_downloaded_to_a_path_from_a_record(tmp_path, trained_runs):
    folder, _ = trained_runs
    shutil.copytree(folder / "checkpoints/mlp-bn", tmp_path / "checkpoints/mlp-bn")
    path = tmp_path / "checkpoints/mlp-bn/run.json"
    elsewhere = tmp_path / "elsewhere"
    record = json.loads(path.read_text()) | {"data_dir": str(elsewhere)}
    record["dataset"]["name"] = "mnist"
    path.write_text(json.dumps(record))
    refused = run_command("evaluate.py", cwd=tmp_path, MNIST_MIRROR="http://127.0.0.1:9/")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert not elsewhere.exists()
