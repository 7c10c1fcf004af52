"""What the user sees on standard error while a command runs."""

import sys
import threading
import time

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 5.0

# tqdm's own lock is shared between processes; Python warns about it when one of them is killed.
tqdm.set_lock(threading.RLock())


def note(message: str) -> None:
    """Writes one line to standard error, above the progress bar if there is one."""
    tqdm.write(message, file=sys.stderr)


class Progress:
    """A bar on a terminal; elsewhere (a file, a pipe, CI) a plain line every few seconds."""

    def __init__(self, total: int, initial: int, description: str, unit: str = "step"):
        """Starts at step, or another unit, `initial` of `total`."""
        self._total = total
        self._is_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=initial,
            desc=description,
            unit=unit,
            dynamic_ncols=True,
            disable=not self._is_terminal,
        )
        self._description, self._unit = description, unit
        self._started = time.monotonic()
        self._initial = self._done = initial
        self._last_line = self._started

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def update(self, step: int, facts: str) -> None:
        """Shows that `step` steps are done, and `facts`, such as `loss 0.0312`."""
        self._done = step
        if self._is_terminal:
            self._bar.set_postfix_str(facts, refresh=False)
            self._bar.update(step - self._bar.n)
            return
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES or step == self._total:
            self._last_line = now
            left = (now - self._started) / (step - self._initial) * (self._total - step)
            note(
                f"{self._description}: {self._unit} {step}/{self._total}, {facts}, "
                f"{left:.0f} s left"
            )

    def advance(self, facts: str) -> None:
        """Shows that one more step is done, and `facts`."""
        self.update(self._done + 1, facts)

    def close(self) -> None:
        """Leaves the finished bar on the screen."""
        self._bar.close()
