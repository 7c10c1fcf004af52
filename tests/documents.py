"""The documents of the batch norms, and the programs in them."""

import re

import pytest

from tests.helpers import PROJECT

DOCUMENTS = {
    name: (PROJECT / "docs" / name).read_text() for name in ("batch_norm.md", "migrating.md")
}


def programs(of_their_own):
    """Programs to parametrize a test with: those that change TensorFlow for good, or the others."""
    return [
        pytest.param(program, id=f"{name}-{i}")
        for name, text in DOCUMENTS.items()
        for i, program in enumerate(
            re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        )
        if ("disable_v2_behavior" in program) == of_their_own
    ]
