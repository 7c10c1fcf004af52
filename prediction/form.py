"""MNIST's form (LeCun et al. 1998, "Gradient-based learning applied to document recognition").

The ink's longer side is 20 pixels, its centre of mass is in the middle of 28x28 pixels, ink is 255
and paper 0, and strokes are as wide as those of the pens that wrote MNIST.
"""

import numpy as np
from PIL import Image

from prediction import pieces

FIELD = 28
BOX = 20
# Pixels of the enlarged digit for one of the result's.
FINE = 8
# Of MNIST's strokes, measured as `stroke_width` does, 8 of 10 are between these widths, in pixels.
THINNEST, WIDEST = 2.0, 3.7
# All are between the first two; of a larger picture, a drawing has thinner or wider ones as likely.
WIDTHS = (0.5, 8.0)
WIDTHS_IF_REDUCED = (1.2, 5.5)
# A pixel of MNIST's with less is hardly ink; noise of a JPEG is below it.
FAINT = 32
# Of MNIST's ink, at least this share is neither paper nor full ink; of a drawing without
# anti-aliasing, nothing is.
LEAST_GREY = 0.1
# What no digit has, in MNIST's form: strokes wider than this; more holes or parts than these.
MOST_WIDTH = 5.0
MOST_HOLES, MOST_PARTS = 3, 6
# Pixels of FINE from which on a hole or a part counts.
HOLE = 150


def if_mnist_like(colours: np.ndarray) -> np.ndarray | None:
    """Returns a picture as it is, uint8 [28, 28], if it has MNIST's form already.

    It may be inverted, enlarged, or shifted, which is undone.

    Args:
        colours: float32 [height, width, 3] from 0 to 1.
    """
    if colours.shape[0] != colours.shape[1] or len(colours) < FIELD:
        return None
    grey = Image.fromarray((colours * 255).round().astype(np.uint8)).convert("L")
    if grey.width != FIELD:
        grey = grey.resize((FIELD, FIELD), Image.Resampling.BOX)
    image = np.asarray(grey)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    if np.median(border) > 127:
        image, border = 255 - image, 255 - border
    is_ink = image > FAINT
    rows, columns = np.flatnonzero(is_ink.any(axis=1)), np.flatnonzero(is_ink.any(axis=0))
    if border.mean() > FAINT / 2 or image.max() < 200 or not len(rows):
        return None
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    is_grey = (image < 224)[is_ink].mean() > LEAST_GREY
    if not BOX - 2 <= side <= BOX:
        return None
    enlarged = Image.fromarray(image).resize((FIELD * FINE, FIELD * FINE), Image.Resampling.BICUBIC)
    width = stroke_width(np.asarray(enlarged) > 127) / FINE
    least, most = WIDTHS if len(colours) == FIELD else WIDTHS_IF_REDUCED
    if not (least <= width <= most and (is_grey or width >= THINNEST)):
        return None
    return _shifted(np.where(is_ink, image, 0), image)


def _shifted(ink: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Returns the image with the centre of the ink's mass at pixel (14, 14), by whole pixels."""
    index = np.arange(FIELD)
    mass = ink.sum()
    for axis in (0, 1):
        centre = (ink.sum(axis=1 - axis) @ index) / mass
        shift = FIELD / 2 - centre
        if abs(shift) > 0.6:
            image = np.roll(image, round(shift), axis)
    return image


def fine(ink: np.ndarray) -> np.ndarray:
    """Returns where a digit's ink is, bool [height, width], its longer side BOX * FINE pixels.

    Args:
        ink: float32 [height, width], 0 for paper and 1 for ink, with at least one pixel above 0.5.
    """
    ink = _cropped(ink, 0.5)
    scale = BOX * FINE / max(ink.shape)
    way = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX
    size = [round((side + 2) * scale) for side in ink.shape[::-1]]
    enlarged = np.asarray(Image.fromarray(np.pad(ink, 1)).resize(size, way))
    return enlarged > min(0.45, enlarged.max() / 2)


def normalize(mask: np.ndarray) -> np.ndarray:
    """Brings a digit, as `with_pen_of_mnist` returns it, to MNIST's form, uint8 [28, 28]."""
    return _centred(_fitted(mask))


def objection(mask: np.ndarray) -> str:
    """Returns why this is no digit that a pen wrote, or nothing.

    Args:
        mask: see `with_pen_of_mnist`.
    """
    height, width = _cropped(mask, 0).shape
    if width > 2.5 * height:
        return "a line across"
    if stroke_width(mask) * BOX / max(height, width) > MOST_WIDTH:
        return "a patch, no strokes"
    _, gaps = pieces.label(~np.pad(mask, 1))
    if sum(gap.area > HOLE for gap in gaps) - 1 > MOST_HOLES:
        return "more holes than a digit has"
    _, parts = pieces.label(mask)
    if sum(part.area > HOLE for part in parts) > MOST_PARTS:
        return "more parts than a digit has"
    return ""


def _cropped(values: np.ndarray, threshold: float) -> np.ndarray:
    mask = values > threshold
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def stroke_width(mask: np.ndarray) -> float:
    """Returns the mean width of the strokes in pixels: a long stroke's area by half its outline."""
    padded = np.pad(mask, 1)
    edges = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    # Edges of pixels are longer than the outline, by this factor on average over directions.
    return 2 * mask.sum() / (edges * np.pi / 4)


def with_pen_of_mnist(mask: np.ndarray) -> np.ndarray:
    """Returns a digit, see `fine`, with strokes widened or thinned if MNIST has none so wide."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    length = max(np.ptp(rows), np.ptp(columns)) + 1
    width = stroke_width(mask)
    wanted = np.clip(width * BOX / length, THINNEST, WIDEST)
    # After widening by r on both sides, (width + 2r) / (length + 2r) is wanted / BOX.
    radius = (wanted * length - BOX * width) / (2 * (BOX - wanted))
    if radius > 0.5:
        return distances(np.pad(mask, int(radius) + 2), radius) <= radius
    if radius < -0.5:
        thin = distances(~np.pad(mask, 1), -radius) > -radius
        if thin.any() and thin.sum() > 0.2 * mask.sum():
            return thin
    return mask


def distances(mask: np.ndarray, most: float) -> np.ndarray:
    """Returns each pixel's distance to the mask, exact up to `most`, larger beyond."""
    reach = int(most) + 1
    far = float(reach + 1) ** 2 * 2
    squares = np.where(mask, 0.0, far).astype(np.float32)
    for axis in (0, 1):
        best = squares.copy()
        for step in range(1, reach + 1):
            there = np.moveaxis(best, axis, 0)
            from_ = np.moveaxis(squares, axis, 0)
            np.minimum(there[step:], from_[:-step] + step**2, out=there[step:])
            np.minimum(there[:-step], from_[step:] + step**2, out=there[:-step])
        squares = best
    return np.sqrt(squares)


def _fitted(mask: np.ndarray) -> np.ndarray:
    """Returns the digit with its longer side BOX pixels long, float32 [height, width] to 255."""
    ink = _cropped(mask.astype(np.float32), 0.5)
    scale = BOX / max(ink.shape)
    size = [max(1, round(side * scale)) for side in ink.shape[::-1]]
    fitted = Image.fromarray(255 * ink).resize(size, Image.Resampling.BOX)
    return np.asarray(fitted)


def _centred(box: np.ndarray) -> np.ndarray:
    """Returns the box in a field, uint8 [28, 28], its centre of mass in the middle."""
    field = np.zeros((FIELD, FIELD), np.float32)
    corner = []
    for axis, side in enumerate(box.shape):
        centre = (box.sum(axis=1 - axis) @ np.arange(side)) / box.sum()
        corner.append(int(np.clip(round(FIELD / 2 - centre), 0, FIELD - side)))
    top, left = corner
    field[top : top + box.shape[0], left : left + box.shape[1]] = box
    return field.round().clip(0, 255).astype(np.uint8)
