"""The table that `export.py` prints."""

import pathlib
from collections.abc import Sequence
from typing import Any

from console import markdown
from serving import runtime

HEADER = ["where", "accuracy", "other classes", "logits within", "ms, one image", "images/s"]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns a line for each of `Reference.compare`'s results, with the speed where it has one."""
    return markdown.aligned(HEADER, [_row(row) for row in rows])


def _row(row: dict[str, Any]) -> list[str]:
    speed = ["", ""]
    if runtime.LATENCY in row:
        speed = [f"{row[runtime.LATENCY]:.2f}", f"{row[runtime.THROUGHPUT]:,.0f}"]
    return [
        row["runtime"],
        f"{row['correct'] / row['total']:.4f}",
        str(row["other_classes"]),
        f"{row['largest_logit_difference']:.2g}",
        *speed,
    ]


def result_line(row: dict[str, Any], folder: pathlib.Path, size: int, dataset: str) -> str:
    """Returns the last line of the command, of the last runtime's comparison."""
    others, total = row["other_classes"], row["total"]
    same = (
        f"the same class for all {total}"
        if not others
        else f"another class for {others} of {total}"
    )
    return f"{folder} ({size / 1e6:.2f} MB): {same} {dataset} test images"
