"""batch_norm_wrapper against the formulas of the paper, computed by NumPy in float64."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bn_wrapper import batch_norm_wrapper
from tests.layers import batch_of, moments, normalized, variable

SHAPES = {"dense": (32, 5), "convolution": (8, 6, 7, 5)}


def debiased_average(values, decay):
    """The weighted mean of all values so far, the newest with the largest weight."""
    weights = decay ** np.arange(len(values))[::-1]
    return np.tensordot(weights / weights.sum(), np.array(values), axes=1)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_training_normalizes_with_the_statistics_of_the_batch(shape):
    values = batch_of(shape)
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = batch_norm_wrapper(tf.constant(values), phase_train=True)
        session.run(tf.global_variables_initializer())
        session.run([variable("scale").assign([2.0] * 5), variable("beta").assign([3.0] * 5)])
        result = session.run(outputs)
    np.testing.assert_allclose(
        result, normalized(values, *moments(values), scale=2.0, beta=3.0), atol=2e-5
    )


def test_an_epsilon_in_the_place_of_a_decay_is_refused():
    """Each is valid as the other, so nothing else would tell."""
    with tf.Graph().as_default(), pytest.raises(TypeError, match="positional"):
        batch_norm_wrapper(tf.zeros([4, 3]), True, 1e-5, 0.99)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 0.999])
def test_population_statistics_include_every_step_from_the_first_on(shape, decay):
    """Known programs start the average at zero, or copy it only when evaluating."""
    batches = [batch_of(shape, seed) for seed in range(4)]
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, shape)
        train_step = batch_norm_wrapper(inputs, phase_train=True, decay=decay)
        session.run(tf.global_variables_initializer())
        for count, batch in enumerate(batches, start=1):
            session.run(train_step, {inputs: batch})
            mean, var = session.run([variable("pop_mean"), variable("pop_var")])
            seen = [moments(b) for b in batches[:count]]
            np.testing.assert_allclose(
                mean, debiased_average([m for m, _ in seen], decay), rtol=1e-5
            )
            np.testing.assert_allclose(
                var, debiased_average([v for _, v in seen], decay), rtol=1e-4
            )


@pytest.mark.parametrize("phase", ["built for training", "placeholder"])
def test_a_checkpoint_saved_right_after_a_step_serves_inference(tmp_path, phase):
    """Nothing evaluates between the step and the checkpoint, and nothing runs UPDATE_OPS."""
    batch, other = batch_of((32, 5)), batch_of((3, 5), seed=1)
    with tf.Graph().as_default(), tf.Session() as session:
        phase_train = True if phase == "built for training" else tf.placeholder(tf.bool, [])
        outputs = batch_norm_wrapper(tf.constant(batch), phase_train, name="layer")
        train_step = tf.train.GradientDescentOptimizer(0.0).minimize(tf.reduce_sum(outputs))
        session.run(tf.global_variables_initializer())
        session.run(train_step, {} if phase_train is True else {phase_train: True})
        checkpoint = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"), global_step=1)

    with tf.Graph().as_default(), tf.Session() as session:
        outputs = batch_norm_wrapper(tf.constant(other), name="layer")
        tf.train.Saver().restore(session, checkpoint)
        result = session.run(outputs)
    np.testing.assert_allclose(result, normalized(other, *moments(batch)), atol=1e-5)


def test_one_graph_for_both_phases():
    batches = [batch_of((8, 6, 7, 5), seed) for seed in range(2)]
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 6, 7, 5])
        phase_train = tf.placeholder(tf.bool, [])
        outputs = batch_norm_wrapper(inputs, phase_train)
        session.run(tf.global_variables_initializer())

        trained = session.run(outputs, {inputs: batches[0], phase_train: True})
        before = session.run(tf.global_variables())
        inferred = session.run(outputs, {inputs: batches[1], phase_train: False})
        after = session.run(tf.global_variables())

    assert outputs.shape.as_list() == [None, 6, 7, 5]
    np.testing.assert_allclose(trained, normalized(batches[0], *moments(batches[0])), atol=2e-5)
    np.testing.assert_allclose(inferred, normalized(batches[1], *moments(batches[0])), atol=2e-5)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_when_false_a_placeholder_computes_no_batch_statistics():
    with tf.Graph().as_default(), tf.Session() as session:
        phase_train = tf.placeholder(tf.bool, [])
        outputs = batch_norm_wrapper(tf.constant(batch_of((4, 3))), phase_train, fused=False)
        session.run(tf.global_variables_initializer())
        computed = {}
        for phase in (True, False):
            trace = tf.RunMetadata()
            options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
            session.run(outputs, {phase_train: phase}, options, trace)
            devices = trace.step_stats.dev_stats
            computed[phase] = {node.node_name for device in devices for node in device.node_stats}
    assert any("moments" in name for name in computed[True])
    assert not any("moments" in name for name in computed[False])


@pytest.mark.parametrize("phase_train", [None, False])
def test_an_inference_graph_has_four_variables_and_no_batch_statistics(phase_train):
    with tf.Graph().as_default() as graph:
        inputs = tf.placeholder(tf.float32, [None, 6, 7, 5])
        batch_norm_wrapper(inputs, phase_train, name="layer")
        assert {v.op.name for v in tf.global_variables()} == {
            "layer/scale",
            "layer/beta",
            "layer/pop_mean",
            "layer/pop_var",
        }
        ops = graph.get_operations()
    assert not {op.type for op in ops} & {"Mean", "SquaredDifference", "If", "Switch"}
    kernels = [op for op in ops if op.type == "FusedBatchNormV3"]
    assert [op.get_attr("is_training") for op in kernels] == [False]


def test_scale_and_beta_are_trained_and_population_statistics_are_not():
    with tf.Graph().as_default():
        batch_norm_wrapper(tf.zeros([4, 3]), phase_train=True, name="layer")
        assert [v.op.name for v in tf.trainable_variables()] == ["layer/scale", "layer/beta"]


def test_gradients_follow_the_batch_statistics():
    """Adding a constant to a channel, or scaling it, does not change the normalized output."""
    values = batch_of((16, 3))
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.constant(values)
        outputs = batch_norm_wrapper(inputs, phase_train=True)
        weights = tf.constant(batch_of((16, 3), seed=1))
        (gradient,) = tf.gradients(tf.reduce_sum(weights * outputs), inputs)
        session.run(tf.global_variables_initializer())
        gradient = session.run(gradient)
    assert np.abs(gradient).max() > 0.1
    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose((gradient * (values - values.mean(0))).sum(axis=0), 0, atol=1e-3)


def test_a_checkpoint_of_either_training_graph_goes_on_in_the_other():
    """The moving averages must have the same names with and without a `tf.cond` around them."""
    names = []
    for is_placeholder in (False, True):
        with tf.Graph().as_default(), tf.variable_scope("network"):
            phase_train = tf.placeholder(tf.bool, []) if is_placeholder else True
            batch_norm_wrapper(tf.zeros([4, 3]), phase_train)
            names.append([v.op.name for v in tf.global_variables()])
    assert names[0] == names[1]


def test_layers_get_scopes_of_their_own():
    with tf.Graph().as_default():
        for _ in range(2):
            batch_norm_wrapper(tf.zeros([4, 3]))
        assert [v.op.name for v in tf.trainable_variables()] == [
            "batch_norm/scale",
            "batch_norm/beta",
            "batch_norm_1/scale",
            "batch_norm_1/beta",
        ]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inputs": ("float32", [8])}, ValueError, r"\(8,\)"),
        ({"inputs": ("float32", [8, 1, 1, 1, 1, 3])}, ValueError, r"\(8, 1, 1, 1, 1, 3\)"),
        ({"inputs": ("float32", None)}, ValueError, "undefined rank"),
        ({"inputs": ("float32", [8, None])}, ValueError, r"\(8, None\)"),
        ({"inputs": ("int32", [8, 3])}, TypeError, "int32"),
        ({"decay": 1.0}, ValueError, "1.0"),
        ({"decay": 1 - 1e-9}, ValueError, "0.999999999"),
        ({"decay": -0.1}, ValueError, "-0.1"),
        ({"decay": float("nan")}, ValueError, "nan"),
        ({"epsilon": 0.0}, ValueError, "0.0"),
        ({"epsilon": -1e-3}, ValueError, "-0.001"),
        ({"phase_train": 2}, TypeError, "2"),
        ({"phase_train": "train"}, TypeError, "train"),
        ({"phase_train": ("float32", [])}, TypeError, "float32"),
        ({"phase_train": ("bool", [2])}, ValueError, r"\(2,\)"),
    ],
)
def test_wrong_input_is_refused_with_the_offending_value(arguments, error, message):
    arguments = {"inputs": ("float32", [8, 3]), **arguments}
    with tf.Graph().as_default() as graph:
        arguments = {
            name: tf.placeholder(*value) if isinstance(value, tuple) else value
            for name, value in arguments.items()
        }
        with pytest.raises(error, match=message):
            batch_norm_wrapper(**arguments)
        assert not graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES), "nothing is half-built"
