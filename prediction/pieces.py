"""The connected pieces of ink in a picture, and which of them belong to one digit."""

from typing import NamedTuple

import numpy as np

# Ink that is weaker than this share of the strokes is paper.
THRESHOLD = 0.4
# Of more pieces, the largest are looked at: no digit has as many.
MOST_PIECES = 40


class Piece(NamedTuple):
    """Connected ink."""

    number: int  # in the array of labels
    area: int  # pixels
    top: int
    bottom: int  # one below the last row
    left: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def size(self) -> int:
        """The longer side."""
        return max(self.height, self.width)


def label(mask: np.ndarray) -> tuple[np.ndarray, list[Piece]]:
    """Finds the pieces that touch at sides or corners.

    Returns int32 [height, width], 0 where there is no ink, and the pieces, numbered from 1.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    rows, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    _, ends = np.nonzero(np.diff(padded, axis=1) == -1)
    if not len(rows):
        return np.zeros(mask.shape, np.int32), []
    # Runs of one row and the next touch if they overlap when one of them is a pixel wider.
    stride = width + 2
    first = np.searchsorted(rows * stride + ends, (rows - 1) * stride + starts, "left")
    last = np.searchsorted(rows * stride + starts, (rows - 1) * stride + ends, "right")
    counts = np.maximum(last - first, 0)
    below = np.repeat(np.arange(len(rows)), counts)
    offsets = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    above = np.repeat(first, counts) + offsets
    parents = np.arange(len(rows))
    while True:
        lower = np.minimum(parents[below], parents[above])
        before = parents.copy()
        np.minimum.at(parents, before[below], lower)
        np.minimum.at(parents, before[above], lower)
        parents = parents[parents]
        if np.array_equal(parents, before):
            break
    roots, numbers = np.unique(parents, return_inverse=True)
    count = len(roots)
    areas = np.bincount(numbers, ends - starts, count).astype(int)
    tops, lefts = np.full(count, height), np.full(count, width)
    bottoms, rights = np.zeros(count, int), np.zeros(count, int)
    np.minimum.at(tops, numbers, rows)
    np.maximum.at(bottoms, numbers, rows + 1)
    np.minimum.at(lefts, numbers, starts)
    np.maximum.at(rights, numbers, ends)
    marks = np.zeros((height, width + 1), np.int32)
    np.add.at(marks, (rows, starts), numbers + 1)
    np.add.at(marks, (rows, ends), -(numbers + 1))
    labels = marks.cumsum(axis=1, dtype=np.int32)[:, :-1]
    table = zip(areas, tops, bottoms, lefts, rights, strict=True)
    return labels, [Piece(k + 1, *map(int, row)) for k, row in enumerate(table)]


class Layout(NamedTuple):
    """What a picture's ink is made of."""

    digits: list[np.ndarray]  # the ink of each alone, from left to right, cropped
    panel: tuple[slice, slice] | None  # rows and columns of a frame's inside, to look at first
    others: int  # pieces that are in no digit, and not tiny beside them


def layout_of(ink: np.ndarray) -> Layout:
    """Finds the digits in a picture's ink, and the frame in which they may be instead.

    Args:
        ink: float32 [height, width], 0 for paper and about 1 for strong strokes.
    """
    labels, found = label(ink > THRESHOLD)
    found = sorted(found, key=lambda piece: -piece.area)[:MOST_PIECES]
    panels = [panel for panel in (_panel(labels, piece) for piece in found) if panel is not None]
    largest = max((piece.size for piece in found), default=0)
    found = [piece for piece in found if piece.size > 0.05 * largest and piece.area > 2]
    found = [piece for piece in found if not _is_rule(piece, ink.shape)] or found
    groups = [group for group in _joined(found) if _ink_of(ink, labels, group).max() > 0.5]
    tallest = max((_box(group).height for group in groups), default=0)
    digits = [group for group in groups if _box(group).height > 0.5 * tallest]
    digits.sort(key=lambda group: _box(group).left)
    inks = [_ink_of(ink, labels, group) for group in digits]
    others = sum(_box(group).size > 0.1 * largest for group in groups) - len(digits)
    return Layout(inks, panels[0] if len(panels) == 1 else None, others)


def _panel(labels: np.ndarray, piece: Piece) -> tuple[slice, slice] | None:
    """Returns the inside of a piece that is a frame, or a plate with a digit on it."""
    if min(piece.height, piece.width) < max(16, 0.1 * min(labels.shape)):
        return None
    mask = labels[piece.top : piece.bottom, piece.left : piece.right] == piece.number
    # The marks of a plot's axes stand out of it.
    rows = np.flatnonzero(mask.mean(axis=1) > 0.5)
    columns = np.flatnonzero(mask.mean(axis=0) > 0.5)
    if len(rows) < 2 or len(columns) < 2:
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    mask = mask[top:bottom, left:right]
    if min(mask.shape) < 0.8 * min(piece.height, piece.width) or not _fills_sides(mask):
        return None
    if mask.mean() > 0.9 or _has_strokes_left_out(mask):  # a plate
        margins = [2, 2, 2, 2]
    else:
        margins = [
            _thickness(shares) + 1
            for along in (mask.mean(axis=1), mask.mean(axis=0))
            for shares in (along, along[::-1])
        ]
    top, bottom = piece.top + top + margins[0], piece.top + bottom - margins[1]
    left, right = piece.left + left + margins[2], piece.left + right - margins[3]
    if min(bottom - top, right - left) < 12:
        return None
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _thickness(shares: np.ndarray) -> int:
    """Returns how many rows from a frame's edge belong to it, given how much of each is ink."""
    return int(np.argmin(shares > 0.5))


def _has_strokes_left_out(mask: np.ndarray) -> bool:
    """Returns whether strokes are left out of a plate, which the hole of a thick 0 is not."""
    _, holes = label(~mask[2:-2, 2:-2])
    largest = max(holes, key=lambda hole: hole.area, default=None)
    if largest is None or largest.size < 0.2 * min(mask.shape):
        return False
    return largest.area < 0.5 * largest.size**2 and bool(mask.mean() > 0.6)


def _is_rule(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Returns whether this is a line across the paper, up to its edge."""
    height, width = shape
    at_edge = piece.left <= 1 or piece.right >= width - 1
    is_across = piece.width > 8 * piece.height and (at_edge or piece.width > 0.6 * width)
    up_to_edge = piece.top <= 1 and piece.bottom >= height - 1
    at_side = piece.left <= 1 or piece.right >= width - 1
    return is_across or (up_to_edge and at_side and piece.height > 8 * piece.width)


def _fills_sides(mask: np.ndarray) -> bool:
    """Returns whether all four sides of a piece's box are covered, as a rectangle's are."""
    margin = max(1, round(0.04 * min(mask.shape)))
    sides = [
        mask[:margin].any(axis=0).mean(),
        mask[-margin:].any(axis=0).mean(),
        mask[:, :margin].any(axis=1).mean(),
        mask[:, -margin:].any(axis=1).mean(),
    ]
    return min(sides) > 0.9


def _box(group: list[Piece]) -> Piece:
    return Piece(
        0,
        sum(piece.area for piece in group),
        min(piece.top for piece in group),
        max(piece.bottom for piece in group),
        min(piece.left for piece in group),
        max(piece.right for piece in group),
    )


def _joined(found: list[Piece]) -> list[list[Piece]]:
    """Puts together the pieces that belong to one digit; returns these groups."""
    groups: list[list[Piece]] = []
    for piece in sorted(found, key=lambda piece: -piece.size):
        near = [group for group in groups if _belong_together(_box(group), piece)]
        groups = [group for group in groups if all(group is not other for other in near)]
        groups.append([*(member for group in near for member in group), piece])
    return groups


def _belong_together(large: Piece, small: Piece) -> bool:
    across = min(large.right, small.right) - max(large.left, small.left)
    along = min(large.bottom, small.bottom) - max(large.top, small.top)
    size = max(large.size, small.size)
    if across > 0.2 * small.width and along > 0.2 * small.height:
        return True
    if across >= 0.5 * min(large.width, small.width) and -along < 0.2 * size:
        return True
    return along >= 0.5 * small.height and -across < 0.12 * size and small.height < 0.5 * size


def _ink_of(ink: np.ndarray, labels: np.ndarray, group: list[Piece]) -> np.ndarray:
    box = _box(group)
    part = slice(box.top, box.bottom), slice(box.left, box.right)
    belongs = np.isin(labels[part], [piece.number for piece in group])
    return np.where(belongs, ink[part], 0)
