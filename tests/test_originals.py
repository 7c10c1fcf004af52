"""The faces of `bn_compat.py` against TF1's batch norms, and those that came after them.

TF 1.15 runs on Python 3.7 at most. What its batch norms do is kept in tests/golden, made by
tests/originals/make_golden.py, and compared with always. Where there is a Python 3.7, they are
asked themselves as well: `.venv-tf115` is made for that, once.
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import bn_compat
from tests.helpers import PROJECT
from tests.originals import cases, checkpoints, golden, implementations, runner

TF115_VENV = PROJECT / ".venv-tf115"
TF115_REQUIREMENTS = ("tensorflow==1.15.5", "protobuf<3.21", "numpy<1.19")

# What Keras 3's layer knows of the options of tf.layers.
KERAS_OPTIONS = {"axis", "momentum", "epsilon", "center", "scale"}


@contextlib.contextmanager
def tf1_behaviour():
    """What `tf.disable_v2_behavior()` means to a graph, for a while."""
    tf.disable_control_flow_v2()
    tf.disable_resource_variables()
    tf.disable_v2_tensorshape()
    try:
        yield
    finally:
        tf.enable_control_flow_v2()
        tf.enable_resource_variables()
        tf.enable_v2_tensorshape()


def compare_with_golden_results(table):
    expected = golden.load()
    summary = runner.Summary()
    for case, found in runner.results(table, {"face": implementations.faces()}):
        summary.add(case, expected=expected[case.name], actual=found["face"])
    return summary


def say(capsys, heading, line):
    """Prints a line that pytest shows for tests that pass, too."""
    with capsys.disabled():
        print(f"\n{heading}: {line}")


def run_module(python, module, *arguments, **environment):
    """Runs a script of tests/originals to its end; returns the JSON line that it printed."""
    completed = subprocess.run(
        [python, "-m", f"tests.originals.{module}", *map(str, arguments)],
        cwd=PROJECT,
        # Which lines run is known from the other tests; to be told of it here takes minutes.
        env={**os.environ, **environment, "COVERAGE_PROCESS_CONFIG": ""},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert completed.returncode == 0, completed.stdout[-4000:] + completed.stderr[-4000:]
    return completed.stdout.splitlines()[-1]


def run_on_tf115(python, module, *arguments):
    # TF 2 sets this variable when it is imported, and TF 1.15 would obey it.
    return run_module(python, module, *arguments, TF2_BEHAVIOR="0")


def is_python37(python):
    check = "import sys; sys.exit(sys.version_info[:2] != (3, 7))"
    return (
        bool(python) and subprocess.run([python, "-c", check], capture_output=True).returncode == 0
    )


def find_python37():
    pyenv = sorted(pathlib.Path.home().glob(".pyenv/versions/3.7.*/bin/python"))
    candidates = [os.environ.get("PYTHON37"), shutil.which("python3.7"), *map(str, pyenv[::-1])]
    return next(filter(is_python37, candidates), None)


@pytest.fixture(scope="module")
def tf115_python():
    """Path of a Python with TF 1.15; where there can be none, the test is skipped."""
    installed = TF115_VENV / "installed"
    if not installed.exists():
        python37 = find_python37()
        if python37 is None:
            pytest.skip("compared with golden files only: no Python 3.7 found, set PYTHON37")
        shutil.rmtree(TF115_VENV, ignore_errors=True)
        subprocess.run([python37, "-m", "venv", TF115_VENV], check=True)
        pip = [TF115_VENV / "bin" / "pip", "install", "--quiet", "--retries=1"]
        made = subprocess.run([*pip, *TF115_REQUIREMENTS], capture_output=True, text=True)
        if made.returncode != 0:
            pytest.skip(f"compared with golden files only: no TF 1.15: {made.stderr[-300:]}")
        installed.touch()
    return TF115_VENV / "bin" / "python"


@pytest.mark.parametrize(
    "behaviour", [contextlib.nullcontext, tf1_behaviour], ids=["TF2 behaviour", "TF1 behaviour"]
)
def test_the_faces_do_what_the_originals_did_in_every_case(behaviour, capsys):
    with behaviour():
        summary = compare_with_golden_results(cases.all_cases())
    say(capsys, "faces and golden results", summary.as_json())
    assert not summary.failures, "\n".join(summary.failures)


def test_the_inputs_are_those_that_the_golden_results_are_of():
    np.testing.assert_array_equal(golden.inputs(), golden.saved_inputs())


def test_checkpoints_of_the_originals_go_on_under_the_faces():
    largest = checkpoints.read(implementations.faces(), golden.FOLDER / "checkpoints")
    assert set(largest) == set(checkpoints.LAYERS)
    assert max(largest.values()) <= runner.LIMITS["fused"], largest


def test_the_faces_do_what_the_originals_do_side_by_side_on_tf_1_15(tf115_python, capsys):
    say(capsys, "faces and originals, live on TF 1.15", run_on_tf115(tf115_python, "compare"))


def test_checkpoints_of_the_faces_go_on_under_the_originals(tf115_python, tmp_path, capsys):
    checkpoints.write(implementations.faces(), tmp_path)
    line = run_on_tf115(tf115_python, "checkpoints", "read", "original", tmp_path)
    say(capsys, "checkpoints of the faces, live on TF 1.15", line)


def test_the_core_does_on_tf_1_15_what_it_does_today(tf115_python):
    """With either kernel, kind of phase and kind of variables, names of variables included."""
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
    line = run_module(sys.executable, "compare", TF_USE_LEGACY_KERAS="1")
    say(capsys, "faces and tf_keras, live", line)


def known_to_keras(case):
    """Keras 3 has no kernel that averages an unbiased variance, and decides about each call."""
    return (
        case.api == "layers"
        and case.phase == cases.TRAINING
        and case.dtype == "float32"
        and set(case.options) <= KERAS_OPTIONS | {"fused"}
        and isinstance(case.options.get("axis", -1), int)
        and (case.options.get("fused") is False or len(case.shape) != 4)
    )


def results_of_keras(case):
    """What Keras 3's layer does eagerly, by the names that the results of the cases have."""
    options = {key: value for key, value in case.options.items() if key in KERAS_OPTIONS}
    layer = keras.layers.BatchNormalization(**options)
    layer.build(case.shape)
    for variable in layer.trainable_variables:
        variable.assign(runner.loaded(case, variable.name, variable.shape))
    found = {}
    for step in range(1, runner.STEPS + 1):
        outputs = layer(cases.batch(case.shape, case.dtype, step), training=True)
        if step in runner.RECORDED_STEPS:
            found[f"in step {step}: outputs"] = outputs.numpy()
            for variable in layer.non_trainable_variables:
                name = f"after step {step}: batch_normalization/{variable.name}"
                found[name] = variable.numpy()
    outputs = layer(cases.batch(case.shape, case.dtype, runner.INFERENCE_STEP), training=False)
    found["in inference: outputs"] = outputs.numpy()
    return found


def test_the_faces_do_what_keras_3_does_eagerly():
    table = [case for case in cases.all_cases() if known_to_keras(case)]
    assert len(table) > 20
    for case, found in runner.results(table, {"face": implementations.faces()}):
        expected = results_of_keras(case)
        actual = {name: found["face"].values[name] for name in expected}
        differences = runner.differences(expected, actual)
        assert max(differences.values()) <= runner.LIMITS["moments"], (case.name, differences)


# The published figures: what Keras's documentation and its users report of a layer that gets one
# input, 100, again and again. Near 100, float32 is good for five decimals, and rounding adds up
# over a thousand calls; the inference output then shows thirty times the mean's error.

INPUT = [[100.0]]


class FaceOnOneInput:
    """The face of tf.layers, to be called as an eager layer is."""

    def __init__(self, **options):
        with tf.Graph().as_default() as graph:
            self.layer = bn_compat.BatchNormalization(**options)
            self._outputs = {
                training: self.layer(tf.constant(INPUT), training=training)
                for training in (True, False)
            }
            self._session = tf.Session(graph=graph)
            self._session.run(tf.global_variables_initializer())

    def __call__(self, training):
        updates = self.layer.updates if training else []
        return self._session.run([self._outputs[training], updates])[0].item()

    def statistics(self):
        values = self._session.run([self.layer.moving_mean, self.layer.moving_variance])
        return [value.item() for value in values]


class KerasOnOneInput:
    """Keras 3's layer, to be called the same way."""

    def __init__(self, **options):
        self.layer = keras.layers.BatchNormalization(**options)

    def __call__(self, training):
        return self.layer(np.array(INPUT, np.float32), training=training).numpy().item()

    def statistics(self):
        variables = (self.layer.moving_mean, self.layer.moving_variance)
        return [variable.numpy().item() for variable in variables]


on_face_and_keras = pytest.mark.parametrize("make_layer", [FaceOnOneInput, KerasOnOneInput])


@on_face_and_keras
def test_untouched_statistics_leave_100_nearly_as_it_is(make_layer):
    assert make_layer()(training=False) == pytest.approx(99.95004, abs=1e-5)


@on_face_and_keras
def test_one_training_call_moves_the_statistics_by_a_hundredth(make_layer):
    layer = make_layer()
    assert layer(training=True) == 0
    assert layer.statistics() == pytest.approx([1.0, 0.99], abs=1e-5)


@on_face_and_keras
def test_1001_training_calls_bring_the_statistics_near_those_of_the_input(make_layer):
    layer = make_layer()
    for _ in range(1001):
        layer(training=True)
    mean, variance = layer.statistics()
    assert mean == pytest.approx(99.99573, abs=2e-4)
    assert variance == pytest.approx(4.273953e-05, rel=2e-5)
    assert layer(training=False) == pytest.approx(0.13110352, abs=5e-3)


@on_face_and_keras
def test_a_layer_of_one_channel_has_four_parameters_two_of_them_trainable(make_layer):
    layer = make_layer()
    layer(training=True)
    assert [len(layer.layer.weights), len(layer.layer.trainable_weights)] == [4, 2]


@pytest.mark.parametrize(
    "make_layer, options",
    [(FaceOnOneInput, {"trainable_semantics": "tf2"}), (KerasOnOneInput, {})],
    ids=["face", "keras"],
)
def test_a_frozen_layer_is_in_inference_mode_by_the_semantics_of_tf2(make_layer, options):
    layer = make_layer(trainable=False, **options)
    assert layer(training=True) == pytest.approx(99.95004, abs=1e-5)
    assert layer.statistics() == [0.0, 1.0]


@pytest.mark.parametrize(
    "semantics, statistics",
    [("tf1", [1.0, 0.99]), ("tf1.15", [0.0, 1.0])],
    ids=["tf1 moves the statistics", "tf1.15 leaves them alone"],
)
def test_a_frozen_layer_is_in_training_mode_by_the_semantics_of_tf1(semantics, statistics):
    layer = FaceOnOneInput(trainable=False, trainable_semantics=semantics)
    assert layer(training=True) == 0
    assert layer.statistics() == pytest.approx(statistics, abs=1e-5)
