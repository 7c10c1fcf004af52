"""Several workers: the same run whatever their number, and no hang whatever happens to one."""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from cluster import local
from console import processor
from tests.helpers import (
    PROJECT,
    assert_same_variables,
    command,
    last_line,
    made_once,
    run_command,
    scalars,
    start_command,
)

MLP = ["--model=mlp", "--train_steps=100", "--batch_size=32", "--eval_every=50", "--save_every=10"]
CHECKPOINTS = "checkpoints/mlp-bn"


def hasty(**options):
    """`train.py` with other seconds than a user's workers wait; see hasty_train.py."""
    return "tests/system/hasty_train.py", json.dumps(options)


# Half of the seconds that users' workers wait for each other.
SECONDS = {"STEP_SECONDS": 6.0, "ANSWER_SECONDS": 2.0, "SECONDS_UNTIL_KNOWN": 6.0}
HASTY = hasty(**SECONDS)


def addresses(count):
    """Free addresses, each on another of the loopback's."""
    sockets = [socket.create_server((f"127.0.0.{i + 1}", 0)) for i in range(count)]
    found = ["{}:{}".format(*each.getsockname()) for each in sockets]
    for each in sockets:
        each.close()
    return found


def environment(workers, rank):
    task = {"type": "worker", "index": rank}
    config = json.dumps({"cluster": {"worker": workers}, "task": task})
    # As many as `--workers` gives: the bits depend on them.
    threads = max(1, processor.cores() // len(workers))
    return {"TF_CONFIG": config, "TF_NUM_INTRAOP_THREADS": str(threads)}


class Cluster:
    """Workers of a run in `folder`, as processes that can be hurt."""

    def __init__(self, folder, flags, count=2, program=("train.py",)):
        self.folder = folder
        self.flags = flags
        self.addresses = addresses(count)
        self.program = program
        self.processes = {}

    def start(self, *ranks, flags=()):
        for rank in ranks:
            self.processes[rank] = start_command(
                *self.program,
                *self.flags,
                *flags,
                cwd=self.folder,
                **environment(self.addresses, rank),
            )

    def end(self, rank, seconds=240):
        """Waits for a worker; returns its exit code, its standard output and standard error."""
        process = self.processes[rank]
        stdout, stderr = process.communicate(timeout=seconds)
        return process.returncode, stdout, stderr

    def wait_for_step(self, step):
        deadline = time.monotonic() + 240
        while self.last_step() < step:
            assert time.monotonic() < deadline and self.processes[0].poll() is None
            time.sleep(0.02)

    def last_step(self):
        """The step of the newest checkpoint."""
        paths = (self.folder / CHECKPOINTS).glob("model.ckpt-*.index")
        return max((int(path.stem.rpartition("-")[2]) for path in paths), default=0)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, digits):
    """The folder of a run that two workers trained without trouble."""

    def train(folder):
        with Cluster(folder, [*MLP, f"--data_dir={digits}"]) as cluster:
            cluster.start(0, 1)
            code, stdout, stderr = cluster.end(0)
            assert code == 0 and "at step 100" in stdout, stderr
            assert cluster.end(1)[0] == 0

    return made_once(tmp_path_factory, "uninterrupted", train)


@pytest.fixture(scope="session")
def own_network():
    """Skips a test where the system allows no namespaces, as in many containers."""
    program = "from cluster import local; local._in_own_network()"
    entered = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True
    )
    if entered.returncode:
        pytest.skip(entered.stderr.splitlines()[-1])


def test_the_others_stop_where_one_is_lost_and_go_on_with_it_later(
    tmp_path, data_flags, uninterrupted
):
    with Cluster(tmp_path, [*MLP, *data_flags], program=HASTY) as cluster:
        for victim, number in ((1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)):
            before, survivor = cluster.last_step(), 1 - victim
            cluster.start(0, 1)
            cluster.wait_for_step(before + 10)
            cluster.processes[victim].send_signal(number)
            began = time.monotonic()
            code, _, stderr = cluster.end(survivor)
            assert time.monotonic() - began < 30
            assert code == 1
            assert f"worker {victim} at {cluster.addresses[victim]}" in stderr.splitlines()[-1]
            assert "all workers resume from" in stderr.splitlines()[-1]
            if survivor == 0:
                (step,) = re.findall(r"saved \S+model\.ckpt-(\d+)", stderr.splitlines()[-1])
                assert before + 10 <= int(step) < 100
            cluster.processes[victim].kill()
            cluster.processes[victim].wait()
        cluster.start(0, 1)
        assert cluster.end(0)[0] == cluster.end(1)[0] == 0
    last = f"{CHECKPOINTS}/model.ckpt-100"
    assert_same_variables(tmp_path / last, uninterrupted / last)


@pytest.mark.parametrize(
    ("moment", "victim", "number"),
    [
        ("check_agreement", 1, signal.SIGKILL),  # while flags are compared
        pytest.param("session", 1, signal.SIGSTOP, marks=pytest.mark.long),  # with the graph built
        pytest.param("share_weights", 1, signal.SIGKILL, marks=pytest.mark.long),
        ("meet", 0, signal.SIGKILL),  # while the others wait for it to save
        pytest.param("share_verdict", 0, signal.SIGSTOP, marks=pytest.mark.long),
    ],
)
def test_one_lost_between_steps_is_named(tmp_path, data_flags, moment, victim, number):
    halting = hasty(**SECONDS, halt=(moment, victim))
    with Cluster(tmp_path, [*MLP, *data_flags], program=halting) as cluster:
        cluster.start(0, 1)
        cluster.processes[victim].wait_for_message("halted")
        cluster.processes[victim].send_signal(number)
        began = time.monotonic()
        code, _, stderr = cluster.end(1 - victim)
        assert time.monotonic() - began < 30
        assert code == 1 and "Traceback" not in stderr
        gone = f"worker {victim} at {cluster.addresses[victim]} does not answer any more"
        assert gone in stderr.splitlines()[-1]


def test_a_chief_that_is_lost_while_it_waits_for_the_last_is_named(tmp_path, data_flags):
    with Cluster(tmp_path, [*MLP, *data_flags], count=3, program=HASTY) as cluster:
        cluster.start(0, 1)
        for rank in (0, 1):
            cluster.processes[rank].wait_for_message("waiting for worker 2 at")
        cluster.processes[0].kill()
        began = time.monotonic()
        code, _, stderr = cluster.end(1)
        assert time.monotonic() - began < 30
        assert code == 1
        assert f"{cluster.addresses[0]} does not answer any more" in stderr.splitlines()[-1]


def test_a_chief_that_stood_still_saves_and_says_so(tmp_path, data_flags):
    with Cluster(tmp_path, [*MLP, *data_flags, "--train_steps=5000"], program=HASTY) as cluster:
        cluster.start(0, 1)
        cluster.wait_for_step(20)
        cluster.processes[0].send_signal(signal.SIGSTOP)
        assert f"worker 0 at {cluster.addresses[0]}" in cluster.end(1)[2].splitlines()[-1]
        cluster.processes[0].send_signal(signal.SIGCONT)
        code, _, stderr = cluster.end(0)
        assert code == 1
        assert re.search(r"itself stood still for \d+ s\); saved ", stderr.splitlines()[-1])


def trained_in_float64(folder, count, steps, statistics_of):
    """The variables after some steps of several workers."""
    together, written = addresses(count), folder / f"{count}.npz"
    script = ["tests/system/train_in_float64.py", written, steps, statistics_of]
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        trained = pool.map(
            lambda rank: run_command(*script, cwd=PROJECT, **environment(together, rank)),
            range(count),
        )
    for completed in trained:
        assert completed.returncode == 0, completed.stderr
    return np.load(written)


def test_any_number_of_workers_takes_the_same_steps(tmp_path):
    alone, *others = (trained_in_float64(tmp_path, count, 50, "all") for count in (1, 2, 4))
    for other in others:
        assert set(other) == set(alone)
        for name, value in alone.items():
            np.testing.assert_allclose(other[name], value, rtol=0, atol=1e-10, err_msg=name)


def test_without_synchronization_every_image_counts_the_same(tmp_path):
    """Three workers take 3, 3 and 4 images: the mean of their means is not that of the images."""
    alone, apart = (trained_in_float64(tmp_path, count, 1, "own") for count in (1, 3))
    means = [name for name in alone if name.endswith("pop_mean")]
    np.testing.assert_allclose(apart[means[0]], alone[means[0]], rtol=0, atol=1e-10)
    # What is above has been normalized otherwise.
    assert not np.allclose(apart[means[-1]], alone[means[-1]], rtol=0, atol=1e-3)


@pytest.mark.long
def test_without_batch_norm_too(tmp_path):
    alone, other = (trained_in_float64(tmp_path, count, 3, "nobody") for count in (1, 3))
    for name, value in alone.items():
        np.testing.assert_allclose(other[name], value, rtol=0, atol=1e-10, err_msg=name)


def test_after_going_back_all_workers_go_on_with_the_lower_rate(tmp_path, data_flags):
    """Else their weights would drift apart, also if they are started again afterwards."""
    flags = [*MLP, *data_flags, "--lr_schedule=constant", "--learning_rate=0.01"]
    flags += ["--save_every=5", "--on_nan=rollback"]
    for steps in (20, 30):
        program = ["tests/system/poisoned_train.py"]
        with Cluster(tmp_path, [*flags, f"--train_steps={steps}"], program=program) as cluster:
            cluster.start(0, 1)
            code, _, stderr = cluster.end(0)
            assert code == 0, stderr
            assert cluster.end(1)[0] == 0
        chief, follower = (np.load(tmp_path / f"worker{rank}.npz") for rank in (0, 1))
        assert set(chief) == set(follower)
        for name, value in chief.items():
            np.testing.assert_array_equal(follower[name], value, err_msg=name)
    record = json.loads((tmp_path / CHECKPOINTS / "run.json").read_text())
    assert record["rollbacks"] == [12, 12]
    rates = dict(scalars(tmp_path / "summaries/mlp-bn/train")["training/learning_rate"])
    assert rates == pytest.approx({10: 0.01, 20: 0.0025, 30: 0.0025})


@pytest.mark.usefixtures("own_network")
def test_the_same_workers_give_the_same_bits(tmp_path, data_flags, uninterrupted):
    assert last_line(run_command("train.py", *MLP, *data_flags, "--workers=2", cwd=tmp_path))
    last = f"{CHECKPOINTS}/model.ckpt-100"
    assert_same_variables(tmp_path / last, uninterrupted / last)
    evaluated = last_line(run_command("evaluate.py", cwd=tmp_path))
    assert evaluated == last_line(run_command("train.py", *MLP, *data_flags, cwd=tmp_path))


def test_one_that_comes_late_is_waited_for_and_a_signal_to_it_stops_all(tmp_path, data_flags):
    flags = [*MLP, *data_flags, "--train_steps=200"]
    with Cluster(tmp_path, flags) as cluster:
        cluster.start(1)
        cluster.processes[1].wait_for_message("waiting for worker 0")
        cluster.start(0)
        cluster.wait_for_step(20)
        cluster.processes[1].send_signal(signal.SIGTERM)
        code, stdout, stderr = cluster.end(0)
        assert code == 143 and stdout == ""
        (step,) = re.findall(r"saved \S+model\.ckpt-(\d+)", stderr.splitlines()[-1])
        code, stdout, stderr = cluster.end(1)
        assert code == 143 and stdout == ""
        assert "stopped by SIGTERM" in stderr.splitlines()[-1]
    assert "at step 200" in last_line(run_command("train.py", *flags, cwd=tmp_path))
    record = json.loads((tmp_path / CHECKPOINTS / "run.json").read_text())
    assert record["workers"] == [[0, 2], [int(step), 1]]


def test_one_that_never_comes_is_named(tmp_path, data_flags):
    impatient = hasty(START_SECONDS=3.0, ANSWER_SECONDS=1.0)
    with Cluster(tmp_path, [*MLP, *data_flags], program=impatient) as cluster:
        cluster.start(0)
        code, _, stderr = cluster.end(0)
    assert code == 1
    assert f"worker 1 at {cluster.addresses[1]} did not start" in stderr.splitlines()[-1]


def test_those_that_would_train_something_else_are_refused(tmp_path, data_flags):
    with Cluster(tmp_path, MLP) as cluster:
        cluster.start(0, flags=data_flags)
        cluster.start(1, flags=["--dataset=synthetic", "--seed=7"])
        for rank in (0, 1):
            code, stdout, stderr = cluster.end(rank)
            assert code == 2 and stdout == ""
            assert "data (worker 1)" in stderr and "--seed (worker 1)" in stderr
    assert not (tmp_path / "checkpoints").exists()


def test_a_port_that_is_taken_is_named(tmp_path, data_flags):
    with Cluster(tmp_path, [*MLP, *data_flags]) as cluster:
        host, port = cluster.addresses[0].split(":")
        with socket.create_server(("0.0.0.0", int(port))):
            cluster.start(0)
            code, _, stderr = cluster.end(0)
    assert code == 2
    assert f"{host}:{port}: expected a free port" in stderr.splitlines()[-1]


@pytest.mark.usefixtures("own_network")
def test_local_workers_are_out_of_reach(tmp_path, data_flags):
    flags = [*MLP, *data_flags, "--train_steps=5000", "--workers=2"]
    launcher = subprocess.Popen(
        command("train.py", *flags), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        checkpoint = tmp_path / CHECKPOINTS / "model.ckpt-10.index"
        while not checkpoint.exists():
            assert launcher.poll() is None
            time.sleep(0.1)
        for host in {"127.0.0.1", socket.gethostbyname(socket.gethostname())}:
            for port in (local.PORT, local.PORT + 1):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((host, port), timeout=5)
        launcher.send_signal(signal.SIGINT)
        stdout, stderr = launcher.communicate(timeout=60)
    finally:
        launcher.kill()
    assert launcher.returncode == 130 and stdout == b""
    assert b"saved checkpoints/mlp-bn/model.ckpt-" in stderr
    assert b"without authentication" not in stderr


@pytest.mark.long
@pytest.mark.usefixtures("own_network")
def test_a_local_worker_that_fails_early_ends_the_others(tmp_path, data_flags):
    launcher = subprocess.Popen(
        command("train.py", *MLP, *data_flags, "--workers=2"), cwd=tmp_path, stderr=subprocess.PIPE
    )
    children = pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    while launcher.poll() is None and len(children.read_text().split()) < 2:
        time.sleep(0.01)
    os.kill(int(children.read_text().split()[1]), signal.SIGKILL)
    _, stderr = launcher.communicate(timeout=120)
    assert launcher.returncode in (137, 143)
    assert b"worker 1 was ended by SIGKILL" in stderr and b"Traceback" not in stderr


@pytest.mark.usefixtures("own_network")
def test_a_user_without_rights_gets_a_network_too(tmp_path, data_flags):
    """Each of its workers is this process's command, which tells whether it is out of reach.

    There are more of them than cores, which slows them all down.
    """
    worker = "from cluster import local; raise SystemExit(local.is_out_of_reach())"
    program = (
        f"import sys; from cluster import local; sys.argv = ['-c', {worker!r}]; "
        f"local.become_workers({processor.cores() + 1})"
    )
    # What root may do without a user namespace, others may not.
    drop = ["setpriv", "--bounding-set=-sys_admin"] if os.getuid() == 0 else []
    command = [*drop, sys.executable, "-c", program]
    started = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if "Linux with namespaces" in started.stderr:
        pytest.skip(started.stderr.splitlines()[-1])
    assert started.returncode == 1, f"out of reach: {started.stderr}"
    assert f"share {processor.cores()} cores" in started.stderr


def test_when_one_of_three_is_lost_the_others_name_that_one_only(tmp_path, data_flags):
    flags = [*MLP, *data_flags, "--train_steps=5000"]
    with Cluster(tmp_path, flags, count=3, program=HASTY) as cluster:
        cluster.start(0, 1, 2)
        cluster.wait_for_step(20)
        cluster.processes[1].kill()
        for survivor in (0, 2):
            code, _, stderr = cluster.end(survivor)
            assert code == 1
            assert stderr.splitlines()[-1].count(" at 127.0.0.") == 1
            assert f"worker 1 at {cluster.addresses[1]}" in stderr.splitlines()[-1]


def test_what_the_chief_refuses_only_the_chief_tells(tmp_path, data_flags, uninterrupted):
    shutil.copytree(uninterrupted / "checkpoints", tmp_path / "checkpoints")
    flags = [*MLP, *data_flags, "--seed=5"]
    with Cluster(tmp_path, flags) as cluster:
        cluster.start(0, 1)
        code, _, stderr = cluster.end(0)
        assert code == 2 and "--seed was 0, now 5" in stderr
        code, _, stderr = cluster.end(1)
        assert code == 2 and "does not answer" not in stderr
        assert stderr.splitlines()[-1] == "worker 0 refuses to train, and says why"


def test_options_of_a_run_go_with_workers(tmp_path, data_flags):
    """Their own statistics, averaged when they are saved; averaged weights; going back."""
    options = ["--nosync_batch_norm", "--weight_average=0.9", "--population=exact"]
    options += ["--train_steps=20"]
    with Cluster(tmp_path, [*MLP, *data_flags, *options], count=3) as cluster:
        cluster.start(0, 1, 2)
        code, stdout, stderr = cluster.end(0)
        assert code == 0, stderr
        assert stdout.splitlines()[-1].endswith(f"{CHECKPOINTS}/exact.ckpt-20")
        assert cluster.end(1)[:2] == cluster.end(2)[:2] == (0, "")
    diverging = ["--optimizer=sgd", "--learning_rate=1e38", "--on_nan=rollback", "--run=diverging"]
    with Cluster(tmp_path, [*MLP, *data_flags, *diverging]) as cluster:
        cluster.start(0, 1)
        for rank in (0, 1):
            code, _, stderr = cluster.end(rank)
            assert code == 1 and "after going back 5 times" in stderr
