"""A picture that shows what the network saw beside what it was given."""

import io
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from console import files
from mnist import picture_files

# Pixels of a thumbnail's side, of the space around it, and of a line of text.
SIDE, SPACE, TEXT = 112, 8, 14
COLUMNS = 4
# More would not be looked at, and would not fit into a picture.
MOST = 400
BACKGROUND, INK = (90, 100, 120), (255, 255, 255)


class Shown(NamedTuple):
    """One picture of the sheet."""

    thumbnail: Image.Image
    images: np.ndarray  # uint8 [n, 28, 28]: what the network saw
    line: str


def thumbnail(picture: Image.Image) -> Image.Image:
    """Returns a picture's copy that fits into the sheet, with what is transparent white."""
    if picture_files.has_many_bits(picture):
        picture = Image.fromarray(picture_files.shades_of_many_bits(picture))
    small = picture.convert("RGBA")
    scale = SIDE / max(small.size)
    size = [max(1, round(side * scale)) for side in small.size]
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    small = small.resize(size, way)
    return Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")


def write(path: str, shown: Sequence[Shown]) -> None:
    """Writes the sheet as PNG.

    Raises:
        CommandError: it can't be written.
    """
    cell = (2 * SIDE + 2 * SPACE, SIDE + 2 * TEXT + SPACE)
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * cell[0] + SPACE, rows * cell[1] + SPACE), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, one in enumerate(shown):
        left = SPACE + index % columns * cell[0]
        top = SPACE + index // columns * cell[1]
        sheet.paste(one.thumbnail, (left, top))
        _paste_seen(sheet, one.images, left + SIDE + SPACE // 2, top)
        name, _, answer = one.line.rpartition(": ")
        name, _, kind = name.partition(": ")
        draw.text((left, top + SIDE), pathlib.Path(name).name[-36:], INK)
        draw.text((left, top + SIDE + TEXT), f"{kind} {answer}".strip()[:36], INK)
    content = io.BytesIO()
    sheet.save(content, "PNG")
    files.write_bytes(pathlib.Path(path), content.getvalue())


def _paste_seen(sheet: Image.Image, images: np.ndarray, left: int, top: int) -> None:
    """Pastes what the network saw; several digits side by side, and smaller."""
    if not len(images):
        return
    across = int(np.ceil(np.sqrt(len(images))))
    side = SIDE // across
    for index, image in enumerate(images):
        seen = Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(seen, (left + index % across * side, top + index // across * side))
