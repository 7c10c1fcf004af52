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


def digits_in(ink: np.ndarray) -> list[np.ndarray]:
    """Finds the digits in a picture's ink.

    Args:
        ink: float32 [height, width], 0 for paper and about 1 for strong strokes.

    Returns the ink of each digit alone, from left to right, cropped.
    """
    labels, found = label(ink > THRESHOLD)
    if not found:
        return []
    found = sorted(found, key=lambda piece: -piece.area)[:MOST_PIECES]
    found = _without_frames(labels, found)
    largest = max(piece.size for piece in found)
    found = [piece for piece in found if piece.size > 0.05 * largest and piece.area > 2]
    groups = _joined(found)
    groups = [group for group in groups if _ink_of(ink, labels, group).max() > 0.5]
    if not groups:
        return []
    heights = [_box(group).height for group in groups]
    tall = [
        group for group, height in zip(groups, heights, strict=True) if height > 0.5 * max(heights)
    ]
    tall.sort(key=lambda group: _box(group).left)
    return [_ink_of(ink, labels, group) for group in tall]


def _without_frames(labels: np.ndarray, found: list[Piece]) -> list[Piece]:
    kept = []
    for piece in found:
        inside = [
            other
            for other in found
            if other is not piece
            and other.size > 0.2 * piece.size
            and piece.top < other.top
            and other.bottom < piece.bottom
            and piece.left < other.left
            and other.right < piece.right
        ]
        if inside and _is_rectangle(labels, piece):
            continue
        kept.append(piece)
    return kept or found


def _is_rectangle(labels: np.ndarray, piece: Piece) -> bool:
    mask = labels[piece.top : piece.bottom, piece.left : piece.right] == piece.number
    margin = max(1, round(0.06 * min(mask.shape)))
    sides = [
        mask[:margin].any(axis=0).mean(),
        mask[-margin:].any(axis=0).mean(),
        mask[:, :margin].any(axis=1).mean(),
        mask[:, -margin:].any(axis=1).mean(),
    ]
    return min(sides) > 0.8


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
    groups = [[piece] for piece in sorted(found, key=lambda piece: -piece.size)]
    changed = True
    while changed:
        changed = False
        for i in range(len(groups)):
            for j in range(i + 1, len(groups)):
                if _belong_together(_box(groups[i]), _box(groups[j])):
                    groups[i] += groups.pop(j)
                    changed = True
                    break
            if changed:
                break
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
