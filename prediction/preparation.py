"""From a picture of a digit, of any kind, to an image as MNIST has them."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from prediction import form, ink, pieces

# What a picture may show.
ONE, NONE, SEVERAL = "one digit", "no digit", "several digits"


class Prepared(NamedTuple):
    """What was found in a picture."""

    found: str  # ONE, NONE or SEVERAL
    images: np.ndarray  # uint8 [n, 28, 28]: the digits from left to right; none of NONE
    why: str  # what made it NONE or SEVERAL, for the person who drew it; else empty


def to_mnist(picture: Image.Image) -> Prepared:
    """Finds the digits in a picture, and brings each to the form of MNIST's images.

    The steps, each from its own module:

    1. A picture that has MNIST's form already is left as it is (`form.if_mnist_like`).
    2. Paper and light are taken out, which leaves ink (`ink.inks`).
    3. Ink is divided into connected pieces; those of one digit are put together, and what no pen
       made is left out (`pieces.digits_in`).
    4. Each digit is scaled into a box of 20x20 pixels, its strokes made as wide as MNIST's, and
       centred by its mass in 28x28 pixels (`form.normalize`).

    Args:
        picture: of any size and mode, turned upright, such as from `mnist.picture_files.opened`.

    Raises:
        ValueError: the picture has 32 bits a pixel, so its white is unknown.
    """
    colours = ink.colours_of(picture)
    as_it_is = form.if_mnist_like(_as_picture(colours, picture))
    if as_it_is is not None:
        return Prepared(ONE, as_it_is[None], "")
    found: list[np.ndarray] = []
    for possible in ink.inks(colours):
        found = pieces.digits_in(possible)
        break
    images = [form.normalize(digit) for digit in found]
    if not images:
        return Prepared(NONE, np.zeros((0, form.FIELD, form.FIELD), np.uint8), "no ink")
    if len(images) > 1:
        return Prepared(SEVERAL, np.stack(images), f"{len(images)} separate pieces of ink")
    return Prepared(ONE, np.stack(images), "")


def _as_picture(colours: np.ndarray, picture: Image.Image) -> Image.Image:
    return Image.fromarray((colours * 255).round().astype(np.uint8))
