"""Markdown, for reports and for TensorBoard's Text tab."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

# What is left for the last column of a table that is too wide as it is.
NARROWEST = 20


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table, without a trailing newline."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def aligned(
    header: Sequence[object], rows: Sequence[Sequence[object]], width: int | None = None
) -> str:
    """Returns a table for a terminal: columns are as wide as their longest entry.

    The last one is broken between words where lines would have more than `width` letters.
    """
    lines = [list(map(str, line)) for line in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if width is not None:
        room = max(NARROWEST, width - sum(2 + column for column in widths[:-1]))
        lines = [part for line in lines for part in _broken(line, room)]
    return "\n".join(
        "  ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _broken(line: list[str], room: int) -> Iterator[list[str]]:
    """Yields the lines of a table into which one goes whose last entry has this much room."""
    *others, last = line
    pieces = textwrap.wrap(last, room, break_long_words=False, break_on_hyphens=False)
    for piece in pieces or [""]:
        yield [*others, piece]
        others = [""] * len(others)
