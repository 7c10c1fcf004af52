"""docs/tutorial.md: its blocks run one after the other, and print what it says."""

import codeop
import contextlib
import io
import re

from tests.helpers import PROJECT

TUTORIAL = (PROJECT / "docs/tutorial.md").read_text()


def test_every_block_can_be_pasted_into_the_prompt():
    """Before Python 3.13, the prompt needs an empty line after an indented block."""
    blocks = re.findall(r"^```python\n(.*?)^```", TUTORIAL, re.DOTALL | re.M)
    for program in blocks:
        statement: list[str] = []
        for line in [*program.splitlines(), ""]:
            statement.append(line)
            if codeop.compile_command("\n".join(statement)):
                statement = []
        assert not statement


def test_every_block_prints_what_stands_below_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    blocks = re.findall(
        r"^```python\n(.*?)^```\n(?:\n```\n(.*?)^```\n)?", TUTORIAL, re.DOTALL | re.M
    )
    assert len(blocks) == 6 and sum(bool(expected) for _, expected in blocks) == 5
    shared: dict = {}
    for program, expected in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(program, "docs/tutorial.md", "exec"), shared)
        assert printed.getvalue() == expected
