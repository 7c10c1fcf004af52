"""Read a folder of pictures, each class in a folder of its own.

    FOLDER/train/0/*.png ... FOLDER/test/9/*.png    or training/ and testing/
    FOLDER/0/*.png ... FOLDER/9/*.png               a sixth of each class is for test

Nothing depends on the order of the files on the disk: pictures are ordered by a hash of their
names, which mixes the classes. As in IDX files, a training run on half of the pictures would look
like any other, so a picture that can't be read is an error.
"""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from console import files
from console.errors import CommandError, InputError
from console.progress import Progress, note
from mnist import picture_files
from mnist.idx import StrPath, size_text

TRAIN, TEST = ("train", "training"), ("test", "testing")
# Of each class, if the folder has no train and test.
TEST_SHARE = 6
MOST_CLASSES = 256
# Hidden, in the folder itself: it moves and disappears with the pictures.
CACHE = ".pictures.npz"
# Part of what a cache is valid for; to be raised if pictures are read into other pixels.
VERSION = 1
# How many files or sizes a message names.
NAMED = 3

Pair = tuple[np.ndarray, np.ndarray]


class _Picture(NamedTuple):
    """A file, and where it belongs."""

    path: str  # below the folder
    half: str  # TRAIN[0] or TEST[0]; "" in a folder that is not split
    class_name: str


class _Files(NamedTuple):
    """What a folder has."""

    pictures: list[_Picture]  # sorted
    others: list[str]  # what is neither a picture nor hidden, beside them or their folders


def has_pictures(folder: StrPath) -> bool:
    """Return whether there are two or more folders of pictures, or some in train/ or test/."""
    with suppress(OSError):
        pictures = _find(Path(folder)).pictures
        return any(picture.half for picture in pictures) or len(_classes_of(pictures)) > 1
    return False


def read(folder: Path, may_store: bool = True) -> tuple[Pair, Pair]:
    """Read the pictures of a folder, or what an earlier call has stored of them in it.

    What was read is stored in the folder if `may_store`, for the next call.

    Colour becomes grey as in Pillow's mode L (ITU-R 601-2), what is transparent becomes white, and
    16 bits become 8; the shades are not inverted. A JPEG is turned upright by its Exif tag. Classes
    are numbers if all their folders' names are, up to 255; otherwise they are numbered in the order
    of their names.

    Notes the classes' names, what was passed over, how the pictures were split, and whether they
    look unlike MNIST.

    Returns training and test images, uint8 [n, height, width], and labels, uint8 [n]. Any first
    part of them has all classes in about equal shares. Raises InputError, in one line, if pictures
    can't be read or differ in size, if classes or one of the halves are missing, or if the pictures
    don't fit into memory.
    """
    try:
        found = _find(folder)
        stamps = [_stamp(folder, picture) for picture in found.pictures]
    except OSError as error:
        raise InputError(
            f"{error.filename}: expected to be readable, found: {error.strerror}"
        ) from error
    pictures = found.pictures
    _check_halves(folder, pictures)
    numbers = _numbers(folder, _classes_of(pictures))
    listing = "\n".join([str(VERSION), *stamps])
    key = hashlib.sha256(listing.encode()).hexdigest()
    images = _stored(folder, key, len(pictures))
    if images is None:
        images = _decode(folder, pictures)
        if may_store:
            _store(folder, key, images)
    labels = np.array([numbers[picture.class_name] for picture in pictures], np.uint8)
    is_test, order = _split_and_order(pictures)
    if not is_test.any():
        raise InputError(
            f"{folder}: expected train and test, or at least {TEST_SHARE} pictures of a class, "
            f"found at most {Counter(labels.tolist()).most_common(1)[0][1]}"
        )
    _note_remarks(folder, found, numbers, images)
    train, test = order[~is_test[order]], order[is_test[order]]
    return (images[train], labels[train]), (images[test], labels[test])


# --- Which pictures there are ---


def _find(folder: Path) -> _Files:
    """List the pictures in train/CLASS and test/CLASS or, if there are none, in CLASS."""
    pictures: list[_Picture] = []
    others: list[str] = []
    for half in (TRAIN, TEST):
        for name in half:
            of_half = _in_classes(folder, name, half[0])
            pictures += of_half.pictures
            others += of_half.others
    if pictures:
        halves = (*TRAIN, *TEST)
        others += [entry.name for entry in _entries(folder) if entry.name not in halves]
    else:
        pictures, others = _in_classes(folder, "", "")
    return _Files(sorted(pictures), sorted(others))


def _in_classes(folder: Path, below: str, half: str) -> _Files:
    """List the pictures in the folders of `folder/below`."""
    found = _Files([], [])
    if not (folder / below).is_dir():
        return found
    for class_folder in _entries(folder / below):
        path = os.path.join(below, class_folder.name)
        if not class_folder.is_dir():
            found.others.append(path)
            continue
        for entry in _entries(class_folder):
            file = os.path.join(path, entry.name)
            # A pipe with such a name would never end.
            if entry.name.lower().endswith(picture_files.SUFFIXES) and entry.is_file():
                found.pictures.append(_Picture(file, half, class_folder.name))
            else:
                found.others.append(file)
    return found


def _entries(folder: StrPath) -> list[os.DirEntry]:
    """Return what a folder has, but not what systems put there."""
    with os.scandir(folder) as entries:
        return [
            entry
            for entry in entries
            if not entry.name.startswith(".") and entry.name not in ("Thumbs.db", "desktop.ini")
        ]


def _stamp(folder: Path, picture: _Picture) -> str:
    """Return what changes if a file does."""
    status = os.stat(folder / picture.path)
    return f"{picture.path!r} {status.st_size} {status.st_mtime_ns}"


def _classes_of(pictures: Iterable[_Picture]) -> set[str]:
    return {picture.class_name for picture in pictures}


def _check_halves(folder: Path, pictures: list[_Picture]) -> None:
    """Refuse a training half without a test half, and classes that can't be learned."""
    halves = {
        half: _classes_of(p for p in pictures if p.half == half) for half in ("train", "test")
    }
    if not any(halves.values()):
        return
    for half, classes in halves.items():
        if not classes:
            other = "test" if half == "train" else "train"
            raise InputError(
                f"{folder}: expected pictures in {half}/CLASS too, found them in {other}/CLASS only"
            )
    untrained = sorted(halves["test"] - halves["train"])
    if untrained:
        raise InputError(
            f"{folder}: expected training pictures of each class in test, found none of "
            f"{_first(untrained)}"
        )


def _numbers(folder: Path, names: set[str]) -> dict[str, int]:
    """Return the label of each class."""
    if not 2 <= len(names) <= MOST_CLASSES:
        raise InputError(f"{folder}: expected 2 to {MOST_CLASSES} classes, found {len(names)}")
    if all(name.isascii() and name.isdecimal() for name in names):
        numbers = {name: int(name) for name in names}
        # 7 and 07 are two names.
        if len(set(numbers.values())) == len(names) and max(numbers.values()) < MOST_CLASSES:
            return numbers
    return {name: number for number, name in enumerate(sorted(names))}


def _split_and_order(pictures: list[_Picture]) -> tuple[np.ndarray, np.ndarray]:
    """Return which pictures are for test, bool [n], and an order that mixes the classes, int [n].

    Within a class and half, pictures are in the order of a hash of their names, so that a picture
    rarely changes sides when others are added.
    """
    is_test = np.array([picture.half == TEST[0] for picture in pictures])
    shares = np.empty(len(pictures))
    groups: dict[tuple[str, str], list[int]] = {}
    for index, picture in enumerate(pictures):
        groups.setdefault((picture.half, picture.class_name), []).append(index)
    for (half, _), group in groups.items():
        group.sort(key=lambda index: _hash(pictures[index]))
        if not half:
            is_test[group[: len(group) // TEST_SHARE]] = True
        for part in (True, False):
            members = [index for index in group if is_test[index] == part]
            shares[members] = (np.arange(len(members)) + 0.5) / max(len(members), 1)
    return is_test, np.argsort(shares, kind="stable")


def _hash(picture: _Picture) -> bytes:
    name = f"{picture.class_name}/{os.path.basename(picture.path)}"
    return hashlib.sha256(os.fsencode(name)).digest()


# --- Their pixels ---


def _stored(folder: Path, key: str, count: int) -> np.ndarray | None:
    """Return all pictures, uint8 [n, height, width], if they are stored under this key."""
    # Whatever is wrong with what is stored, there are still the pictures.
    with suppress(Exception), np.load(folder / CACHE, allow_pickle=False) as stored:
        if str(stored["key"]) == key:
            images = stored["images"]
            if images.dtype == np.uint8 and images.ndim == 3 and len(images) == count:
                return images
    return None


def _store(folder: Path, key: str, images: np.ndarray) -> None:
    """Write the pictures into the folder, or note that it can't be written to."""
    content = io.BytesIO()
    np.savez(content, images=images, key=key)
    try:
        files.write_bytes(folder / CACHE, content.getvalue())
    except CommandError as error:
        why = getattr(error.__cause__, "strerror", None) or error
        note(f"{folder}: {CACHE} can't be written, so every command reads all pictures: {why}")


def _decode(folder: Path, pictures: list[_Picture]) -> np.ndarray:
    """Read all files; raise InputError, which names the first, if some can't be read or differ."""
    images: np.ndarray | None = None
    sizes: dict[tuple[int, ...], list[str]] = {}
    unreadable: list[str] = []
    with Progress(len(pictures), 0, f"reading {folder}", "picture") as progress:
        for index, picture in enumerate(pictures):
            progress.advance(os.path.dirname(picture.path))
            path = folder / picture.path
            try:
                # Of those that can't be used together, only the sizes are of interest.
                size, pixels = _read(path, decode=len(sizes) < 2)
            except Exception as error:  # Pillow's decoders raise anything; it is reported below.
                unreadable.append(f"{picture.path} ({picture_files.why(error, path)})")
                continue
            sizes.setdefault(size, []).append(picture.path)
            if len(sizes) == 1:
                if images is None:
                    images = _room_for(folder, len(pictures), size)
                images[index] = pixels
    if unreadable:
        raise InputError(
            f"{folder}: expected pictures that can be read, found {len(unreadable)} of "
            f"{len(pictures)} that can't: {_first(unreadable)}"
        )
    if len(sizes) > 1:
        common = sorted(sizes.items(), key=lambda found: -len(found[1]))
        described = [f"{len(of)} of {size_text(size)} ({of[0]})" for size, of in common]
        raise InputError(f"{folder}: expected pictures of one size, found {_first(described)}")
    assert images is not None
    return images


def _room_for(folder: Path, count: int, size: tuple[int, ...]) -> np.ndarray:
    try:
        return np.empty([count, *size], np.uint8)
    except MemoryError as error:
        raise InputError(
            f"{folder}: expected pictures that fit into memory, found {count} of {size_text(size)}"
        ) from error


def _read(path: Path, decode: bool) -> tuple[tuple[int, ...], np.ndarray | None]:
    """Return height and width of a picture and, if wanted, its pixels, uint8 [height, width].

    Raises what `picture_files.opened` and `picture_files.grey` raise.
    """
    with picture_files.opened(path) as image:
        return (image.height, image.width), picture_files.grey(image) if decode else None


# --- What the user should know ---


def _note_remarks(folder: Path, found: _Files, numbers: dict[str, int], images: np.ndarray) -> None:
    if not found.pictures[0].half:
        note(
            f"{folder}: no train and test, so of each class one picture in {TEST_SHARE}, chosen by "
            "its name, is for test only"
        )
    if any(name != str(number) for name, number in numbers.items()):
        ordered = sorted(numbers, key=lambda name: numbers[name])
        names = ", ".join(f"{numbers[name]} is {name}" for name in ordered)
        note(f"{folder}: the classes are numbered: {names}")
    if found.others:
        note(f"{folder}: passed over, {len(found.others)} in all: {_first(found.others)}")
    blank = np.flatnonzero(images.min(axis=(1, 2)) == images.max(axis=(1, 2)))
    if len(blank):
        paths = [found.pictures[index].path for index in blank]
        note(f"{folder}: of one shade all over, {len(blank)} in all: {_first(paths)}")
    rims = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    is_bright = np.concatenate(rims, axis=1).mean(axis=1) > 127
    if is_bright.mean() > 0.5:
        note(
            f"{folder}: most pictures have a bright border, as paper has; MNIST's paper is black "
            "(0), its ink white (255). They are learned as they are; --augment fills in with black"
        )


def _first(texts: Sequence[str]) -> str:
    """Return the first of them as text, and that there are more."""
    more = len(texts) - NAMED
    return ", ".join(texts[:NAMED]) + (f" and {more} more" if more > 0 else "")
