"""Read IDX files, the format in which MNIST is published, raw or gzip-compressed.

IDX is a big-endian header followed by unsigned bytes, as described at
http://yann.lecun.com/exdb/mnist:

    images: magic 0x00000803, count, rows, columns (uint32 each), then the pixels
    labels: magic 0x00000801, count (uint32 each), then the labels

A training run on half a data set looks like any other, so nothing is repaired here: a file is
read whole and exactly as its header describes it, or not at all.
"""

import gzip
import io
import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from console.errors import InputError

StrPath = str | os.PathLike[str]

# The types that an IDX file can have, by the third byte of its magic number.
TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}
GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 20


class _Kind(NamedTuple):
    """What the header of one kind of IDX file must contain."""

    name: str
    magic: int
    item_rank: int  # how many sizes follow the count: rows and columns, or none


_IMAGES = _Kind("images", 0x00000803, 2)
_LABELS = _Kind("labels", 0x00000801, 0)


def read_images(path: StrPath) -> np.ndarray:
    """Read the images of one IDX file.

    Returns a contiguous, read-only uint8 array [n, rows, columns], none of them 0: 0 is the
    background and 255 the ink, row 0 is the top of the image. Raises InputError, in one line that
    names the file, if it cannot be read or is anything but a complete file of images.
    """
    return _read(path, _IMAGES)


def read_labels(path: StrPath) -> np.ndarray:
    """Read the labels of one IDX file.

    Returns a contiguous, read-only uint8 array [n], n >= 1. Raises InputError, in one line that
    names the file, if it cannot be read or is anything but a complete file of labels.
    """
    return _read(path, _LABELS)


def read_pair(images_path: StrPath, labels_path: StrPath) -> tuple[np.ndarray, np.ndarray]:
    """Read images and their labels.

    Returns uint8 [n, rows, columns] and uint8 [n] as `read_images` and `read_labels` do. Raises
    InputError as they do, and if the two files differ in n.
    """
    images = read_images(images_path)
    labels = read_labels(labels_path)
    if len(images) != len(labels):
        raise InputError(
            f"{labels_path}: expected {len(images)} labels, one for each image in {images_path}, "
            f"found {len(labels)}"
        )
    return images, labels


def size_text(sizes: Iterable[int]) -> str:
    """Return height and width as text, such as 28x28."""
    return "x".join(map(str, sizes))


@contextmanager
def open_decompressed(path: StrPath) -> Iterator[io.BufferedIOBase]:
    """Open a raw or gzip file as a stream of its decompressed bytes.

    The content decides, not the name: browsers and archive tools decompress a file and keep the
    `.gz`. Reading to the end also verifies the gzip checksum and that nothing but zero padding,
    which gzip itself allows, follows the compressed data. Every failure to open, read or
    decompress inside the `with` block raises InputError, in one line that names the file.
    """
    # Opening a named pipe would wait for a writer, perhaps forever.
    if os.path.exists(path) and not os.path.isfile(path):
        found = "a directory" if os.path.isdir(path) else "a device or a pipe"
        raise InputError(f"{path}: expected a file, found {found}")
    try:
        with open(path, "rb") as raw:
            is_gzip = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            raw.seek(0)
            if is_gzip:
                with gzip.GzipFile(fileobj=raw) as decompressed:
                    yield decompressed
            else:
                yield raw
    except EOFError as error:
        raise InputError(
            f"{path}: expected a complete gzip file, found that it is cut off"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path}: expected an intact gzip file and nothing after it, found damage: {error}"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: expected a readable file, found: {error.strerror or error}"
        ) from error


def chunks(stream: io.BufferedIOBase, limit: int) -> Iterator[bytes]:
    """Yield the next bytes of a stream piece by piece, until it ends or `limit` bytes are read.

    The pieces are small whatever the limit, so that memory use follows the bytes that really exist
    and not the size that a header claims.
    """
    while limit > 0 and (piece := stream.read(min(limit, CHUNK_BYTES))):
        limit -= len(piece)
        yield piece


def _read(path: StrPath, kind: _Kind) -> np.ndarray:
    """Read a file of one kind into a read-only uint8 array [count, *sizes of an item]."""
    with open_decompressed(path) as stream:
        shape = _read_shape(path, stream, kind)
        size = math.prod(shape)
        # One extra byte distinguishes a longer file from an exact one, without reading it all.
        body = _read_up_to(stream, size + 1)
    if len(body) != size:
        found = "more" if len(body) > size else f"only {len(body)}"
        raise InputError(
            f"{path}: expected {size} bytes after the header, which announces {shape[0]} "
            f"{kind.name}, found {found}"
        )
    # The array is a view of `body`, and read-only so that it can be shared safely.
    array = np.frombuffer(body, np.uint8).reshape(shape)
    array.flags.writeable = False
    return array


def _read_shape(path: StrPath, stream: io.BufferedIOBase, kind: _Kind) -> tuple[int, ...]:
    """Check the header and return the shape that it announces: a count, and an item's sizes."""
    _check_magic(path, _read_header(path, stream, 1)[0], kind)
    count, *item_shape = _read_header(path, stream, 1 + kind.item_rank)
    if count == 0:
        raise InputError(f"{path}: expected at least one of its {kind.name}, found a count of 0")
    if 0 in item_shape:
        raise InputError(f"{path}: expected {kind.name} with pixels, found {size_text(item_shape)}")
    return count, *item_shape


def _check_magic(path: StrPath, magic: int, kind: _Kind) -> None:
    """Raise InputError unless the magic number is that of the expected kind."""
    if magic == kind.magic:
        return
    raise InputError(
        f"{path}: expected a file of {kind.name} (magic number 0x{kind.magic:08x}), "
        f"found 0x{magic:08x}: {_meaning(magic)}"
    )


def _meaning(magic: int) -> str:
    """Return what a magic number stands for: two zero bytes, the type of the values, their rank."""
    for kind in (_IMAGES, _LABELS):
        if magic == kind.magic:
            return f"a file of {kind.name}; are the two files swapped?"
    zeros, dtype, rank = magic >> 16, magic >> 8 & 0xFF, magic & 0xFF
    if zeros == 0 and dtype in TYPES:
        return f"IDX values of type {TYPES[dtype]} and rank {rank}"
    little_endian = int.from_bytes(magic.to_bytes(4, "big"), "little")
    if little_endian in (_IMAGES.magic, _LABELS.magic):
        return "a little-endian header, where IDX files are big-endian"
    return "not an IDX file of MNIST"


def _read_header(path: StrPath, stream: io.BufferedIOBase, words: int) -> tuple[int, ...]:
    """Read the next uint32 words of the header."""
    header = _read_up_to(stream, 4 * words)
    if len(header) < 4 * words:
        raise InputError(
            f"{path}: expected an IDX header, found the end of the file after {stream.tell()} bytes"
        )
    return struct.unpack(f">{words}I", header)


def _read_up_to(stream: io.BufferedIOBase, limit: int) -> bytearray:
    """Read `limit` bytes, or fewer where the stream ends."""
    data = bytearray()
    for piece in chunks(stream, limit):
        data += piece
    return data
