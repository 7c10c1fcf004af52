"""What the reports have in common."""

import os

from runtime import processor


def machine() -> str:
    """Names the processor, and what it can do in bfloat16."""
    features = processor.features() or frozenset()
    bfloat16 = [name.upper() for name in processor.BFLOAT16_FEATURES if name in features]
    return (
        f"{len(os.sched_getaffinity(0))} cores of {processor.name()} "
        f"({' and '.join(bfloat16) or 'no bfloat16 instructions'})"
    )
