"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests import processes
from tests.helpers import DIGITS, PROJECT, last_line

TEXT = (PROJECT / "CONTRIBUTING.md").read_text()
RECIPES = {
    section.partition("\n")[0]: section
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)
    if section.startswith(("Add a ", "Add an "))
}
# What makes a recipe's command quick, and shows in its last line that it worked.
COMMANDS = {
    "Add a network": (["--train_steps=20"], "checkpoints/tiny-bn/"),
    "Add a data set": (["--train_steps=20"], "stripes test accuracy"),
    "Add a study": ([], "results/batch_size/report.md"),
    "Add an observer": (["--train_steps=20", "--model=mlp"], "slowest/model"),
    "Add a flag": (["--train_steps=20", "--model=mlp"], f"{DIGITS} test accuracy"),
}


@pytest.fixture
def project(tmp_path):
    """A copy of the program's own files."""
    others = shutil.ignore_patterns(".*", "tests", "docs", "checkpoints", "summaries", "results")
    return shutil.copytree(PROJECT, tmp_path / "project", ignore=others)


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_followed_to_the_letter_works(project, title, data_flags):
    flags, shown = COMMANDS[title]
    for difference in blocks(RECIPES[title], "diff"):
        apply(difference, project)
    for tool in (["ruff", "check", "."], ["ruff", "format", "--check", "."]):
        subprocess.run([sys.executable, "-m", *tool], cwd=project, check=True)
    for program in blocks(RECIPES[title], "python"):
        subprocess.run([sys.executable, "-c", program], cwd=project, check=True)
    (command,) = blocks(RECIPES[title], "")
    data = [] if "--data_dir" in command else data_flags
    completed = processes.run(
        [sys.executable, *command.split()[1:], *flags, *data], project, dict(os.environ)
    )
    assert last_line(completed)
    assert shown in completed.stdout


def test_every_recipe_is_followed():
    assert list(RECIPES) == list(COMMANDS)


def blocks(text, language):
    """The code blocks in a language, "" for commands."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [content for name, content in fenced if name == language]


def apply(difference, project):
    """Applies a diff without line numbers: each hunk replaces the only place where it fits."""
    for part in re.split(r"^--- ", difference, flags=re.MULTILINE)[1:]:
        name, _, hunks = part.partition("\n")
        path = project / name
        text = path.read_text() if path.exists() else ""
        for hunk in hunks.split("@@\n"):
            old = "".join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] != "+")
            new = "".join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] != "-")
            assert text.count(old) == 1, f"{name}:\n{old}"
            text = text.replace(old, new)
        path.write_text(text)
