"""What may import what: the rules that keep each room readable on its own."""

import ast

import pytest

from tests.helpers import PROJECT

COMMANDS = {"train", "evaluate", "compare", "runs"}
NETWORKS = {"model", "networks", "augmentation"}
TO_COPY = {"bn_wrapper", "bn_tools", "bn_compat", "bn_launcher"}
ROOMS = {"mnist", "runtime", "dashboard", "cluster", "studies", "benchmarks"}
ALL = COMMANDS | NETWORKS | TO_COPY | ROOMS | {"flags", "tests"}

# The project's modules and folders that each may import.
ALLOWED = {
    "bn_wrapper": set(),
    "bn_tools": {"bn_wrapper"},
    "bn_compat": {"bn_wrapper"},
    "bn_launcher": {"bn_compat"},
    "augmentation": set(),
    "networks": {"bn_wrapper"},
    "model": {"bn_tools", "networks", "augmentation", "runtime"},  # runtime: the graphs' types
    "flags": set(),
    "mnist": {"mnist", "runtime"},
    "dashboard": {"dashboard", "mnist", "runtime"},
    "runtime": {"runtime", "dashboard", "bn_tools", "mnist"},
    "cluster": {"cluster", "runtime", "mnist", "bn_tools", "model"},
    "studies": ALL - COMMANDS - {"benchmarks", "tests"},
    "benchmarks": ALL - COMMANDS - {"tests"},
    **dict.fromkeys(COMMANDS, ALL - COMMANDS - {"tests", "benchmarks"}),
}


def imported_by(path):
    """The top-level names of the project's modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from {name.split(".")[0] for name in names} & ALL


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_those_that_it_may(room):
    folder = PROJECT / room
    for path in folder.glob("*.py") if folder.is_dir() else [PROJECT / f"{room}.py"]:
        assert set(imported_by(path)) <= ALLOWED[room], path


def test_the_model_has_of_runtime_the_types_of_its_graphs_only():
    text = (PROJECT / "model.py").read_text()
    assert [line for line in text.splitlines() if "runtime" in line] == [
        "from runtime.graphs import Fold, InferenceGraph, Replica, SharedStep, TrainingGraph"
    ]
