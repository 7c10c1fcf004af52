"""A process of its own, in which an export classifies images with its format's runtime.

python -m serving.runtime FORMAT RUNTIME EXPORT FOLDER     FOLDER has images.npy, gets answers.npz

It shares nothing with the process that wrote the export but these files.
"""

import pathlib
import statistics
import sys
import time
from typing import Any

import numpy as np

from console import processor
from console.importing import import_tensorflow
from serving.formats import FORMATS, Classify, module_of

IMAGES_FILE, ANSWERS_FILE = "images.npy", "answers.npz"
BATCH_SIZE = 1000
# What a runtime does once, it does in the first of these.
WARM_UP_CALLS, CALLS = 20, 200
# Names of what is measured, beside the outputs.
LATENCY, THROUGHPUT = "milliseconds_for_one_image", "images_per_second"


def main(name: str, runtime: str, export: str, folder: str) -> None:
    """Classifies the images in batches, and measures it."""
    processor.use_onednn()
    if FORMATS[name].runs_in_tensorflow:
        import_tensorflow()
    classify = module_of(name).RUNTIMES[runtime](pathlib.Path(export))
    images = np.load(pathlib.Path(folder, IMAGES_FILE))
    answers, throughput = _in_batches(classify, images)
    written: dict[str, Any] = {**answers, THROUGHPUT: throughput}
    written[LATENCY] = _milliseconds(classify, images[:1])
    np.savez(pathlib.Path(folder, ANSWERS_FILE), **written)


def _in_batches(classify: Classify, images: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
    """Returns the outputs for all images, and the median images per second of the batches."""
    batches, speeds = [], []
    classify(images[:BATCH_SIZE])
    for start in range(0, len(images), BATCH_SIZE):
        batch = images[start : start + BATCH_SIZE]
        started = time.perf_counter()
        batches.append(classify(batch))
        speeds.append(len(batch) / (time.perf_counter() - started))
    answers = {name: np.concatenate([each[name] for each in batches]) for name in batches[0]}
    return answers, statistics.median(speeds)


def _milliseconds(classify: Classify, image: np.ndarray) -> float:
    """Returns the median time for a batch of one."""
    seconds = []
    for _ in range(WARM_UP_CALLS + CALLS):
        started = time.perf_counter()
        classify(image)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[WARM_UP_CALLS:])


if __name__ == "__main__":
    main(*sys.argv[1:])
