"""Training the cells of a study in parallel, with one process per core."""

import concurrent.futures
import contextlib
import io
import multiprocessing
import os
import pathlib
import random
import signal
import threading
from collections.abc import Callable, Iterator

from console import processor
from console.errors import CommandError
from console.importing import import_tensorflow
from console.interruption import Interrupted, StopRequest
from console.progress import Progress
from mnist.datasets import Dataset
from studies.cells import Cell, Row
from studies.results import Results

SECONDS_BETWEEN_LOOKS = 0.5

# Trains a cell: takes it, the data, and the folder for its events; returns the rows of results.
Train = Callable[[Cell, Dataset, pathlib.Path], list[Row]]


def train_missing(
    cells: list[Cell],
    results: Results,
    train: Train,
    load: Callable[[], Dataset],
    summaries: pathlib.Path,
) -> None:
    """Trains the cells that have no results yet, and adds their results, cell by cell.

    Args:
        cells: the whole grid.
        results: the results of the cells that are done.
        train: a module-level function, since the workers have to import it.
        load: returns the data; every worker calls it.
        summaries: the folder of the cells' events for TensorBoard.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; cells that were done are kept.
        CommandError: a worker was killed; cells that were done are kept.
    """
    missing = [cell for cell in cells if not results.of(cell)]
    # Shuffled, so that the time estimate is fair and neither arm gets the quiet hours.
    random.Random(0).shuffle(missing)
    total = sum(cell.flags["train_steps"] for cell in cells)
    done = total - sum(cell.flags["train_steps"] for cell in missing)
    with (
        StopRequest() as stop,
        Progress(total, done, f"{len(missing)} of {len(cells)} runs to train") as progress,
        concurrent.futures.ProcessPoolExecutor(
            processor.cores(),
            multiprocessing.get_context("spawn"),
            _prepare_worker,
            (load,),
        ) as workers,
        _given_up_on_failure(workers),
    ):
        with _ctrl_c_held_back():
            trained = {
                workers.submit(_train, train, cell, summaries / cell.name): cell for cell in missing
            }
        running = set(trained)
        while running:
            ready, running = concurrent.futures.wait(
                running, SECONDS_BETWEEN_LOOKS, concurrent.futures.FIRST_COMPLETED
            )
            if stop.signal_number:
                raise Interrupted(
                    stop.signal_number,
                    "finished runs are kept; the same command resumes with the rest",
                )
            for future in ready:
                cell = trained[future]
                try:
                    results.add(cell, future.result(), cells)
                except concurrent.futures.process.BrokenProcessPool as error:
                    raise CommandError(
                        "a worker process was killed, perhaps because memory ran out; finished "
                        "runs are kept, and the same command goes on with the others"
                    ) from error
                done += cell.flags["train_steps"]
                progress.update(done, cell.name)


@contextlib.contextmanager
def _given_up_on_failure(workers: concurrent.futures.ProcessPoolExecutor) -> Iterator[None]:
    """On any error, terminates the workers in the middle of their cells instead of waiting."""
    try:
        yield
    except BaseException:
        workers.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise


@contextlib.contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Keeps Ctrl-C, which a terminal sends to all processes, from those started in the block.

    The parent process alone handles it, after the block.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


_dataset: Dataset


def _prepare_worker(load: Callable[[], Dataset]) -> None:
    """Makes a worker train on one core, and exit when its parent does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # TensorFlow reads these when it creates the first session.
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    # Before the training code, loaded with the first cell, imports it.
    import_tensorflow()
    global _dataset
    # The parent process has already printed the notes about the data.
    with contextlib.redirect_stderr(io.StringIO()):
        _dataset = load()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers run this"
    parent.join()
    os._exit(1)


def _train(train: Train, cell: Cell, folder: pathlib.Path) -> list[Row]:
    return [{"dataset": _dataset.name, **row} for row in train(cell, _dataset, folder)]
