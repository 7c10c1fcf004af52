"""docs/tutorial.md: its blocks run one after the other, and print what it says."""

import contextlib
import io
import re

from tests.helpers import PROJECT


def test_every_block_prints_what_stands_below_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    text = (PROJECT / "docs/tutorial.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```\n(?:\n```\n(.*?)^```\n)?", text, re.DOTALL | re.M)
    assert len(blocks) == 6 and sum(bool(expected) for _, expected in blocks) == 5
    shared: dict = {}
    for program, expected in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(program, "docs/tutorial.md", "exec"), shared)
        assert printed.getvalue() == expected
