"""MNIST's four files, small and drawn, for the programs that read them. Runs on Python 3.7."""

import gzip
import pathlib
import struct

import numpy as np


def write(folder):
    """Writes 250 images to train on and 60 for test: each class has one bright row and column."""
    folder = pathlib.Path(folder)
    folder.mkdir()
    random = np.random.RandomState(0)
    for split, count in (("train", 250), ("t10k", 60)):
        labels = random.randint(0, 10, count).astype(np.uint8)
        images = random.randint(0, 80, (count, 28, 28)).astype(np.uint8)
        images[np.arange(count), 2 * labels + 4] += 150
        images[np.arange(count), :, 2 * labels + 4] += 20
        with gzip.open(str(folder / (split + "-images-idx3-ubyte.gz")), "wb", 1) as file:
            file.write(struct.pack(">4i", 2051, count, 28, 28) + images.tobytes())
        with gzip.open(str(folder / (split + "-labels-idx1-ubyte.gz")), "wb", 1) as file:
            file.write(struct.pack(">2i", 2049, count) + labels.tobytes())
