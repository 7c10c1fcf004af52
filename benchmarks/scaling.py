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
from console import processor
from console.markdown import table

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
GRADIENTS, STATISTICS = "all gradients, added up", "statistics, forward and backward"
EXCHANGES = {
    "all gradients, as in a step": "step",
    GRADIENTS: "gradients",
    "all gradients, in a single message": "gradients_whole",
    "all gradients, each apart": "gradients_apart",
    STATISTICS: "statistics",
}


def main() -> None:
    """Measures everything, and writes the report."""
    rows: dict[bool, list[list[str]]] = {True: [], False: []}
    for workers in WORKERS:
        for is_same_batch in rows:
            rows[is_same_batch] += _compare(workers, is_same_batch)
    exchanged = {workers: _exchange(workers) for workers in WORKERS}
    alone = _in_turns({"kernel": Group(OURS, "nosync"), "moments": Group(OURS, "sync")})
    ratios = [b / a for a, b in zip(alone["kernel"], alone["moments"], strict=True)]
    gradients, batch_norm = (exchanged[2][name] for name in (GRADIENTS, STATISTICS))
    expected = _expected(
        statistics.median(alone["kernel"]),
        statistics.median(alone["moments"]),
        gradients,
        batch_norm,
    )
    header = ["", "workers", "ms a step", "images/s", "efficiency", "spread"]
    exchanges = [each.cells() for of_workers in exchanged.values() for each in of_workers.values()]
    versions = (f"{name} {metadata.version(name)}" for name in ("tensorflow", "torch"))
    about = (PROJECT / "benchmarks" / "about_scaling.md").read_text()
    OUTPUT.write_text(
        about.format(
            date=datetime.date.today(),
            machine=machine(),
            versions=", ".join(versions),
            cores=processor.cores(),
            rounds=ROUNDS,
            batch_size=BATCH_SIZE,
            same_batch=table(header, rows[True]),
            same_part=table(header, rows[False]),
            exchanged=table(["", "workers", "messages", "bytes", "ms a step"], exchanges),
            leaving=f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            hop=f"{1000 * batch_norm.hop:.2f}",
            expected=table(
                ["machines", "network", "efficiency", "with `--nosync_batch_norm`"], expected
            ),
        )
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


class Exchanged(NamedTuple):
    """What an exchange takes, in a step."""

    name: str
    workers: int
    messages: int
    size: int  # bytes that each worker has to exchange
    seconds: float

    @property
    def hop(self) -> float:
        """The seconds of one message of two workers, each of which passes one on."""
        return self.seconds / self.messages

    def cells(self) -> list[str]:
        """Returns the row of the table."""
        return [
            self.name,
            str(self.workers),
            str(self.messages),
            f"{self.size:,}",
            f"{1000 * self.seconds:.1f}",
        ]


def _exchange(workers: int) -> dict[str, Exchanged]:
    groups = {
        name: Group(OURS, mode, workers, BATCH_SIZE * workers) for name, mode in EXCHANGES.items()
    }
    return {
        name: Exchanged(name, workers, *_messages(groups[name]), statistics.median(seconds))
        for name, seconds in _in_turns(groups).items()
    }


def _expected(
    kernel: float, moments: float, gradients: Exchanged, batch_norm: Exchanged
) -> list[list[str]]:
    """Returns the efficiency on more machines, by the model that the report describes.

    Args:
        kernel, moments: the seconds of a step of one worker, with and without the fused kernel.
        gradients, batch_norm: what two workers exchange.
    """
    rows = []
    for machines in (8, 64, 512):
        for gigabits in (10, 100):
            sent = 2 * (machines - 1) / machines
            network = sent * 8 * gradients.size / (gigabits * 1e9)
            adding = sent * gradients.seconds + network + 2 * (machines - 1) * batch_norm.hop
            gathering = batch_norm.messages * (machines - 1) * batch_norm.hop
            with_sync, without = moments + adding + gathering, kernel + adding
            rows.append(
                [
                    str(machines),
                    f"{gigabits} Gbit/s",
                    f"{kernel / with_sync:.2f}",
                    f"{kernel / without:.2f}",
                ]
            )
    return rows


def _messages(group: Group) -> tuple[int, int]:
    """Returns how many messages a worker sends in a step, and how many bytes."""
    program = "from benchmarks import scaling_ours; scaling_ours.print_messages()"
    flags = [f"--{name}={getattr(group, name)}" for name in ("mode", "batch_size", "workers")]
    completed = subprocess.run(
        [sys.executable, "-c", program, *flags],
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


def _free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


if __name__ == "__main__":
    main()
