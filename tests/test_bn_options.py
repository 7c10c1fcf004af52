"""The options of batch_norm_wrapper: what each does, and that they combine."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bn_tools import fold_batch_norm, population_statistics
from bn_wrapper import batch_norm_wrapper
from tests import kernels
from tests.layers import batch_of, moments, normalized, run_once, variable


@pytest.mark.parametrize(("form", "kind"), kernels.SOME)
def test_the_fused_kernel_and_the_moments_agree(form, kind):
    kernels.check_that_it_agrees_with_the_moments(form, kind)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((16, 5), -1), ((4, 6, 7, 5), -1), ((0, 6, 7, 5), -1), ((4, 5, 6, 7), 1)]
)
def test_the_fused_kernel_and_the_formula_agree_in_inference(shape, axis, dtype):
    values = batch_of(shape).astype(tf.as_dtype(dtype).as_numpy_dtype)
    initializers = {
        name: tf.random_uniform_initializer(0.5, 2, seed=i)
        for i, name in enumerate(("scale", "beta", "pop_mean", "pop_var"))
    }

    with tf.Graph().as_default(), tf.Session() as session:
        options = {"axis": axis, "initializers": initializers}
        outputs = [
            batch_norm_wrapper(tf.constant(values), fused=fused, **options)
            for fused in (True, False)
        ]
        session.run(tf.global_variables_initializer())
        kernel, formula = (each.astype(np.float64) for each in session.run(outputs))
    tolerance = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 1e-2}[dtype]
    largest = max(1, np.abs(formula).max(initial=0))
    np.testing.assert_allclose(kernel, formula, atol=tolerance * largest)


@pytest.mark.parametrize("options", [{}, {"renorm": True}, {"scale": False}])
def test_the_closed_form_is_the_derivative_of_the_moments(options):
    """Compares first and second derivatives with TensorFlow's own for the same formula.

    With weights of one the moments are the same, but TensorFlow differentiates them.
    """
    values = batch_of((12, 3)).astype(np.float64)
    direction = batch_of((12, 3), seed=1)

    def derivatives(**options):
        inputs = tf.constant(values)
        with tf.variable_scope(None, "layer") as scope:
            outputs = batch_norm_wrapper(inputs, True, fused=False, **options)
        over = [inputs, *tf.trainable_variables(scope.name + "/")]
        first = tf.gradients(tf.reduce_sum(tf.tanh(outputs) * direction), over)
        return first, tf.gradients(tf.reduce_sum(tf.square(first[0])), over)

    with tf.Graph().as_default(), tf.Session() as session:
        closed = derivatives(**options)
        left_to_tensorflow = derivatives(batch_weights=[1.0] * 12, **options)
        session.run(tf.global_variables_initializer())
        closed, left_to_tensorflow = session.run((closed, left_to_tensorflow))
    for one, other in zip(closed, left_to_tensorflow, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_the_kernel_is_taken_where_it_computes_the_same_thing():
    def kernels(values, phase_train=True, **options):
        with tf.Graph().as_default() as graph:
            batch_norm_wrapper(tf.constant(values), phase_train, **options)
            return sum(op.type.startswith("FusedBatchNorm") for op in graph.get_operations())

    images = batch_of((4, 6, 7, 5))
    assert kernels(images) == kernels(images[0, 0]) == 1
    assert kernels(images, phase_train=None) == kernels(images, phase_train=False) == 1
    assert kernels(images, fused=False) == kernels(images, fused=False, phase_train=None) == 0
    assert kernels(images.astype(np.float64)) == 0
    for options in (
        {"axis": (1, 3)},
        {"batch_weights": [1.0] * 4},
        {"virtual_batch_size": 2},
        {"renorm": True},
        {"adjustment": lambda shape: (1.0, 0.0)},
    ):
        assert kernels(images, **options) == 0
        with pytest.raises(ValueError, match="fused=True does not go with"):
            kernels(images, fused=True, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"axis": 1},
        {"axis": (0, 2)},
        {"center": False, "scale": False},
        {"batch_weights": [0.5, 1.0, 2.0, 0.0]},
        {"virtual_batch_size": 2},
        {"adjustment": lambda shape: (tf.constant(1.5, tf.float64), tf.constant(0.2, tf.float64))},
    ],
    # Not `str`, which gives a function's address: that differs between pytest's processes.
    ids=lambda options: " ".join(options) or "defaults",
)
def test_gradients_are_those_of_finite_differences(options):
    values = batch_of((4, 3, 2)).astype(np.float64)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.get_variable("inputs", initializer=values)
        outputs = batch_norm_wrapper(inputs, phase_train=True, zero_debias=False, **options)
        loss = tf.reduce_sum(tf.sin(outputs) * batch_of((4, 3, 2), seed=1))
        gradients = tf.gradients(loss, tf.trainable_variables())
        session.run(tf.global_variables_initializer())
        for over, gradient in zip(tf.trainable_variables(), gradients, strict=True):
            expected = finite_differences(session, loss, over)
            np.testing.assert_allclose(session.run(gradient), expected, rtol=1e-6, atol=1e-6)


def finite_differences(session, loss, over, delta=1e-5):
    start = session.run(over)
    result = np.zeros_like(start)
    for index in np.ndindex(start.shape):
        ends = []
        for step in (delta, -delta):
            moved = start.copy()
            moved[index] += step
            over.load(moved, session)
            ends.append(session.run(loss))
        result[index] = (ends[0] - ends[1]) / (2 * delta)
    over.load(start, session)
    return result


def test_a_weight_of_zero_leaves_an_example_out_and_two_counts_it_twice():
    values = batch_of((5, 3))
    weighted, weighted_variables = run_once(
        values, False, batch_weights=[1.0, 0.0, 2.0, 1.0, 0.0], unbiased=True
    )
    repeated, repeated_variables = run_once(values[[0, 2, 2, 3]], False, fused=False, unbiased=True)
    np.testing.assert_allclose(weighted[0][[0, 2, 2, 3]], repeated[0], atol=1e-5)
    for name in ("pop_mean", "pop_var"):
        np.testing.assert_allclose(weighted_variables[name], repeated_variables[name], rtol=1e-5)


def test_ghost_batches_are_normalized_each_by_itself():
    values = batch_of((12, 3))
    (outputs, *_), variables = run_once(values, virtual_batch_size=4)
    ghosts = [values[i::3] for i in range(3)]
    for i, ghost in enumerate(ghosts):
        np.testing.assert_allclose(outputs[i::3], normalized(ghost, *moments(ghost)), atol=1e-5)
    expected = np.mean([moments(ghost)[1] for ghost in ghosts], axis=0)
    np.testing.assert_allclose(variables["pop_var"], expected, rtol=1e-5)


def test_a_batch_that_has_no_whole_ghost_batches_is_refused_by_their_name():
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 3])
        outputs = batch_norm_wrapper(inputs, True, virtual_batch_size=4)
        session.run(tf.global_variables_initializer())
        with pytest.raises(tf.errors.InvalidArgumentError, match="split_by_virtual_batch_size"):
            session.run(outputs, {inputs: np.zeros([6, 3])})


def test_initializers_may_be_classes():
    with tf.Graph().as_default(), tf.Session() as session:
        initializers = {name: tf.zeros_initializer for name in ("scale", "pop_var")}
        batch_norm_wrapper(tf.zeros([4, 3]), True, renorm=True, initializers=initializers)
        session.run(tf.global_variables_initializer())
        for name in ("scale", "pop_var", "renorm_stddev"):
            np.testing.assert_array_equal(session.run(variable(name)), [0, 0, 0])


def test_an_inference_graph_needs_no_ghost_batches():
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = batch_norm_wrapper(tf.constant(batch_of((5, 3))), virtual_batch_size=4)
        session.run(tf.global_variables_initializer())
        assert session.run(outputs).shape == (5, 3)


def test_renorm_without_room_to_correct_is_batch_norm():
    values = batch_of((8, 3))
    clipping = {"rmin": 1.0, "rmax": 1.0, "dmax": 0.0}
    renormed, _ = run_once(values, renorm=True, renorm_clipping=clipping)
    plain, _ = run_once(values, fused=False)
    for one, other in zip(renormed, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_unclipped_renorm_trains_with_the_outputs_of_inference():
    """It normalizes with the averages as they were before the batch: here mean 0, deviation 1."""
    values = batch_of((8, 3))
    (outputs, *_), variables = run_once(values, renorm=True, epsilon=1e-6)
    np.testing.assert_allclose(outputs, values, rtol=1e-4, atol=1e-4)
    mean, var = moments(values)
    np.testing.assert_allclose(variables["renorm_mean"], 0.01 * mean, rtol=1e-4)
    np.testing.assert_allclose(variables["renorm_stddev"], 0.99 + 0.01 * np.sqrt(var), rtol=1e-4)
    np.testing.assert_allclose(variables["pop_var"], var, rtol=1e-4)


def test_adjustment_scales_and_shifts_in_training_only():
    values = batch_of((8, 3))
    with tf.Graph().as_default(), tf.Session() as session:
        phase_train = tf.placeholder(tf.bool, [])
        adjust = lambda shape: (tf.fill(shape[-1:], 2.0), 0.5)  # noqa: E731
        outputs = batch_norm_wrapper(tf.constant(values), phase_train, adjustment=adjust)
        session.run(tf.global_variables_initializer())
        trained = session.run(outputs, {phase_train: True})
        inferred = session.run(outputs, {phase_train: False})
    np.testing.assert_allclose(trained, 2 * normalized(values, *moments(values)) + 0.5, atol=1e-4)
    np.testing.assert_allclose(inferred, normalized(values, *moments(values)), atol=1e-4)


def test_unbiased_averages_the_variance_of_the_population():
    values = batch_of((4, 3))
    _, biased = run_once(values, False)
    _, unbiased = run_once(values, False, unbiased=True)
    np.testing.assert_allclose(unbiased["pop_var"], biased["pop_var"] * 4 / 3, rtol=1e-5)


def test_without_zero_debias_the_average_starts_at_the_initial_values():
    values = batch_of((8, 3))
    _, variables = run_once(values, False, zero_debias=False, decay=0.9)
    mean, var = moments(values)
    assert set(variables) == {"scale", "beta", "pop_mean", "pop_var"}
    np.testing.assert_allclose(variables["pop_mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(variables["pop_var"], 0.9 + 0.1 * var, rtol=1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_fetches_nothing_but_its_train_op_updates_the_statistics(fused):
    """The gradient of a sum does not need the sum, so the outputs may never be computed."""
    values = batch_of((8, 3))
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = batch_norm_wrapper(tf.constant(values), True, fused=fused)
        train_op = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(outputs))
        session.run(tf.global_variables_initializer())
        session.run(train_op)
        mean = session.run(variable("pop_mean"))
    np.testing.assert_allclose(mean, moments(values)[0], rtol=1e-5)


def test_updates_in_a_collection_are_the_users_to_run():
    values = batch_of((8, 3))
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = batch_norm_wrapper(
            tf.constant(values), True, updates_collections=tf.GraphKeys.UPDATE_OPS
        )
        session.run(tf.global_variables_initializer())
        session.run(outputs)
        np.testing.assert_array_equal(session.run(variable("pop_mean")), 0)
        session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        np.testing.assert_allclose(session.run(variable("pop_mean")), moments(values)[0], rtol=1e-5)


def test_a_layer_that_is_used_twice_averages_over_both_uses():
    one, other = batch_of((8, 3)), batch_of((8, 3), seed=1)
    with tf.Graph().as_default(), tf.Session() as session:
        first = batch_norm_wrapper(tf.constant(one), True, decay=0.5, name="shared")
        with tf.control_dependencies([first]):
            values = tf.constant(other)
        second = batch_norm_wrapper(values, True, decay=0.5, name="shared", reuse=True)
        assert len(tf.trainable_variables()) == 2
        session.run(tf.global_variables_initializer())
        session.run(second)
        mean = session.run(variable("pop_mean"))
    np.testing.assert_allclose(mean, (moments(one)[0] + 2 * moments(other)[0]) / 3, rtol=1e-5)


def test_frozen_means_scale_and_beta_only():
    values = batch_of((8, 3))
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = batch_norm_wrapper(tf.constant(values), True, trainable=False)
        assert not tf.trainable_variables()
        session.run(tf.global_variables_initializer())
        session.run(outputs)
        assert np.abs(session.run(variable("pop_mean"))).max() > 0.1


def test_variables_and_outputs_go_where_they_are_wanted():
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = batch_norm_wrapper(
            tf.zeros([4, 3]),
            True,
            initializers={"beta": tf.constant_initializer(2.0)},
            regularizers={"scale": tf.reduce_sum},
            variables_collections="mine",
            outputs_collections="outputs",
        )
        # Saving this collection saves what the averages need to resume from a checkpoint.
        assert tf.get_collection("mine") == tf.global_variables()
        assert tf.get_collection("outputs") == [outputs]
        session.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(variable("beta")), [2, 2, 2])
        assert session.run(tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)) == [3]


def test_partitioned_parameters_have_whole_averages():
    values = batch_of((8, 6))
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(2)):
            outputs = batch_norm_wrapper(tf.constant(values), True)
        shapes = {
            v.op.name.partition("batch_norm/")[2]: v.shape.as_list() for v in tf.global_variables()
        }
        assert shapes["scale/part_0"] == shapes["beta/part_1"] == [3]
        assert shapes["pop_mean"] == shapes["pop_var"] == [6]
        session.run(tf.global_variables_initializer())
        np.testing.assert_allclose(
            session.run(outputs), normalized(values, *moments(values)), atol=1e-5
        )


@pytest.mark.parametrize("use_resource", [False, True])
def test_reference_and_resource_variables_do_the_same(use_resource):
    batches = [batch_of((8, 3), seed) for seed in range(2)]
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [8, 3])
        with tf.variable_scope("net", use_resource=use_resource):
            outputs = batch_norm_wrapper(inputs, True, decay=0.5)
        session.run(tf.global_variables_initializer())
        for batch in batches:
            session.run(outputs, {inputs: batch})
        mean = session.run(variable("pop_mean"))
    expected = (moments(batches[0])[0] + 2 * moments(batches[1])[0]) / 3
    np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_population_statistics_are_those_of_the_whole_set():
    """Two layers: what reaches the second depends on the statistics of the first."""
    data = batch_of((103, 4), seed=3) ** 2
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 4])
        layers, hidden = [], inputs
        for name in ("one", "two"):
            normal = batch_norm_wrapper(hidden, name=name)
            pop_mean, pop_var = tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, f"{name}/pop")
            layers.append((hidden, pop_mean, pop_var))
            hidden = tf.nn.relu(normal)
        session.run(tf.global_variables_initializer())
        batches = [{inputs: data[i : i + 10]} for i in range(0, 103, 10)]
        population_statistics(session, layers, lambda: batches)

        for layer_inputs, pop_mean, pop_var in layers:
            seen = session.run(layer_inputs, {inputs: data}).astype(np.float64)
            mean, var = session.run([pop_mean, pop_var])
            np.testing.assert_allclose(mean, seen.mean(0), rtol=1e-5)
            np.testing.assert_allclose(var, seen.var(0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axis": True}, "axis must be from -2 to 1, not True"),
        ({"axis": 2}, "axis must be from -2 to 1, not 2"),
        ({"axis": (1, -1)}, r"\(1, -1\)"),
        ({"axis": ()}, r"\(\)"),
        ({"initializers": {"gamma": None}}, "gamma"),
        ({"regularizers": {"pop_mean": None}}, "pop_mean"),
        ({"variables_collections": {"gamma": ["mine"]}}, "variables_collections .* gamma"),
        ({"renorm": True, "renorm_decay": 2}, "renorm_decay .* not 2"),
        ({"virtual_batch_size": 3}, "3 does not divide 8"),
        ({"virtual_batch_size": True}, "not True"),
        ({"batch_weights": [1.0, 2.0]}, r"batch_weights .* \(8,\), .* not \(2,\)"),
        ({"renorm": True, "renorm_clipping": {"rmaximum": 2}}, "rmaximum"),
        ({"virtual_batch_size": 0}, "not 0"),
        ({"virtual_batch_size": 2, "axis": 0}, "dimension 0"),
        ({"virtual_batch_size": 2, "batch_weights": [1.0] * 8}, "batch_weights"),
        ({"virtual_batch_size": 2, "adjustment": lambda shape: (1.0, 0.0)}, "adjustment"),
    ],
)
def test_wrong_options_are_refused_with_the_offending_value(options, message):
    with tf.Graph().as_default(), pytest.raises(ValueError, match=message):
        batch_norm_wrapper(tf.zeros([8, 3]), True, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": "0.9"}, "decay must be a number, not '0.9'"),
        ({"decay": None}, "decay must be a number, not None"),
        ({"epsilon": "1e-3"}, "epsilon must be a number, not '1e-3'"),
        ({"initializers": {"scale": 1.0}}, "initializer of scale must be a function, not 1.0"),
        ({"initializers": abs}, "initializers must be a dict of scale, beta"),
        ({"regularizers": {"scale": 0.1}}, "regularizer of scale must be a function, not 0.1"),
        ({"renorm": True, "renorm_clipping": [1, 2, 3]}, "renorm_clipping must be a dict of rmin"),
        ({"batch_weights": ["a"] * 8}, "batch_weights must be numbers, not string"),
    ],
)
def test_options_of_a_wrong_kind_are_refused_with_their_name(options, message):
    with tf.Graph().as_default(), pytest.raises(TypeError, match=message):
        batch_norm_wrapper(tf.zeros([8, 3]), True, **options)


def test_integers_of_numpy_are_integers():
    with tf.Graph().as_default():
        inputs = tf.zeros([8, 3])
        outputs = batch_norm_wrapper(
            inputs, True, axis=np.int64(1), virtual_batch_size=np.int32(4), decay=np.float32(0.9)
        )
        assert outputs.shape == [8, 3]


def test_folded_into_the_weights_it_computes_the_same():
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, 6, 6, 3))
    weights = generator.normal(size=(3, 3, 3, 4))
    parameters = dict(
        zip(("scale", "beta", "pop_mean"), generator.normal(size=(3, 4)), strict=True)
    )
    parameters["pop_var"] = generator.uniform(0.1, 2, size=4)
    with tf.Graph().as_default(), tf.Session() as session:
        convolved = tf.nn.conv2d(images, weights, 1, "SAME")
        initializers = {name: tf.constant_initializer(p) for name, p in parameters.items()}
        outputs = batch_norm_wrapper(convolved, epsilon=1e-3, initializers=initializers)
        folded_weights, bias = fold_batch_norm(weights, **parameters, epsilon=1e-3)
        folded = tf.nn.bias_add(tf.nn.conv2d(images, folded_weights, 1, "SAME"), bias)
        session.run(tf.global_variables_initializer())
        np.testing.assert_allclose(*session.run((folded, outputs)), rtol=1e-12, atol=1e-12)
