"""docs/tutorial.md: its blocks run one after the other, and print what it says."""

import codeop
import contextlib
import io
import re

from tests.helpers import PROJECT

TUTORIAL = (PROJECT / "docs/tutorial.md").read_text()


def statements(program):
    """The statements of a block as the prompt takes them: an empty line ends an indented one."""
    statement: list[str] = []
    for line in [*program.splitlines(), ""]:
        statement.append(line)
        if compiled := codeop.compile_command("\n".join(statement)):
            yield compiled
            statement = []
    assert not statement, "before Python 3.13, it can't be pasted into the prompt"


def test_every_block_prints_what_stands_below_it(tmp_path, monkeypatch):
    """Pasted into the prompt, which also shows the value of every expression."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    blocks = re.findall(
        r"^```python\n(.*?)^```\n(?:\n```\n(.*?)^```\n)?", TUTORIAL, re.DOTALL | re.M
    )
    assert len(blocks) == 6 and sum(bool(expected) for _, expected in blocks) == 5
    shared: dict = {}
    for program, expected in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            for statement in statements(program):
                exec(statement, shared)
        assert printed.getvalue() == expected
