"""Stopping a running session without losing work."""

import signal
from types import FrameType

from console.errors import CommandError


class Interrupted(CommandError):
    """A signal asked the command to stop. Exit codes as in a shell: 130 Ctrl-C, 143 SIGTERM."""

    def __init__(self, signal_number: int, state: str):
        super().__init__(f"stopped by {signal.Signals(signal_number).name}, {state}")
        self.exit_code = 128 + signal_number


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a request that running work checks for between steps.

    A second signal stops it at once. Use as a context manager, in the main thread.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __enter__(self) -> "StopRequest":
        self._former = {
            number: signal.signal(number, self._remember)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number
