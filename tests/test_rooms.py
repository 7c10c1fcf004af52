"""What may import what: rooms look one way, so each can be read without those below it."""

import ast
import functools
import graphlib
import re

import pytest

from tests.helpers import PROJECT

# Each room may import those above it that it names, and itself. What may import a room may import
# what that room may import.
ROOMS = {
    "bn_wrapper": set(),
    "bn_tools": {"bn_wrapper"},
    "bn_compat": {"bn_wrapper"},
    "bn_mnist": set(),
    "bn_revive": {"bn_compat", "bn_mnist"},
    "bn_launcher": {"bn_revive"},
    "console": set(),
    "mnist": {"console"},
    "networks": {"bn_wrapper"},
    "model": {"bn_tools", "networks"},
    "storage": {"mnist"},
    "training": {"model", "storage"},
    "dashboard": {"training"},
    "cluster": {"training"},
    "prediction": {"training"},
    "serving": {"training"},
    "diagnosis": {"console"},
    "flags": set(),
    "studies": {"dashboard", "cluster"},
    "benchmarks": {"studies", "serving", "flags", "bn_compat"},
    **dict.fromkeys(
        ("train", "evaluate", "compare", "runs", "doctor"), {"studies", "diagnosis", "flags"}
    ),
    "predict": {"prediction", "flags"},
    "export": {"serving", "flags"},
}


def reachable(room):
    """The rooms that a room may import, directly or by way of others."""
    found = {room}
    for above in ROOMS[room]:
        found |= reachable(above)
    return found


@functools.cache
def imported_by(path):
    """The rooms that a file imports. Two tests ask for them, and parsing takes a while."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
        else:
            continue
        rooms |= {name.split(".")[0] for name in names} & (ROOMS.keys() | {"tests"})
    return rooms


def files_of(room):
    folder = PROJECT / room
    return folder.rglob("*.py") if folder.is_dir() else [PROJECT / f"{room}.py"]


def test_every_file_is_in_a_room():
    there = {path.stem for path in PROJECT.glob("*.py")}
    there |= {path.parent.name for path in PROJECT.glob("*/*.py")} - {"tests"}
    assert there == ROOMS.keys()


@pytest.mark.parametrize("room", [room for room in ROOMS if (PROJECT / room).is_dir()])
def test_a_room_says_what_is_in_its_files(room):
    said = set(re.findall(r"\w+", (PROJECT / room / "__init__.py").read_text()))
    assert {path.stem for path in files_of(room)} - {"__init__"} <= said


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_those_above_it(room):
    for path in files_of(room):
        assert imported_by(path) <= reachable(room), path


def test_no_arrow_runs_back_up():
    """Sorted by what they really import, no room is below itself."""
    arrows = {
        room: {other for path in files_of(room) for other in imported_by(path)} - {room}
        for room in ROOMS
    }
    graphlib.TopologicalSorter(arrows).prepare()
