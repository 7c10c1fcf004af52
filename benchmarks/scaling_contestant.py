"""What the scaling benchmark's workers have in common: steps on request."""

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np

STEPS = 8


def parse_arguments(modes: list[str]) -> argparse.Namespace:
    """Returns the arguments of a worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=modes, required=True)
    parser.add_argument("--batch_size", type=int, required=True, help="of all workers together")
    parser.add_argument("--workers", type=int, default=1, help="only of what is not started")
    return parser.parse_args()


def random_images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns uint8 images [count, 28, 28] and labels [count]; speed does not depend on them."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, [count, 28, 28], np.uint8), random.integers(0, 10, count)


def serve(step: Callable[[], object]) -> None:
    """Answers each line of standard input with the seconds that a step takes."""
    for _ in range(STEPS):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        for _ in range(STEPS):
            step()
        print(json.dumps((time.perf_counter() - started) / STEPS), flush=True)
