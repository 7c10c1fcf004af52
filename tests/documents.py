"""The documents on the batch norms, and the programs in them."""

import re

import pytest

from tests.helpers import PROJECT

DOCUMENTS = {
    name: (PROJECT / "docs" / name).read_text()
    for name in ("batch_norm.md", "distributed.md", "migrating.md")
}


def programs():
    """The programs in them, to parametrize a test with."""
    return [
        pytest.param(program, id=f"{name}-{i}")
        for name, text in DOCUMENTS.items()
        for i, program in enumerate(
            re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        )
    ]
