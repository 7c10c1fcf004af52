"""Data sets by name, split into training, validation and test, and labelled truthfully."""

import hashlib
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from console import files
from console.errors import InputError
from console.progress import note
from mnist import download, folders, idx, synthetic

# Splits MNIST's 60,000 into 55,000 + 5,000, as TensorFlow's own tutorial did.
VALIDATION_SHARE = 12

SYNTHETIC_TRAIN, SYNTHETIC_TEST = 12_000, 2_000

FILES_OF_MNIST = (
    f"for MNIST, put {', '.join(f'{name}.gz' for name in download.FILES)} into a folder and name "
    "it: --data_dir=FOLDER"
)


class Split(NamedTuple):
    """One part of a data set."""

    images: np.ndarray  # uint8 [n, height, width], 0 is paper and 255 is ink
    labels: np.ndarray  # uint8 [n], from 0

    def first(self, count: int) -> "Split":
        """Returns the first `count` of the images, or all if there are fewer."""
        return Split(self.images[:count], self.labels[:count])


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

    def form(self) -> dict[str, Any]:
        """Returns what a network must know of the data: image size and number of classes."""
        return {
            "image_size": list(self.test.images.shape[1:]),
            "classes": 1 + max(int(part.labels.max(initial=0)) for part in self[1:]),
        }

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
            **self.form(),
            "fingerprint": digest.hexdigest(),
        }


def load(dataset: str, data_dir: str, *, is_named: bool = False, may_store: bool = True) -> Dataset:
    """Loads a data set.

    Args:
        dataset: `mnist`: the four IDX files of `data_dir`; those that are missing are downloaded.
            `synthetic`: drawn digits, the same ones on every machine.
            `auto`: as `mnist`, or, when there is no way to get it, `synthetic` with a warning.
        data_dir: folder of the IDX files. They may be another set of grey images, of any size and
            up to 256 classes, as many as the highest training label says; it then goes by the
            folder's name. So does a folder without IDX files that has pictures: see
            `mnist.folders.read`.
        is_named: whether the user named the folder. With `auto`, it must then have all files: a
            typo must not end in results for other digits.
        may_store: whether pictures that were read may be stored in their folder, to be read at
            once the next time.

    Raises:
        InputError: a file is damaged or missing, or the folder cannot be used.
        mnist.download.DownloadError: `mnist` is neither there nor can it be downloaded.
    """
    if dataset == "synthetic":
        return _draw()
    if is_named and dataset == "auto":
        check_is_complete(data_dir, "; --dataset=mnist downloads MNIST to it")
    if _is_of_pictures(data_dir):
        return _read_pictures(pathlib.Path(data_dir), may_store)
    try:
        paths = download.fetch_missing(data_dir)
    except download.DownloadError as error:
        if dataset == "mnist":
            raise
        note(
            f"MNIST is not in {data_dir}, and can't be downloaded ({error.reason}): SYNTHETIC "
            "digits, drawn by this program, stand in, and every result says so"
        )
        return _draw()
    return _read(paths)


def is_complete(data_dir: str) -> bool:
    """Returns whether all four files, or pictures, are there, so that `load` downloads nothing."""
    return all(download.find(data_dir, name) for name in download.FILES) or _is_of_pictures(
        data_dir
    )


def check_is_complete(data_dir: str, cure: str = "") -> None:
    """Refuses a folder that lacks files.

    Args:
        data_dir: the folder, as the user named it.
        cure: what the error adds, unless some files are there.

    Raises:
        InputError: it lacks some, or is no folder.
    """
    missing = [name for name in download.FILES if not download.find(data_dir, name)]
    if not missing or _is_of_pictures(data_dir):
        return
    if os.path.isfile(data_dir):
        found = "a file"
    elif not os.path.isdir(data_dir):
        found = "no such folder"
    elif len(missing) == len(download.FILES):
        found = "none of them"
    else:
        # What is there may be another set, which files of MNIST must not fill up.
        found, cure = f"no {' and no '.join(missing)}", ""
    raise InputError(
        "--data_dir: expected the four IDX files of MNIST or a similar set, or a folder of "
        f"pictures for each class, in {data_dir}, found {found}{cure}"
    )


def _is_of_pictures(data_dir: str) -> bool:
    has_idx = any(download.find(data_dir, name) for name in download.FILES)
    return not has_idx and folders.has_pictures(data_dir)


def _draw() -> Dataset:
    train = synthetic.draw_digits(SYNTHETIC_TRAIN, seed=1)
    test = synthetic.draw_digits(SYNTHETIC_TEST, seed=2)
    return _split("synthetic", Split(*train), Split(*test))


def _read(paths: list[pathlib.Path]) -> Dataset:
    train = Split(*idx.read_pair(paths[0], paths[1]))
    test = Split(*idx.read_pair(paths[2], paths[3]))
    _check_match(paths, train, test)
    are_mnist = _are_mnist(paths)
    if all(are_mnist):
        return _split("mnist", train, test)
    folder = paths[0].parent
    dataset = _split(_name_after(folder), train, test)
    note(
        f"{folder}: well-formed, but not MNIST: {_describe(dataset)}; it is called "
        f"{dataset.name!r} from here on{_mixture(paths, are_mnist)}"
    )
    return dataset


def _read_pictures(folder: pathlib.Path, may_store: bool) -> Dataset:
    train, test = folders.read(folder, may_store)
    dataset = _split(_name_after(folder), Split(*train), Split(*test))
    note(
        f"{folder}: {len(train[1])} pictures to train on, {len(test[1])} for test, "
        f"{_describe(dataset)}; it is called {dataset.name!r} from here on"
    )
    return dataset


def _check_match(paths: list[pathlib.Path], train: Split, test: Split) -> None:
    """Refuses test images that a network for the training images can't classify."""
    expected, found = (part.images.shape[1:] for part in (train, test))
    if found != expected:
        raise InputError(
            f"{paths[2]}: expected images of {idx.size_text(expected)} pixels, as in {paths[0]}, "
            f"found {idx.size_text(found)}"
        )
    highest = train.labels.max()
    if test.labels.max() > highest:
        position = int(np.argmax(test.labels > highest))
        raise InputError(
            f"{paths[3]}: expected labels from 0 to {highest}, as in {paths[1]}, "
            f"found {test.labels[position]} at position {position}"
        )


def _are_mnist(paths: list[pathlib.Path]) -> list[bool]:
    """Returns of each of the four files whether it is MNIST's."""
    return [
        download.sha256_of_decompressed(path) == content.sha256
        for path, content in zip(paths, download.FILES.values(), strict=True)
    ]


def _mixture(paths: list[pathlib.Path], are_mnist: list[bool]) -> str:
    """Returns what suggests that the files, though they fit each other, are of different sets."""
    if any(are_mnist):
        theirs = [path.name for path, is_mnist in zip(paths, are_mnist, strict=True) if is_mnist]
        return f"; but {' and '.join(theirs)} MNIST's: do the four belong together?"
    if len({path.suffix == ".gz" for path in paths}) > 1:
        return f" (read from {', '.join(path.name for path in paths)})"
    return ""


def _name_after(folder: pathlib.Path) -> str:
    name = folder.resolve().name
    files.check_is_utf8(name)
    # A folder may have a misleading name; results may not.
    return f"other-{name}" if name.lower() in ("mnist", "synthetic") else name


def describe_form(form: dict[str, Any]) -> str:
    """Returns a `Dataset.form`, or a description that has it, as text."""
    return f"{form['classes']} classes of {idx.size_text(form['image_size'])} pixels"


def _describe(dataset: Dataset) -> str:
    form = dataset.form()
    text = describe_form(form)
    labels = np.concatenate([dataset.train.labels, dataset.validation.labels])
    empty = sorted(set(range(form["classes"])) - set(labels.tolist()))
    if empty:
        text += f", with no training image of {', '.join(map(str, empty))}"
    return text


def _split(name: str, train: Split, test: Split, validation_size: int | None = None) -> Dataset:
    if validation_size is None:
        validation_size = len(train.labels) // VALIDATION_SHARE
    validation = train.first(validation_size)
    rest = Split(train.images[validation_size:], train.labels[validation_size:])
    return Dataset(name, rest, validation, test)
