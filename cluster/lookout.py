"""Whether the other workers are still there: their servers are asked while something is waited for.

A server answers from threads of its own, whatever its process is busy with: graphs, a checkpoint,
an evaluation. It is silent once the process is gone or stopped, or the network between them is.
"""

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import grpc

# How long a server may take to answer.
ANSWER_SECONDS = 4.0
# Between two looks; what takes no longer than this is waited for without one.
PAUSE_SECONDS = 1.0
# A worker that is silent in two looks, one after the other, is lost; all know by then.
SECONDS_UNTIL_KNOWN = 2 * (ANSWER_SECONDS + PAUSE_SECONDS)


class Lookout:
    """Looks after the other workers, in a thread of its own. Use as a context manager."""

    def __init__(
        self, addresses: Sequence[str], rank: int, on_loss: Callable[[list[int]], None]
    ) -> None:
        """Takes the addresses of all workers by rank, and which of them this is.

        `on_loss` is called, in the thread, with the ranks of lost workers that are waited for in
        vain; with none of them if all answer, but it takes too long.
        """
        self._addresses = addresses
        self._others = [other for other in range(len(addresses)) if other != rank]
        self._on_loss = on_loss
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_out, daemon=True)
        # Since when something is waited for, until when it may end by itself, until when at all.
        self._wait: tuple[float, float, float] | None = None
        self.stood_still = 0.0  # seconds for which this process itself was stopped, at the longest

    def __enter__(self) -> "Lookout":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()

    @contextlib.contextmanager
    def waiting(self, limit: float, ends_by_itself_after: float = 0.0) -> Iterator[None]:
        """Looks after the others while the block waits for them.

        Args:
            limit: seconds that the block may take if all answer.
            ends_by_itself_after: seconds that it has to end by itself if some are lost.
        """
        now = time.monotonic()
        self._wait = (now, now + ends_by_itself_after, now + limit)
        try:
            yield
        finally:
            self._wait = None

    def silent(self, seconds: float) -> list[int]:
        """Returns the ranks of the workers whose servers do not answer."""
        with concurrent.futures.ThreadPoolExecutor(len(self._others)) as pool:
            answers = pool.map(lambda rank: _answers(self._addresses[rank], seconds), self._others)
        return [rank for rank, does in zip(self._others, answers, strict=True) if not does]

    def names(self, ranks: Sequence[int]) -> str:
        """Returns workers as a message names them."""
        return " and ".join(f"worker {rank} at {self._addresses[rank]}" for rank in ranks)

    def _look_out(self) -> None:
        silent: set[int] = set()
        ticked = time.monotonic()
        while not self._is_over.wait(PAUSE_SECONDS):
            wait, now = self._wait, time.monotonic()
            paused, ticked = now - ticked - PAUSE_SECONDS, now
            # While this process was stopped, others could not be seen to answer.
            if paused > ANSWER_SECONDS:
                self.stood_still = max(self.stood_still, paused)
                silent = set()
            if wait is None or now - wait[0] < PAUSE_SECONDS:
                silent = set()
                continue
            before, silent = silent, set(self.silent(ANSWER_SECONDS))
            ticked = time.monotonic()
            lost = sorted(silent & before)
            # Only if it is the same wait: it may have ended, and another one begun.
            if self._wait == wait and ((lost and ticked > wait[1]) or ticked > wait[2]):
                self._on_loss(lost)


def _answers(address: str, seconds: float) -> bool:
    # A connection is not enough: the system accepts one for a process that is stopped.
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=seconds)
        except grpc.FutureTimeoutError:
            return False
    return True
