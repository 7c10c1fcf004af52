"""Markdown, for reports and for TensorBoard's Text tab."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table, without a trailing newline."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def aligned(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Returns a table for a terminal: columns are as wide as their longest entry."""
    lines = [list(map(str, line)) for line in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
