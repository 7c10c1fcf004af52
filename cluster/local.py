"""Workers on this machine, in a network of their own that nothing else can reach.

TensorFlow's server listens on all interfaces, without authentication, and whoever reaches it can
read this machine's files. So the workers get a network namespace (Linux): its only interface is a
loopback that exists nowhere else.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from cluster import layout
from console import processor
from console.errors import InputError
from console.interruption import SIGNALS
from console.progress import note

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
PR_SET_PDEATHSIG = 1
PORT = 2222


def train(workers: int) -> int:
    """Runs this command once for each worker; returns the exit code of the first rank that failed.

    Raises:
        InputError: TF_CONFIG or Slurm says who the workers are.
    """
    if layout.is_given():
        raise InputError("--workers: expected no TF_CONFIG and no Slurm step, which say it, too")
    cores = processor.cores()
    if workers > cores:
        note(
            f"warning: {workers} workers share {cores} cores, and wait for each other: "
            f"--workers={cores} is the most that can be faster here"
        )
    # Only a process without threads may enter a user namespace, and numpy has some.
    launcher = os.fork()
    if launcher == 0:
        os._exit(_launch(workers))
    with _passing_signals_on(lambda number: os.kill(launcher, number)):
        _, status = os.waitpid(launcher, 0)
    return os.waitstatus_to_exitcode(status)


def _launch(workers: int) -> int:
    # Ctrl-C in a terminal then reaches it once, from its parent.
    os.setsid()
    _end_with_parent()
    try:
        _enter_own_network()
    except InputError as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    addresses = [f"127.0.0.1:{PORT + rank}" for rank in range(workers)]
    # Later flags win: a worker starts no workers.
    command = [sys.executable, *sys.argv, "--workers=1"]
    # Together they would otherwise have more threads than there are cores.
    threads = {"TF_NUM_INTRAOP_THREADS": str(max(1, processor.cores() // workers))}
    processes: list[subprocess.Popen] = []

    def pass_on(number: int) -> None:
        for process in processes:
            process.send_signal(number)

    with _passing_signals_on(pass_on):
        for rank in range(workers):
            task = {"type": "worker", "index": rank}
            config = json.dumps({"cluster": {"worker": addresses}, "task": task})
            environment = {**threads, **os.environ, "TF_CONFIG": config}
            processes.append(
                subprocess.Popen(command, env=environment, preexec_fn=_end_with_parent)
            )
        codes = [process.wait() for process in processes]
    failures = [code if code > 0 else 128 - code for code in codes if code]
    return failures[0] if failures else 0


def _end_with_parent() -> None:
    """Has the system send SIGTERM to this process when the one that started it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _enter_own_network() -> None:
    """Moves this process, and those that it starts, into a new network namespace."""
    try:
        user, group = os.getuid(), os.getgid()
        libc = ctypes.CDLL(None, use_errno=True)
        # Only root may do without a user namespace.
        if libc.unshare(CLONE_NEWNET) != 0:
            if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            pathlib.Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            pathlib.Path("/proc/self/setgroups").write_text("deny")
            pathlib.Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        _switch_loopback_on()
    except (OSError, AttributeError) as error:
        raise InputError(
            "--workers: expected a system that lets this process have a network of its own (Linux "
            f"with namespaces), found: {error}; TF_CONFIG starts workers on a network that you "
            "protect (docs/distributed.md)"
        ) from None


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


@contextlib.contextmanager
def _passing_signals_on(pass_on: Callable[[int], None]) -> Iterator[None]:
    """Passes what stops a command on, instead of being stopped by it, while the block runs."""

    def handle(number: int, frame: FrameType | None) -> None:
        pass_on(number)

    former = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
