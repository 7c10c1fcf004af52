"""Measures the presets' accuracy and what each ingredient adds; writes docs/results/accuracy.md.

python -m benchmarks.accuracy --data_dir=data

Trains 10 timed runs one after the other, and then those of the ablation, one per core: about two
and a half hours on two cores that multiply in bfloat16. Other processors take most of a day, and
train all runs one per core. If stopped, it reports the results so far and continues from there the
next time, even on another machine. The results are stored beside the report; delete them if the
networks themselves change. If a preset changes, the affected runs are detected and trained again.
"""

import argparse
import concurrent.futures
import pathlib
import statistics
import sys
import threading

from tqdm import tqdm

from benchmarks.accuracy_report import percent, report
from benchmarks.accuracy_runs import (
    ABLATION,
    OF_PRESETS,
    Results,
    Training,
    native_precision,
)
from benchmarks.report import PROJECT, machine
from benchmarks.speed import Contestant, measure
from console import processor
from console.files import write_text
from console.markdown import table
from mnist import datasets

OUTPUT = PROJECT / "docs" / "results" / "accuracy.md"
AUGMENTATIONS = ("none", "affine", "elastic")


def train_missing(
    trainings: list[Training], results: Results, folder: pathlib.Path, data_dir: str, abreast: int
) -> None:
    """Trains those that have no complete result yet, `abreast` of them at a time.

    Raises:
        RuntimeError: a run failed. Those running beside it are kept; the rest are not started.
    """
    missing = [training for training in trainings if not results.is_complete(training)]
    threads = None if abreast == 1 else 1
    one_at_a_time = threading.Lock()

    def train_and_keep(training: Training) -> None:
        result = training.train(folder, data_dir, threads)
        outcome = training.classify(folder, data_dir) if training.is_member else None
        with one_at_a_time:
            results.add(training, result, outcome)
            progress.set_postfix_str(f"{training.run} {percent(result):.2f} %")
            progress.update()

    def cancel_the_rest_if_failed(future: concurrent.futures.Future) -> None:
        if not future.cancelled() and future.exception():
            workers.shutdown(wait=False, cancel_futures=True)

    with (
        tqdm(total=len(trainings), initial=len(trainings) - len(missing), unit="run") as progress,
        concurrent.futures.ThreadPoolExecutor(abreast) as workers,
    ):
        futures = [workers.submit(train_and_keep, training) for training in missing]
        for future in futures:
            future.add_done_callback(cancel_the_rest_if_failed)
        try:
            for future in futures:
                future.result()
        finally:
            workers.shutdown(cancel_futures=True)


def measure_augmentation(data_dir: str) -> str:
    """Measures what distorting the images adds to a step, alternating with steps without it."""
    precision, batch_size = native_precision(), 128
    contestants = [Contestant(mode, precision, "ours", mode) for mode in AUGMENTATIONS]
    speeds = measure(contestants, batch_size, data_dir, rounds=7)
    rows = []
    for one in contestants[1:]:
        costs = [
            100 * (without / with_it - 1)
            for without, with_it in zip(speeds[contestants[0]], speeds[one], strict=True)
        ]
        spread = f"{min(costs):+.1f} to {max(costs):+.1f} %"
        setting = f"`cnn`, {precision}, batch {batch_size}"
        rows.append([f"`{one.name}`", setting, f"{statistics.median(costs):+.1f} %", spread])
    columns = ["augment", "step", "median of 7 rounds", "spread"]
    return f"On {machine()}:\n\n{table(columns, rows)}"


def main() -> None:
    """Trains what is missing and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data", help="folder of MNIST's four files")
    parser.add_argument("--folder", default="results/accuracy", help="of checkpoints and curves")
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
    arguments = parser.parse_args()
    folder = pathlib.Path(arguments.folder).resolve()
    data_dir = str(pathlib.Path(arguments.data_dir).resolve())
    kept = arguments.output.with_suffix("")
    for made in (folder, kept):
        made.mkdir(parents=True, exist_ok=True)

    dataset = datasets.load("mnist", data_dir)
    if dataset.name != "mnist":
        parser.error(f"--data_dir: expected MNIST in {data_dir}, found {dataset.name}")

    augmentation = kept / "augmentation.md"
    if not augmentation.exists():
        write_text(augmentation, measure_augmentation(data_dir))
    results = Results(kept)
    try:
        # A preset's seconds are measured in its own precision, with nothing else running.
        if native_precision() == "bfloat16":
            train_missing(OF_PRESETS, results, folder, data_dir, abreast=1)
        train_missing(OF_PRESETS + ABLATION, results, folder, data_dir, processor.cores())
    except KeyboardInterrupt:
        sys.exit("Stopped: the same command trains the rest.")
    finally:
        text = report(results, dataset.test, kept)
        write_text(arguments.output, text)
        print(text)


if __name__ == "__main__":
    main()
