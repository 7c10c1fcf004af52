"""The pictures that a command is given: files, folders, IDX files, standard input."""

import io
import math
import os
import pathlib
import stat
import struct
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image

from console.errors import InputError
from mnist import idx, picture_files

STANDARD_INPUT = "-"
# A picture of MOST_PIXELS in three colours is not longer, even uncompressed.
MOST_BYTES = 64 << 20
# Of an IDX file, decompressed: over a million images of MNIST's size.
MOST_IDX_BYTES = 1 << 30


class Source(NamedTuple):
    """A picture that has not been read yet, or what is wrong with its place."""

    name: str
    read: Callable[[], Image.Image]


class Unreadable(Exception):
    """A picture that can't be read; the message says why in a few words."""


def sources_of(arguments: Sequence[str]) -> list[Source]:
    """Returns the pictures that arguments name, in their order, those of a folder by name.

    Nothing fails here: what can't be read raises `Unreadable` when it is read.
    """
    found: list[Source] = []
    for argument in arguments:
        if argument == STANDARD_INPUT:
            found.append(Source("standard input", _read_standard_input))
        elif os.path.isdir(argument):
            found += _in_folder(argument)
        elif _is_idx(argument):
            found += _in_idx(argument)
        else:
            found.append(_file(argument))
    return found


def _failing(name: str, why: str) -> Source:
    def read() -> Image.Image:
        raise Unreadable(why)

    return Source(name, read)


def _file(path: str) -> Source:
    return Source(path, lambda: _read_file(path))


def _in_folder(folder: str) -> list[Source]:
    """Returns the pictures in a folder and in those below, but not what is hidden."""
    paths = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [
            os.path.join(where, name)
            for name in sorted(names)
            if name.lower().endswith(picture_files.SUFFIXES) and not name.startswith(".")
        ]
    return [_file(path) for path in paths] or [_failing(folder, "a folder without pictures")]


def _is_idx(path: str) -> bool:
    name = pathlib.Path(path).name.removesuffix(".gz")
    return name.endswith(("idx3-ubyte", ".idx3", ".idx")) and os.path.isfile(path)


def _in_idx(path: str) -> list[Source]:
    try:
        with idx.open_decompressed(path) as stream:
            header = stream.read(16)
        if math.prod(struct.unpack(">3I", header[4:])) > MOST_IDX_BYTES:
            return [_failing(path, f"more than {MOST_IDX_BYTES >> 20} MiB of images")]
        images = idx.read_images(path)
    except InputError as error:
        return [_failing(path, str(error).removeprefix(f"{path}: "))]
    except struct.error:
        return [_failing(path, "no IDX file: it ends within the header")]
    return [
        Source(f"{path}[{number}]", lambda image=image: Image.fromarray(image))  # type: ignore[misc]
        for number, image in enumerate(images)
    ]


def _read_file(path: str) -> Image.Image:
    try:
        # A pipe with such a name might never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable("neither a file nor a folder")
        with open(path, "rb") as file:
            return decoded(file.read(MOST_BYTES + 1), path)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error


def _read_standard_input() -> Image.Image:
    try:
        return decoded(sys.stdin.buffer.read(MOST_BYTES + 1), "standard input")
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error


def decoded(content: bytes, name: str) -> Image.Image:
    """Returns the picture in a file's content, its pixels read; or raises `Unreadable`."""
    if len(content) > MOST_BYTES:
        raise Unreadable(f"more than {MOST_BYTES >> 20} MiB")
    if not content:
        raise Unreadable("empty")
    try:
        with picture_files.opened(io.BytesIO(content)) as picture:
            picture.load()
            return picture.copy()
    except Exception as error:  # Pillow's decoders raise anything; it is reported.
        raise Unreadable(picture_files.why(error, name)) from error
