"""Data sets by name, split into training, validation and test, and labelled truthfully."""

import hashlib
import pathlib
from typing import Any, NamedTuple

import numpy as np

from mnist import download, idx, synthetic
from runtime.errors import InputError
from runtime.progress import note

# Splits MNIST's 60,000 into 55,000 + 5,000, as TensorFlow's own tutorial did.
VALIDATION_SHARE = 12

SYNTHETIC_TRAIN, SYNTHETIC_TEST = 12_000, 2_000

SYNTHETIC_WARNING = """
**********************************************************************
*  MNIST is not in {data_dir} and could not be downloaded.
*  Training goes on with SYNTHETIC digits, drawn by this program:
*  every figure below is labelled "synthetic" and is not MNIST's.
*  For MNIST, put its four files into {data_dir}.
**********************************************************************
"""


class Split(NamedTuple):
    """One part of a data set."""

    images: np.ndarray  # uint8 [n, 28, 28], 0 is paper and 255 is ink
    labels: np.ndarray  # uint8 [n], 0 to 9


class Dataset(NamedTuple):
    """Three splits under the name that every result line shows."""

    name: str
    train: Split
    validation: Split
    test: Split

    def with_validation(self, size: int | None) -> "Dataset":
        """Returns the data set with its first `size` training images held out for validation.

        None leaves it as it is.

        Raises:
            InputError: there are not that many, or none would be left.
        """
        if size is None or size == len(self.validation.labels):
            return self
        images = np.concatenate([self.validation.images, self.train.images])
        labels = np.concatenate([self.validation.labels, self.train.labels])
        if not 0 <= size < len(labels):
            raise InputError(
                f"--validation_size: expected less than {len(labels)}, the number of training "
                f"images, found {size}"
            )
        return _split(self.name, Split(images, labels), self.test, size)

    def description(self) -> dict[str, Any]:
        """Returns what identifies the data: name, sizes, and a fingerprint of every byte."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            digest.update(split.images.data)
            digest.update(split.labels.data)
        return {
            "name": self.name,
            "train": len(self.train.labels),
            "validation": len(self.validation.labels),
            "test": len(self.test.labels),
            "fingerprint": digest.hexdigest(),
        }


def load(dataset: str, data_dir: str) -> Dataset:
    """Loads a data set.

    Args:
        dataset: `mnist`: the four IDX files in `data_dir`; missing ones are downloaded.
            `synthetic`: drawn digits, the same on every machine.
            `auto`: like `mnist`, but `synthetic` with a warning if it can't be downloaded.
        data_dir: folder of the IDX files. They may be another set of 28x28 images in ten
            classes, which is then named after the folder.

    Raises:
        InputError: a file is damaged, or the folder cannot be used.
        mnist.download.DownloadError: `mnist` is missing and can't be downloaded.
    """
    if dataset == "synthetic":
        return _draw()
    try:
        paths = download.fetch_missing(data_dir)
    except download.DownloadError as error:
        if dataset == "mnist":
            raise
        note(str(error))
        note(SYNTHETIC_WARNING.format(data_dir=data_dir))
        return _draw()
    return _read(paths)


def is_complete(data_dir: str) -> bool:
    """Returns whether all four files are there, so that `load` downloads nothing."""
    return all(download.find(data_dir, name) for name in download.FILES)


def _draw() -> Dataset:
    train = synthetic.draw_digits(SYNTHETIC_TRAIN, seed=1)
    test = synthetic.draw_digits(SYNTHETIC_TEST, seed=2)
    return _split("synthetic", Split(*train), Split(*test))


def _read(paths: list[pathlib.Path]) -> Dataset:
    train = Split(*idx.read_pair(paths[0], paths[1]))
    test = Split(*idx.read_pair(paths[2], paths[3]))
    name = "mnist" if _are_mnist(paths) else _name_after_folder(paths[0].parent)
    return _split(name, train, test)


def _are_mnist(paths: list[pathlib.Path]) -> bool:
    return all(
        download.sha256_of_decompressed(path) == content.sha256
        for path, content in zip(paths, download.FILES.values(), strict=True)
    )


def _name_after_folder(folder: pathlib.Path) -> str:
    name = folder.resolve().name
    # A folder may have a misleading name; results may not.
    if name.lower() in ("mnist", "synthetic"):
        name = f"other-{name}"
    note(f"{folder}: well-formed, but not MNIST; it is called {name!r} from here on")
    return name


def _split(name: str, train: Split, test: Split, validation_size: int | None = None) -> Dataset:
    if validation_size is None:
        validation_size = len(train.labels) // VALIDATION_SHARE
    validation = Split(train.images[:validation_size], train.labels[:validation_size])
    rest = Split(train.images[validation_size:], train.labels[validation_size:])
    return Dataset(name, rest, validation, test)
