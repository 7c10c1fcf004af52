"""The faces of `bn_compat.py` against TF1's batch norms, in separate processes.

TF 1.15 needs Python 3.7 or older. What its batch norms do is recorded in tests/golden by
tests/originals/make_golden.py, and always compared. Where there is a Python 3.7, they are run live
as well, in `.venv-tf115`, which is made once.
"""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import PROJECT
from tests.originals import checkpoints, implementations

# For comparisons with other originals, or in another behaviour, than the record of all cases.
SOME = "--every=8"


def say(capsys, heading, line):
    """Prints a line that pytest shows even if the test passes."""
    with capsys.disabled():
        print(f"\n{heading}: {line}")


def run_module(python, module, *arguments, **environment):
    """Runs a script of tests/originals to completion; returns the JSON line that it printed."""
    completed = subprocess.run(
        [python, "-m", f"tests.originals.{module}", *map(str, arguments)],
        cwd=PROJECT,
        # The other tests measure coverage already; doing it here would add minutes.
        env={**os.environ, **environment, "COVERAGE_PROCESS_CONFIG": ""},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert completed.returncode == 0, completed.stdout[-4000:] + completed.stderr[-4000:]
    return completed.stdout.splitlines()[-1]


def run_on_tf115(python, module, *arguments):
    # TF 2 sets this variable on import, and TF 1.15 would obey it.
    return run_module(python, module, *arguments, TF2_BEHAVIOR="0")


def test_the_faces_do_what_the_originals_do_side_by_side_on_tf_1_15(tf115_python, capsys):
    line = run_on_tf115(tf115_python, "compare", "live", SOME)
    say(capsys, "faces and originals, live on TF 1.15", line)


def test_the_faces_do_what_the_originals_did_in_every_case(capsys):
    line = run_module(sys.executable, "compare", "recorded", "--tf1_behaviour")
    say(capsys, "faces and recorded results", line)


def test_the_faces_do_what_the_originals_did_in_the_behaviour_of_tf2(capsys):
    line = run_module(sys.executable, "compare", "recorded", SOME)
    say(capsys, "faces in the behaviour of TF2 and recorded results", line)


def test_programs_make_of_the_layers_what_they_make_of_the_originals(tf115_python, capsys):
    line = run_on_tf115(tf115_python, "classes", "live")
    say(capsys, "programs on faces and originals, live on TF 1.15", line)
    line = run_module(sys.executable, "classes", "recorded")
    say(capsys, "programs on faces and recorded results", line)


def test_what_has_to_hold_everywhere_does_on_this_tensorflow(capsys):
    say(capsys, "what holds everywhere, here", run_module(sys.executable, "everywhere", SOME))


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
    today = json.loads(run_module(sys.executable, "core"))
    assert then.keys() == today.keys()
    for configuration, expected in then.items():
        assert today[configuration].keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(today[configuration][name], values, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="tf.layers of today needs tf_keras"
)
def test_the_faces_do_what_tf_layers_does_on_todays_tensorflow(capsys):
    line = run_module(sys.executable, "compare", "live", SOME, TF_USE_LEGACY_KERAS="1")
    say(capsys, "faces and tf_keras, live", line)
