"""From a picture of a digit, of any kind, to an image as MNIST has them."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from prediction import form, ink, pieces

# What a picture may show.
ONE, NONE, SEVERAL = "one digit", "no digit", "several digits"
# Frames that may be within each other, such as a window's, a plot's and a picture's in it.
MOST_FRAMES = 3
# Marks beside a digit that are not tiny; more are a text or a plot.
MOST_OTHERS = 5


class Prepared(NamedTuple):
    """What was found in a picture."""

    found: str  # ONE, NONE or SEVERAL
    images: np.ndarray  # uint8 [n, 28, 28]: the digits from left to right; none of NONE
    why: str  # what made it NONE or SEVERAL, for the person who drew it; else empty


def to_mnist(picture: Image.Image) -> Prepared:
    """Finds the digits in a picture, and brings each to the form of MNIST's images.

    The steps, each from its own module:

    1. A picture that has MNIST's form already is left as it is (`form.if_mnist_like`).
    2. Paper and light are taken out, which leaves ink (`ink.ink_of`).
    3. Ink is divided into connected pieces; those of one digit are put together, and frames
       are looked into (`pieces.layout_of`).
    4. Each digit is scaled into a box of 20x20 pixels, its strokes made as wide as MNIST's, and
       centred by its mass in 28x28 pixels (`form.normalize`).

    Args:
        picture: of any size and mode, turned upright, such as from `mnist.picture_files.opened`.

    Raises:
        ValueError: the picture has 32 bits a pixel, so its white is unknown.
    """
    return from_colours(ink.colours_of(picture))


def from_colours(colours: np.ndarray) -> Prepared:
    """The same for colours, float32 [height, width, 3] from 0 to 1."""
    as_it_is = form.if_mnist_like(colours)
    if as_it_is is not None:
        return Prepared(ONE, as_it_is[None], "")
    return _prepared(_masks(colours))


def _prepared(masks: list[np.ndarray]) -> Prepared:
    objections = [form.objection(mask) for mask in masks]
    sound = [mask for mask, problem in zip(masks, objections, strict=True) if not problem]
    images = np.zeros((len(sound), form.FIELD, form.FIELD), np.uint8)
    for index, mask in enumerate(sound):
        images[index] = form.normalize(mask)
    if not sound:
        return Prepared(NONE, images, objections[0] if objections else "no ink")
    if len(sound) > 1:
        return Prepared(SEVERAL, images, f"{len(sound)} side by side")
    return Prepared(ONE, images, "")


def _masks(colours: np.ndarray, depth: int = 0) -> list[np.ndarray]:
    """Returns where the ink of each digit is, looking into frames first; see `form.fine`."""
    layout = pieces.layout_of(ink.ink_of(colours))
    if layout.panel is not None and depth < MOST_FRAMES:
        inside = _masks(colours[layout.panel], depth + 1)
        if any(not form.objection(mask) for mask in inside):
            return inside
    if layout.others > MOST_OTHERS:
        return []
    return [form.with_pen_of_mnist(form.fine(digit)) for digit in layout.digits]
