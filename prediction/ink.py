"""Ink on paper: how much ink each pixel of a picture has, whatever the colours and the light.

A drawing made on a screen has paper of one colour; ink is the distance from that colour. A photo's
paper changes from place to place with light and shadow; there, ink is what is thinner than a pen's
stroke could be and darker than its surroundings (a black top-hat, Meyer 1979), or lighter, as chalk
is.
"""

import numpy as np
from PIL import Image

from mnist import picture_files
from prediction import pieces

# Larger pictures are reduced to this many pixels on their longer side before ink is looked for.
LONGEST = 640
# The share of pixels of one colour from which on it may be the paper of a drawing.
FLAT_SHARE = 0.3
# How far, of 1, a pixel may be from the paper's colour and still be paper.
NEAR = 0.06
# How far shades of the paper reach, where light and shadow make them.
SHADES = 0.3
# Light that no camera tells from none, of 1.
DARKEST = 0.05


def colours_of(picture: Image.Image) -> np.ndarray:
    """Returns a picture's colours, float32 [height, width, 3] from 0 to 1, at most `LONGEST` long.

    What is transparent becomes paper: white, or black if the drawing itself is light.

    Raises:
        ValueError: the picture's white is unknown, as in a mode of 32 bits.
    """
    if picture_files.has_many_bits(picture):
        picture = Image.fromarray(picture_files.shades_of_many_bits(picture))
    picture = _without_transparency(picture)
    longest = max(picture.size)
    if longest > LONGEST:
        size = [max(1, round(side * LONGEST / longest)) for side in picture.size]
        picture = picture.resize(size, Image.Resampling.BOX)
    return np.asarray(picture, np.float32) / 255


def _without_transparency(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    box = picture.getchannel("A").getbbox()
    if box is None:
        return Image.new("RGB", picture.size, "white")
    if np.asarray(picture.crop(box))[..., 3].min() == 255:  # a smaller picture on nothing
        return picture.crop(box).convert("RGB")
    pixels = np.asarray(picture, np.float32)
    weights = pixels[..., 3]
    is_light = (pixels[..., :3].mean(axis=2) * weights).sum() > 127 * weights.sum()
    is_drawing = weights.mean() < 0.75 * 255
    paper = "black" if is_light and is_drawing else "white"
    return Image.alpha_composite(Image.new("RGBA", picture.size, paper), picture).convert("RGB")


def ink_of(colours: np.ndarray) -> np.ndarray:
    """Returns the ink, float32 [height, width]: 0 for paper, about 1 for strong strokes."""
    paper = _paper(colours)
    if paper is None:
        return _ink_in_light(colours)
    return _stretched(np.abs(colours - paper).max(axis=2))


def _paper(colours: np.ndarray) -> np.ndarray | None:
    """Returns the colour of a drawing's paper, float32 [3], or None if it is of many shades."""
    pixels = colours.reshape(-1, 3)
    levels = np.round(pixels * 15).astype(np.int64) @ (256, 16, 1)
    counts = np.bincount(levels, minlength=4096)
    best, likeness = None, 0.0
    for level in np.argsort(-counts)[:4]:
        if counts[level] == 0:
            break
        colour = np.median(pixels[levels == level], axis=0)
        is_near = np.abs(colours - colour).max(axis=2) < NEAR
        if is_near.mean() >= FLAT_SHARE and _likeness_to_paper(is_near) > likeness:
            best, likeness = colour, _likeness_to_paper(is_near)
    return None if best is None or _is_shaded(colours, best) else best


def _is_shaded(colours: np.ndarray, paper: np.ndarray) -> bool:
    """Returns whether the paper at the picture's border is of shades near this colour."""
    border = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
    distance = np.abs(border - paper).max(axis=1)
    return bool(((distance > NEAR) & (distance < SHADES)).mean() > 0.2)


def _likeness_to_paper(is_near: np.ndarray) -> float:
    """Paper fills more than half of the picture, of its border, and its corners."""
    border = np.concatenate([is_near[0], is_near[-1], is_near[:, 0], is_near[:, -1]])
    corners = is_near[[0, 0, -1, -1], [0, -1, 0, -1]]
    return is_near.mean() + border.mean() + corners.mean()


def _stretched(ink: np.ndarray) -> np.ndarray:
    """Returns ink with its strong strokes at 1."""
    level = strength(ink)
    return np.clip(ink / level, 0, 1.5) if level > 0 else ink


def strength(ink: np.ndarray) -> float:
    """Returns how strong the strokes are: the mean of what is above half of that mean."""
    level = float(ink.max())
    for _ in range(10):
        above = ink[ink > level / 2]
        if not len(above):
            return 0.0
        level = float(above.mean())
    return level


def _ink_in_light(colours: np.ndarray) -> np.ndarray:
    height, width, _ = colours.shape
    # In each colour by itself there is more of a camera's noise, and of a table's.
    light = colours.mean(axis=2)
    if max(height, width) >= 100:
        light = _blurred(light, max(1, round(max(height, width) / 400)))
    window = max(5, round(min(height, width) / 6))
    # Strokes are few and far from the mean around them; the paper is much and near it, and the two
    # sides of a shadow's edge are equally far, in the logarithm of the light.
    level = np.log(light + DARKEST)
    is_light = ((level - _blurred(level, window)) ** 3).mean() > 0
    ink = _top_hat(1 - light if is_light else light, window)
    return _without_surroundings(_stretched(ink))


def _without_surroundings(ink: np.ndarray) -> np.ndarray:
    """Returns ink without what reaches into the picture, such as a table beside the paper."""
    labels, found = pieces.label(ink > pieces.THRESHOLD)
    height, width = ink.shape
    touching = [
        piece
        for piece in found
        if piece.top == 0 or piece.left == 0 or piece.bottom == height or piece.right == width
    ]
    largest = max((piece.size for piece in found if piece not in touching), default=0)
    if largest < 0.15 * min(height, width):
        return ink
    is_outside = np.isin(labels, [piece.number for piece in touching])
    return np.where(is_outside, 0, ink)


def _top_hat(light: np.ndarray, window: int) -> np.ndarray:
    """Returns how much darker than its surroundings each pixel is, as a share of their light."""
    paper = running(running(light, window, np.maximum), window, np.minimum)
    darker = (paper - light) / np.maximum(paper, 0.2)
    # Noise raises the surroundings everywhere.
    middle = np.median(darker)
    spread = np.median(np.abs(darker - middle)) * 1.4826
    return np.maximum(darker - middle - 2 * spread, 0)


def _blurred(light: np.ndarray, radius: int) -> np.ndarray:
    size = 2 * radius + 1
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius + 1, radius)
        sums = np.pad(light, pad, "edge").cumsum(axis=axis, dtype=np.float64)
        n = light.shape[axis]
        upper = np.take(sums, range(size, size + n), axis)
        light = ((upper - np.take(sums, range(n), axis)) / size).astype(np.float32)
    return light


def running(values: np.ndarray, window: int, pick: np.ufunc) -> np.ndarray:
    """Returns the running maximum or minimum of [height, width] in a square window."""
    half = window // 2
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (half, half)
        padded = np.pad(values, pad, "edge")
        length = values.shape[axis]
        reached, widest = 1, padded
        while reached < 2 * half + 1:
            step = min(reached, 2 * half + 1 - reached)
            n = widest.shape[axis] - step
            widest = pick(
                np.take(widest, range(n), axis), np.take(widest, range(step, step + n), axis)
            )
            reached += step
        values = np.take(widest, range(length), axis)
    return values
