"""What the user sees on standard error while a command runs."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from tqdm import tqdm

from console import streams

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_LOOKS = 0.5

# tqdm's own lock is shared between processes; Python warns about it when one of them is killed.
tqdm.set_lock(threading.RLock())


def note(message: str) -> None:
    """Writes one line to standard error, above the progress bar if there is one."""
    tqdm.write(message, file=sys.stderr)


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """On a terminal, says what is being done while the block runs, and for how many seconds.

    For work of some seconds that can't be divided into steps.
    """
    if not sys.stderr.isatty():
        yield
        return
    is_done = threading.Event()
    # Through a descriptor of its own, since TensorFlow's import has standard error held back.
    with streams.copy_of_stderr() as terminal:
        line = tqdm(desc=what, bar_format="{desc} ({elapsed})", leave=False, file=terminal)

        def show() -> None:
            while not is_done.wait(SECONDS_BETWEEN_LOOKS):
                line.refresh()

        clock = threading.Thread(target=show, daemon=True)
        clock.start()
        try:
            yield
        finally:
            is_done.set()
            clock.join()
            line.close()


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
        # The first one takes longer than the others, and says nothing of them.
        timed = step - self._initial - 1
        if timed <= 0:
            self._started = now
        is_due = timed > 0 and now - self._last_line >= SECONDS_BETWEEN_LINES
        if is_due or step == self._total:
            self._last_line = now
            left = (now - self._started) / max(timed, 1) * (self._total - step)
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
