"""Workers on this machine, in a network of their own that nothing else can reach.

TensorFlow's server listens on all interfaces, without authentication, and whoever reaches it can
read this machine's files. So the workers get a network namespace (Linux): its only interface is a
loopback that exists nowhere else.
"""

import fcntl
import json
import math
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time
from types import FrameType
from typing import NoReturn

from cluster import layout
from console import processor
from console.errors import InputError
from console.interruption import SIGNALS
from console.progress import note

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
ENDS_WITH_PARENT = ["setpriv", "--pdeathsig=TERM"]
PORT = 2222
# How long workers may go on when one of them has failed.
PATIENCE_SECONDS = 30.0
PROJECT = pathlib.Path(__file__).resolve().parents[1]
# Until it has workers to stop, Ctrl-C simply ends it.
LAUNCHER = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.path.insert(0, {str(PROJECT)!r})
from cluster import local
sys.exit(local.launch(int(sys.argv.pop(1))))
"""


def become_workers(workers: int) -> NoReturn:
    """Becomes a process that runs this command once for each worker, in a network of their own.

    Its exit code is that of the first rank that failed.

    Raises:
        InputError: TF_CONFIG or Slurm says who the workers are, or there is no such network.
    """
    if layout.is_given():
        raise InputError("--workers: expected no TF_CONFIG and no Slurm step, which say it, too")
    cores = processor.cores()
    if workers > cores:
        note(
            f"warning: {workers} workers share {cores} cores, and wait for each other: "
            f"--workers={cores} is the most that can be faster here"
        )
    launcher = [*_in_own_network(), sys.executable, "-c", LAUNCHER, str(workers), *sys.argv]
    sys.stdout.flush()
    os.execvp(launcher[0], launcher)


def _in_own_network() -> list[str]:
    """Returns the beginning of a command that runs in a new network namespace."""
    for options in ([], ["--map-root-user"]):  # Only root may do without a user namespace.
        command = ["unshare", "--net", *options]
        try:
            trial = [*command, *ENDS_WITH_PARENT, "true"]
            subprocess.run(trial, check=True, capture_output=True, text=True)
            return command
        except subprocess.CalledProcessError as error:
            found = error.stderr.strip()
        except OSError as error:
            found = str(error)
    raise InputError(
        "--workers: expected a system that lets this process have a network of its own (Linux with "
        f"namespaces, and util-linux), found: {found}; TF_CONFIG starts workers on a network that "
        "you protect (docs/distributed.md)"
    )


def launch(workers: int) -> int:
    """Starts the workers in this process's network, passes signals on, and waits for them."""
    _switch_loopback_on()
    addresses = [f"127.0.0.1:{PORT + rank}" for rank in range(workers)]
    # Later flags win: a worker starts no workers.
    command = [*ENDS_WITH_PARENT, sys.executable, *sys.argv[1:], "--workers=1"]
    # Together they would otherwise have more threads than there are cores.
    threads = {"TF_NUM_INTRAOP_THREADS": str(max(1, processor.cores() // workers))}
    processes = []
    for rank in range(workers):
        task = {"type": "worker", "index": rank}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        environment = {**threads, **os.environ, "TF_CONFIG": config}
        # In a session of its own, Ctrl-C in a terminal reaches it once, from here.
        processes.append(subprocess.Popen(command, env=environment, start_new_session=True))

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    # A signal before this ends this process, and so the workers.
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, pass_on)
    codes = _wait(processes)
    failures = [code if code > 0 else 128 - code for code in codes if code]
    return failures[0] if failures else 0


def _wait(processes: list[subprocess.Popen]) -> list[int]:
    """Waits for all workers; names one that is killed, which can't say so itself.

    The others soon find that a worker is gone, and save. Those that have not ended by then had not
    met it yet.
    """
    failed_at = None
    running = dict(enumerate(processes))
    while running:
        for rank, process in [*running.items()]:
            code = process.poll()
            if code is not None:
                del running[rank]
                if code < 0:
                    note(f"worker {rank} was ended by {signal.Signals(-code).name}")
                if code and failed_at is None:
                    failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() > failed_at + PATIENCE_SECONDS:
            failed_at = math.inf
            for process in running.values():
                process.terminate()
        time.sleep(0.05)
    return [process.returncode for process in processes]


def _switch_loopback_on() -> None:
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", b"lo", _flags("lo") | IFF_UP)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)


def is_out_of_reach() -> bool:
    """Returns whether this process has no network but a loopback, as `train` makes it."""
    return [name for _, name in socket.if_nameindex() if _flags(name) & IFF_UP] == ["lo"]


def _flags(interface: str) -> int:
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", interface.encode(), 0)
        return struct.unpack_from("h", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)[0]
