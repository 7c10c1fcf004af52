"""The faces of `bn_compat.py` against TF1's batch norms, in separate processes.

TF 1.15 needs Python 3.7 or older. What its batch norms do is recorded in tests/golden by
tests/originals/make_golden.py. `make test` compares with a sample of the record, `make test-long`
with all of it and, where there is a Python 3.7, with the originals run live, in `.venv-tf115`,
which it makes once.
"""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import bn_compat
from tests import processes
from tests.helpers import PROJECT
from tests.originals import checkpoints, classes, implementations

# For comparisons with other originals, or in another behaviour, than the record of all cases. Most
# options have two values, and every other case, or every eighth, would have the same ones.
SOME = "--every=7"
FEW = "--every=101"
# Parts of the comparison of all cases, which run side by side.
PARTS = [f"--part={number}/8" for number in range(1, 9)]


def say(capsys, heading, line):
    """Prints a line that pytest shows even if the test passes."""
    with capsys.disabled():
        print(f"\n{heading}: {line}")


def run_module(module, *arguments):
    """Runs a script of tests/originals on this TensorFlow; returns the JSON line that it printed.

    The other tests measure coverage already; doing it here would add minutes.
    """
    command = [sys.executable, "-m", f"tests.originals.{module}", *map(str, arguments)]
    return printed(
        processes.run(command, PROJECT, {**os.environ, "COVERAGE_PROCESS_CONFIG": ""}, seconds=900)
    )


def run_from_nothing(python, module, *arguments, **environment):
    """The same on any TensorFlow, in a process that does all its own imports."""
    completed = subprocess.run(
        [python, "-m", f"tests.originals.{module}", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, **environment, "COVERAGE_PROCESS_CONFIG": ""},
        capture_output=True,
        text=True,
        timeout=900,
    )
    return printed(completed)


def printed(completed):
    assert completed.returncode == 0, completed.stdout[-4000:] + completed.stderr[-4000:]
    return completed.stdout.splitlines()[-1]


def run_on_tf115(python, module, *arguments):
    # TF 2 sets this variable on import, and TF 1.15 would obey it.
    return run_from_nothing(python, module, *arguments, TF2_BEHAVIOR="0")


@pytest.mark.parametrize("how_many", [FEW, pytest.param(SOME, marks=pytest.mark.long)])
def test_the_faces_do_what_the_originals_do_side_by_side_on_tf_1_15(tf115_python, capsys, how_many):
    line = run_on_tf115(tf115_python, "compare", "live", how_many)
    say(capsys, "faces and originals, live on TF 1.15", line)


@pytest.mark.parametrize(
    "which", ["--every=5", *(pytest.param(part, marks=pytest.mark.long) for part in PARTS)]
)
def test_the_faces_do_what_the_originals_did(capsys, which):
    line = run_module("compare", "recorded", "--tf1_behaviour", which)
    say(capsys, f"faces and recorded results, {which}", line)


def test_the_faces_do_what_the_originals_did_in_the_behaviour_of_tf2(capsys):
    line = run_module("compare", "recorded", SOME)
    say(capsys, "faces in the behaviour of TF2 and recorded results", line)


@pytest.mark.long
def test_programs_make_of_the_layers_what_they_make_of_the_originals(tf115_python, capsys):
    line = run_on_tf115(tf115_python, "classes", "live")
    say(capsys, "programs on faces and originals, live on TF 1.15", line)


def test_programs_make_of_the_layers_what_they_made_of_the_originals(capsys):
    line = run_module("classes", "recorded")
    say(capsys, "programs on faces and recorded results", line)


def test_programs_make_of_the_layers_the_same_in_the_behaviour_of_tf2():
    found = classes.differences(classes.recorded(), classes.results(bn_compat))
    assert not found, "\n".join(found)


def test_what_has_to_hold_everywhere_does_on_this_tensorflow(capsys):
    say(capsys, "what holds everywhere, here", run_module("everywhere", SOME))


@pytest.mark.long
def test_what_has_to_hold_everywhere_does_on_the_oldest(tf115_python, capsys):
    """tests/tensorflows.py covers the versions in between."""
    say(capsys, "what holds everywhere, on TF 1.15", run_on_tf115(tf115_python, "everywhere", SOME))


def test_checkpoints_of_the_faces_go_on_under_the_originals(tf115_python, tmp_path, capsys):
    checkpoints.write(implementations.faces(), tmp_path)
    line = run_on_tf115(tf115_python, "checkpoints", "read", "original", tmp_path)
    say(capsys, "checkpoints of the faces, live on TF 1.15", line)


def test_the_core_does_on_tf_1_15_what_it_does_today(tf115_python):
    """With either kernel, kind of phase and kind of variables; compares names of variables too."""
    then = json.loads(run_on_tf115(tf115_python, "core"))
    today = json.loads(run_module("core"))
    assert then.keys() == today.keys()
    for configuration, expected in then.items():
        assert today[configuration].keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(today[configuration][name], values, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="tf.layers of today needs tf_keras"
)
def test_the_faces_do_what_tf_layers_does_on_todays_tensorflow(capsys):
    environment = {"TF_USE_LEGACY_KERAS": "1"}
    line = run_from_nothing(sys.executable, "compare", "live", SOME, **environment)
    say(capsys, "faces and tf_keras, live", line)
