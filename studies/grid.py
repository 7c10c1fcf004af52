"""Training the cells of a study side by side, a process for each core."""

import concurrent.futures
import multiprocessing
import os
import pathlib
import random
import signal
import threading
from collections.abc import Callable

from mnist.datasets import Dataset
from runtime.errors import CommandError
from runtime.progress import Progress
from runtime.session import Interrupted, StopRequest
from studies.results import Results
from studies.trials import Cell, Row

SECONDS_BETWEEN_LOOKS = 0.5

# How a cell is trained: from it, the data, and the folder of its events to the rows of results.
Train = Callable[[Cell, Dataset, pathlib.Path], list[Row]]


def train_missing(
    cells: list[Cell], results: Results, train: Train, dataset: Dataset, summaries: pathlib.Path
) -> None:
    """Trains the cells that have no results yet, and adds those, cell by cell.

    Args:
        cells: the whole grid.
        results: of cells that are done.
        train: a function of a module, since other processes have to find it.
        dataset: the data.
        summaries: the folder of the cells' events for TensorBoard.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; cells that were done are kept.
        CommandError: a process that trained was killed; the same holds.
    """
    missing = [cell for cell in cells if not results.of(cell)]
    # In no order of theirs, the time left is foreseen well, and no side has the quiet hours.
    random.Random(0).shuffle(missing)
    total = sum(cell.flags["train_steps"] for cell in cells)
    done = total - sum(cell.flags["train_steps"] for cell in missing)
    with (
        StopRequest() as stop,
        Progress(total, done, f"{len(missing)} of {len(cells)} cells to train") as progress,
        concurrent.futures.ProcessPoolExecutor(
            len(os.sched_getaffinity(0)),
            multiprocessing.get_context("spawn"),
            _prepare_worker,
            (dataset,),
        ) as workers,
    ):
        trained = {
            workers.submit(_train, train, cell, summaries / cell.name): cell for cell in missing
        }
        running = set(trained)
        while running:
            ready, running = concurrent.futures.wait(
                running, SECONDS_BETWEEN_LOOKS, concurrent.futures.FIRST_COMPLETED
            )
            if stop.signal_number:
                _give_up(workers)
                raise Interrupted(
                    stop.signal_number,
                    f"stopped by {signal.Signals(stop.signal_number).name}; cells that were done "
                    "are kept, and the same command goes on with the others",
                )
            for future in ready:
                cell = trained[future]
                try:
                    rows = [{"dataset": dataset.name, **row} for row in future.result()]
                    results.add(cell, rows, cells)
                except concurrent.futures.process.BrokenProcessPool as error:
                    raise CommandError(
                        "a process that trained was killed, perhaps for lack of memory; cells "
                        "that were done are kept, and the same command goes on with the others"
                    ) from error
                done += cell.flags["train_steps"]
                progress.update(done, cell.name)


def _give_up(workers: concurrent.futures.ProcessPoolExecutor) -> None:
    """Ends the workers in the middle of their cells."""
    workers.shutdown(wait=False, cancel_futures=True)
    for process in multiprocessing.active_children():
        process.terminate()


_dataset: Dataset


def _prepare_worker(dataset: Dataset) -> None:
    """Makes a process train on one core, and end with the process that it works for."""
    global _dataset
    _dataset = dataset
    # Read by TensorFlow when it makes the first session.
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    # Ctrl-C reaches all processes of a terminal; the first one decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers run this"
    parent.join()
    os._exit(1)


def _train(train: Train, cell: Cell, folder: pathlib.Path) -> list[Row]:
    return train(cell, _dataset, folder)
