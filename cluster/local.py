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
from collections.abc import Iterator
from types import FrameType

from runtime import processor
from runtime.errors import InputError

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
PORT = 2222


def train(workers: int) -> int:
    """Runs this command once for each worker; returns the exit code of the first that failed.

    Raises:
        InputError: this system has no network namespaces, or does not allow them.
    """
    _enter_own_network()
    addresses = [f"127.0.0.1:{PORT + rank}" for rank in range(workers)]
    # Later flags win: a worker starts no workers.
    command = [sys.executable, *sys.argv, "--workers=1"]
    # Together they would otherwise have more threads than there are cores.
    threads = {"TF_NUM_INTRAOP_THREADS": str(max(1, processor.cores() // workers))}
    processes = []
    for rank in range(workers):
        task = {"type": "worker", "index": rank}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        environment = {**threads, **os.environ, "TF_CONFIG": config}
        # In sessions of their own, so that Ctrl-C in a terminal reaches each once, from here.
        processes.append(subprocess.Popen(command, env=environment, start_new_session=True))
    with _passing_signals_on(processes):
        codes = [process.wait() for process in processes]
    failures = [code if code > 0 else 128 - code for code in codes if code]
    return failures[0] if failures else 0


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
        request = struct.pack("16sh14x", b"lo", 0)
        answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("h", answer, 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


@contextlib.contextmanager
def _passing_signals_on(processes: list[subprocess.Popen]) -> Iterator[None]:
    """Passes Ctrl-C and SIGTERM on to the processes while the block runs."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    former = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
