"""Read picture files safely, whatever their format, size and mode.

Pillow tries the formats of `FORMATS` only, a file that claims more than `MOST_PIXELS` is refused
before memory is asked for, and a photo is turned upright by its Exif tag.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from mnist.idx import size_text

# Pillow tries no other format than these, whatever the name: some run programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
# 4096x4096. A small file can claim any size, and would be given the memory for it.
MOST_PIXELS = 1 << 24


@contextmanager
def opened(
    file: str | os.PathLike[str] | IO[bytes], most_pixels: int = MOST_PIXELS
) -> Iterator[Image.Image]:
    """Open a picture, turned upright if it is a JPEG; its pixels are read when they are used.

    Raises whatever Pillow raises, and ValueError for one too large; see `why`.
    """
    with warnings.catch_warnings():
        # A picture is either read or an error.
        warnings.simplefilter("ignore")
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > most_pixels:
                found = size_text((image.height, image.width))
                raise ValueError(f"{found} pixels, more than {most_pixels}")
            yield ImageOps.exif_transpose(image) if image.format == "JPEG" else image


def grey(image: Image.Image) -> np.ndarray:
    """Return a picture's shades, uint8 [height, width]; raise ValueError if the mode has none.

    Colour becomes grey as in Pillow's mode L (ITU-R 601-2), what is transparent becomes white, and
    16 bits become 8.
    """
    if has_many_bits(image):
        return shades_of_many_bits(image)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return np.asarray(image.convert("L"))


def has_many_bits(image: Image.Image) -> bool:
    """Return whether a pixel is one number of more than eight bits."""
    return image.mode.startswith("I") or image.mode == "F"


def shades_of_many_bits(image: Image.Image) -> np.ndarray:
    """Return the shades of such a picture, uint8; raise ValueError if its white is unknown."""
    # Of these two formats, 16 bits are in mode I in some versions of Pillow.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        shades = np.asarray(image).astype(np.int64)
        shades[shades == image.info.get("transparency", -1)] = 65535
        return ((shades + 128) // 257).astype(np.uint8)
    raise ValueError(f"pixels of 32 bits, mode {image.mode}: their white is unknown")


def why(error: Exception, path: object) -> str:
    """Return in a few words why a picture can't be read."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "no picture"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).replace(str(path), "it").split("\n")
    return lines[0] or type(error).__name__
