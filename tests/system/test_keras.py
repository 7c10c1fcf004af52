"""The faces of `bn_compat.py` against Keras 3, whose import is slow."""

import keras
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import bn_compat
from tests.originals import cases, implementations, runner

# The options of tf.layers that Keras 3's layer has too.
KERAS_OPTIONS = {"axis", "momentum", "epsilon", "center", "scale"}


def known_to_keras(case):
    """Keras 3 never averages an unbiased variance, and each call passes it the phase."""
    return (
        case.api == "layers"
        and case.phase == cases.TRAINING
        and case.dtype == "float32"
        and set(case.options) <= KERAS_OPTIONS | {"fused"}
        and isinstance(case.options.get("axis", -1), int)
        and (case.options.get("fused") is False or len(case.shape) != 4)
    )


def results_of_keras(case):
    """What Keras 3's layer does eagerly, under the names that the results of the cases use."""
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


# The published figures: what Keras's documentation and its users report for a layer that repeatedly
# gets one input, 100. Near 100, float32 is good to five decimals, and rounding adds up over a
# thousand calls; the inference output then shows thirty times the mean's error.

INPUT = [[100.0]]


class FaceOnOneInput:
    """The face of tf.layers, callable like an eager layer."""

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
    """Keras 3's layer, callable the same way."""

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
