"""Measures how training scales over workers, beside PyTorch's DDP; writes docs/results/scaling.md.

python -m benchmarks.scaling

All workers are on this machine, each with one thread on one core. Groups of workers stay ready and
take turns, burst by burst, since a machine's speed drifts.
"""

import contextlib
import datetime
import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

from tqdm import tqdm

from benchmarks.report import PROJECT, machine
from runtime import processor
from runtime.markdown import table

OUTPUT = PROJECT / "docs" / "results" / "scaling.md"
ROUNDS = 9
BATCH_SIZE = 128
WORKERS = (2, 4)


class Group(NamedTuple):
    """Workers that train together, or only exchange what training exchanges."""

    module: str
    mode: str
    workers: int = 1
    batch_size: int = BATCH_SIZE  # of all of them together

    @contextlib.contextmanager
    def ready(self) -> Iterator[list[subprocess.Popen]]:
        """Starts the workers, waits until they have warmed up, and stops them at the end.

        Raises:
            RuntimeError: one exited before it was ready.
        """
        addresses = _free_addresses(self.workers)
        processes = [self._start(rank, addresses) for rank in range(self.workers)]
        try:
            for process in processes:
                assert process.stdout
                if "ready\n" not in process.stdout:
                    raise RuntimeError(f"{self}: a worker exited with {process.wait()}")
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def _start(self, rank: int, addresses: list[str]) -> subprocess.Popen:
        task = {"type": "worker", "index": rank}
        environment = {
            "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
            "TF_NUM_INTRAOP_THREADS": "1",
            "TF_NUM_INTEROP_THREADS": "2",  # one waits for the others
            "OMP_NUM_THREADS": "1",
        }
        core = rank % processor.cores()
        return subprocess.Popen(
            ["taskset", "--cpu-list", str(core), sys.executable, "-m", f"benchmarks.{self.module}"]
            + [f"--mode={self.mode}", f"--batch_size={self.batch_size}"],
            cwd=PROJECT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


OURS, TORCH = "scaling_ours", "scaling_torch"
ALONE = {"this suite": Group(OURS, "nosync"), "PyTorch": Group(TORCH, "ddp")}
MODES = {
    "this suite, statistics of the whole batch": (OURS, "sync"),
    "this suite, `--nosync_batch_norm`": (OURS, "nosync"),
    "PyTorch, own statistics": (TORCH, "ddp"),
}
EXCHANGES = {
    "all gradients, as in a step": "gradients",
    "all gradients, one message a variable": "gradients_apart",
    "statistics, forward and backward": "statistics",
}


def main() -> None:
    """Measures everything, and writes the report."""
    rows: dict[bool, list[list[str]]] = {True: [], False: []}
    for workers in WORKERS:
        for is_same_batch in rows:
            rows[is_same_batch] += _compare(workers, is_same_batch)
    exchanged = _exchange()
    kernel = _in_turns({"kernel": Group(OURS, "nosync"), "moments": Group(OURS, "sync")})
    leaving = _ratios(kernel["kernel"], kernel["moments"])
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("tensorflow", "torch"))
    header = ["", "workers", "ms a step", "images/s", "efficiency", "spread"]
    OUTPUT.write_text(
        f"# Scaling over workers\n\nMade by `python -m benchmarks.scaling` on "
        f"{datetime.date.today()}: {machine()}, {versions}. The network is `cnn`, float32, Adam; "
        "each worker is a process with one thread on one core, and all are on this machine, so 4 "
        f"workers on {processor.cores()} cores are there for the record. Medians of {ROUNDS} "
        "rounds, in which all take turns; the spread is that of the efficiency over the rounds. "
        "Efficiency is relative to one worker of the same framework with a batch of "
        f"{BATCH_SIZE}. PyTorch's `SyncBatchNorm` runs on GPUs only, so its workers normalize "
        "their own parts.\n\n"
        f"## The same batch, {BATCH_SIZE} images, split over the workers\n\n"
        f"{table(header, rows[True])}\n\n"
        f"## The same batch a worker: {BATCH_SIZE} images each\n\n{table(header, rows[False])}\n\n"
        "## The exchange alone\n\n"
        f"{table(['', 'workers', 'messages', 'bytes', 'ms a step'], exchanged)}\n\n"
        "## Leaving the fused kernel\n\n"
        "Statistics over replicas need `tf.nn.moments` in place of the kernel. A single worker, "
        f"without any exchange, takes **{statistics.median(leaving):.2f}** times as long for a "
        f"step ({min(leaving):.2f} to {max(leaving):.2f}).\n"
    )
    print(OUTPUT)


def _compare(workers: int, is_same_batch: bool) -> list[list[str]]:
    batch_size = BATCH_SIZE if is_same_batch else BATCH_SIZE * workers
    groups = {name: Group(*mode, workers, batch_size) for name, mode in MODES.items()}
    seconds = _in_turns({**ALONE, **groups})
    rows = []
    for name, group in {**ALONE, **groups}.items():
        alone = seconds["PyTorch" if group.module == TORCH else "this suite"]
        scale = group.batch_size / BATCH_SIZE / group.workers
        efficiency = [scale * one / each for one, each in zip(alone, seconds[name], strict=True)]
        median = statistics.median(seconds[name])
        rows.append(
            [
                name,
                str(group.workers),
                f"{1000 * median:.1f}",
                f"{group.batch_size / median:,.0f}",
                f"**{statistics.median(efficiency):.2f}**",
                f"{min(efficiency):.2f} to {max(efficiency):.2f}",
            ]
        )
    return rows


def _exchange() -> list[list[str]]:
    rows = []
    for workers in WORKERS:
        groups = {name: Group(OURS, mode, workers) for name, mode in EXCHANGES.items()}
        seconds = _in_turns(groups)
        for name, each in seconds.items():
            messages, size = _messages(groups[name])
            time = f"{1000 * statistics.median(each):.1f}"
            rows.append([name, str(workers), str(messages), f"{size:,}", time])
    return rows


def _messages(group: Group) -> tuple[int, int]:
    """Returns how many messages a worker sends in a step, and how many bytes."""
    program = "from benchmarks import scaling_ours; scaling_ours.print_messages()"
    completed = subprocess.run(
        [sys.executable, "-c", program, f"--mode={group.mode}", f"--batch_size={group.batch_size}"],
        cwd=PROJECT,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    messages, size = json.loads(completed.stdout)
    return messages, size


def _in_turns(groups: dict[str, Group]) -> dict[str, list[float]]:
    """Returns the seconds a step of each group, one for each round."""
    seconds: dict[str, list[float]] = {name: [] for name in groups}
    with contextlib.ExitStack() as stack:
        ready = {name: stack.enter_context(group.ready()) for name, group in groups.items()}
        for _ in tqdm(range(ROUNDS), desc=", ".join(groups)):
            for name, processes in ready.items():
                for process in processes:
                    assert process.stdin
                    process.stdin.write("go\n")
                    process.stdin.flush()
                seconds[name].append(max(_answer(process) for process in processes))
    return seconds


def _answer(process: subprocess.Popen) -> float:
    assert process.stdout
    return json.loads(process.stdout.readline())


def _ratios(before: list[float], after: list[float]) -> list[float]:
    return [b / a for a, b in zip(before, after, strict=True)]


def _free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


if __name__ == "__main__":
    main()
