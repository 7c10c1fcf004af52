"""Stopping a running session without losing work."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from console.errors import CommandError

# Ctrl-C, the system, a terminal that is closed or a connection that is lost.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_at_once() -> None:
    """Makes Ctrl-C end the process with one line, while there is nothing to save.

    Libraries that are imported meanwhile would turn a `KeyboardInterrupt` into other errors.
    """
    # Not if the process was started to ignore it, as by a shell in the background.
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """Makes Ctrl-C end the process with one line in this block, in which there is nothing to save.

    TensorFlow's functions that build a graph would turn a `KeyboardInterrupt` into other errors, or
    swallow it.
    """
    end_at_once()
    try:
        yield
    finally:
        raise_keyboard_interrupt()


def raise_keyboard_interrupt() -> None:
    """Makes Ctrl-C raise a `KeyboardInterrupt` again, after `end_at_once`."""
    if signal.getsignal(signal.SIGINT) == _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    print(f"{os.path.basename(sys.argv[0])}: stopped by Ctrl-C", file=sys.stderr, flush=True)
    os._exit(128 + number)


class Interrupted(CommandError):
    """A signal asked the command to stop. Exit codes as in a shell: 128 and the signal's number."""

    def __init__(self, signal_number: int, state: str):
        super().__init__(f"stopped by {signal.Signals(signal_number).name}, {state}")
        self.exit_code = 128 + signal_number


@contextlib.contextmanager
def raising(state: str) -> Iterator[None]:
    """Makes the `SIGNALS` raise `Interrupted` while the block runs, which can then clean up.

    For work that is not worth saving. Signals that the process ignores stay ignored.
    """

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted(number, state)

    former = {
        number: signal.signal(number, interrupt)
        for number in SIGNALS
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class StopRequest:
    """Turns the `SIGNALS` into a request that running work checks for between steps.

    Those that the process was started to ignore, as by `nohup`, stay ignored. A second signal stops
    it at once. Use as a context manager, in the main thread.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __enter__(self) -> "StopRequest":
        self._former = {
            number: signal.signal(number, self._remember)
            for number in SIGNALS
            if signal.getsignal(number) != signal.SIG_IGN
        }
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number
