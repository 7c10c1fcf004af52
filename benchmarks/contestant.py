"""The common part of the speed benchmark's contestants: processes that train on request.

A contestant prepares and warms up, prints `ready`, and then answers each line on its standard
input with one line of JSON: the seconds that one burst took. So all contestants can stay ready and
take turns, burst by burst, on one machine.
"""

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Callable

# The network's multiplications and additions in the forward pass: two convolutions with 5x5
# weights, two dense layers.
FORWARD_FLOP = 2 * (28 * 28 * 25 * 32 + 14 * 14 * 25 * 32 * 64 + 3136 * 1024 + 1024 * 10)
# In the backward pass each layer has two more products of the same size, except for the first: it
# has one, since the gradient of the image is not needed.
TRAINING_FLOP = 3 * FORWARD_FLOP - 2 * 28 * 28 * 25 * 32

# A burst takes a second or more, so that the overhead of starting it is negligible.
BURST_IMAGES = 8192

LEARNING_RATE = 1e-3


def parse_arguments(description: str, **choices: list[str]) -> argparse.Namespace:
    """Returns a contestant's arguments; `choices` are its own additional flags."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], required=True)
    parser.add_argument("--data_dir", default="data")
    for name, values in choices.items():
        parser.add_argument(f"--{name}", choices=values, required=True)
    return parser.parse_args()


def training_images(data_dir: str):
    """Returns uint8 images [n, 28, 28] and labels [n] of MNIST's training split.

    Raises:
        FileNotFoundError: MNIST is not in `data_dir`.
    """
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
    from mnist import datasets

    return datasets.load("mnist", data_dir).train


def serve(train: Callable[[int], None]) -> None:
    """Answers each line of standard input with the seconds it takes to train on a burst.

    Args:
        train: trains on the given number of images, and returns when it is done.
    """
    train(BURST_IMAGES)
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        train(BURST_IMAGES)
        print(json.dumps(time.perf_counter() - started), flush=True)
