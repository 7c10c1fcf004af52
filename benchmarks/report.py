"""What the reports have in common."""

import pathlib

from console import processor

PROJECT = pathlib.Path(__file__).parents[1]


def machine() -> str:
    """Names the processor and its bfloat16 instructions."""
    features = processor.features() or frozenset()
    bfloat16 = [name.upper() for name in processor.BFLOAT16_FEATURES if name in features]
    return (
        f"{processor.cores()} cores of {processor.name()} "
        f"({' and '.join(bfloat16) or 'no bfloat16 instructions'})"
    )
