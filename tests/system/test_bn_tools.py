"""What is done with a layer after training: statistics of a whole set, folding, freezing."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import bn_compat
from bn_tools import (
    fold_batch_norm,
    inference_graph_def,
    layers_of,
    population_moments,
    population_statistics,
)
from bn_wrapper import batch_norm_wrapper
from tests.layers import variable

SCALE, BETA, POP_MEAN = np.random.default_rng(0).normal(size=(3, 6))
POP_VAR = np.random.default_rng(1).uniform(0.5, 2.0, size=6)
EPSILON = 1e-3


def build_all(phase_train):
    """A layer of each name, for batches of [None, 3, 4, 3], whose axes 1 and 3 are equally long."""
    inputs = tf.placeholder(tf.float32, [None, 3, 4, 3], name="inputs")
    outputs = [
        batch_norm_wrapper(inputs, phase_train, name="last"),
        batch_norm_wrapper(inputs, phase_train, axis=1, name="first"),
        batch_norm_wrapper(inputs, phase_train, axis=(1, 3), name="both"),
        batch_norm_wrapper(inputs, phase_train, renorm=True, center=False, name="renorm"),
        bn_compat.batch_norm(inputs, is_training=phase_train, data_format="NCHW", scope="contrib"),
        bn_compat.batch_normalization(inputs, 1, training=phase_train, renorm=True, name="layers"),
    ]
    return inputs, outputs


AXES = {"last": [3], "first": [1], "both": [1, 3], "renorm": [3], "contrib": [1], "layers": [1]}


@pytest.mark.parametrize("scope", [None, "old"])
def test_a_graph_tells_its_layers_and_so_does_what_is_imported_of_it(tmp_path, scope):
    with tf.Graph().as_default() as graph:
        build_all(True)
        if scope:
            tf.train.export_meta_graph(str(tmp_path / "graph.meta"))
    if scope:
        with tf.Graph().as_default() as graph:
            tf.train.import_meta_graph(str(tmp_path / "graph.meta"), import_scope=scope)
    prefix = f"{scope}/" if scope else ""
    layers = layers_of(graph)
    assert [layer.axis for layer in layers] == list(AXES.values())
    for name, layer in zip(AXES, layers, strict=True):
        assert layer.inputs.op.name == f"{prefix}inputs"
        assert layer.outputs.op.name.startswith(f"{prefix}{name}/")
        is_old = name in ("contrib", "layers")
        assert layer.epsilon == (1e-3 if is_old else 1e-5)
        variables = layer.variables._asdict()
        names = {f: None if v is None else v.op.name for f, v in variables.items()}
        expected = dict.fromkeys(names) | {
            "beta": "beta",
            "scale": "gamma" if is_old else "scale",
            "pop_mean": "moving_mean" if is_old else "pop_mean",
            "pop_var": "moving_variance" if is_old else "pop_var",
            "pop_weight": None if is_old else "pop_weight",
        }
        if name in ("renorm", "layers"):
            expected |= {"renorm_mean": "renorm_mean", "renorm_stddev": "renorm_stddev"}
        if name == "layers":
            expected["pop_stddev"] = "moving_stddev"
        if name == "contrib":
            expected["scale"] = None
        if name == "renorm":
            expected["beta"] = None
        assert names == {f: n and f"{prefix}{name}/{n}" for f, n in expected.items()}


@pytest.mark.parametrize("kind", ["Session", "MonitoredSession"])
def test_population_statistics_of_any_axis_count_as_data_when_training_goes_on(kind):
    data = np.random.default_rng(0).normal(size=[40, 3, 4, 3]).astype(np.float32)
    data = data * np.arange(1, 4).reshape(3, 1, 1) + np.arange(3)
    with tf.Graph().as_default() as graph:
        phase_train = tf.placeholder_with_default(False, [])
        inputs, outputs = build_all(phase_train)
        layers = layers_of(graph)
        moments = population_moments(layers)
        step = [outputs, tf.get_collection(tf.GraphKeys.UPDATE_OPS)]
        tf.train.get_or_create_global_step()
        session = tf.Session() if kind == "Session" else tf.train.MonitoredSession()
        with session:
            if kind == "Session":
                session.run(tf.global_variables_initializer())
            other = data[:7] + 100
            session.run(step, {inputs: other, phase_train: True})
            # An empty batch adds nothing, and a single example has no variance of its own.
            batches = [data[:1], data[1:18], data[:0], data[18:]]
            feeds = [{inputs: batch} for batch in batches]
            population_statistics(session, layers, lambda: feeds, moments)
            for layer, axes in zip(layers, AXES.values(), strict=True):
                others = tuple(i for i in range(4) if i not in axes)
                exact = data.astype(np.float64)
                expected = exact.mean(others), exact.var(others, ddof=1)
                found = session.run([layer.variables.pop_mean, layer.variables.pop_var])
                for one, wanted in zip(found, expected, strict=True):
                    np.testing.assert_allclose(one.reshape(wanted.shape), wanted, rtol=1e-5)
            session.run(step, {inputs: other, phase_train: True})
            for layer, axes in zip(layers, AXES.values(), strict=True):
                share = 0.001 if "contrib" in layer.outputs.op.name else 0.01
                others = tuple(i for i in range(4) if i not in axes)
                before = exact.mean(others), exact.var(others, ddof=1)
                batch = other.mean(others, dtype=np.float64), other.var(others, dtype=np.float64)
                found = session.run([layer.variables.pop_mean, layer.variables.pop_var])
                for one, was, seen in zip(found, before, batch, strict=True):
                    expected = (1 - share) * was + share * seen
                    np.testing.assert_allclose(one.reshape(was.shape), expected, rtol=1e-3)


def test_layers_inside_of_loops_and_branches_are_not_among_those_that_are_told():
    with tf.Graph().as_default() as graph:
        inputs = tf.placeholder(tf.float32, [4, 8, 3])
        batch_norm_wrapper(inputs, name="plain")
        with tf.variable_scope("loop", use_resource=True):
            tf.map_fn(lambda x: batch_norm_wrapper(x, name="bn", reuse=tf.AUTO_REUSE), inputs)
        tf.cond(tf.equal(tf.size(inputs), 0), lambda: batch_norm_wrapper(inputs), lambda: inputs)
        (layer,) = layers_of(graph)
        assert layer.variables.pop_mean.op.name == "plain/pop_mean"


def test_population_statistics_of_more_values_than_an_int32_counts():
    with tf.Graph().as_default() as graph, tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 1])
        batch_norm_wrapper(inputs)
        session.run(tf.global_variables_initializer())
        # As if each feed had 2 ** 30 values; actually feeding them would take hours.
        moments = [((inputs[0], tf.ones([1], tf.float64)), tf.constant(2**30))]
        feeds = [{inputs: [[float(i)]]} for i in range(3)]
        population_statistics(session, layers_of(graph), lambda: feeds, moments)
        np.testing.assert_allclose(session.run(variable("pop_mean")), [1.0])
        np.testing.assert_allclose(session.run(variable("pop_var")), [1 + 2 / 3], rtol=1e-6)


def test_population_statistics_say_what_they_lack():
    with tf.Graph().as_default() as graph, tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 3])
        outputs = batch_norm_wrapper(inputs)
        session.run(tf.global_variables_initializer())
        layers = layers_of(graph)
        with pytest.raises(ValueError, match="two values a channel or more, found 1"):
            population_statistics(session, layers, lambda: [{inputs: np.zeros([1, 3])}])
        with pytest.raises(ValueError, match="channels of .* are not known"):
            pop_mean, pop_var = layers[0].variables[2:4]
            population_moments([(tf.reshape(outputs, [-1, 3, 1]), pop_mean, pop_var)])
        graph.finalize()
        with pytest.raises(RuntimeError, match="population_moments"):
            population_statistics(session, layers, lambda: [{inputs: np.zeros([2, 3])}])


def dense(inputs, weights):
    return tf.matmul(inputs, weights)


def transposed(inputs, weights):
    shape = [2, 6, 6, weights.shape[2]]
    return tf.nn.conv2d_transpose(inputs, weights, shape, strides=1)


def separable(inputs, weights):
    depthwise = np.random.default_rng(4).normal(size=[3, 3, 4, 2])
    return tf.nn.separable_conv2d(inputs, depthwise, weights, [1, 1, 1, 1], "SAME")


# Kind, shape of the inputs, shape of the weights with six output channels, and the layer. A square
# filter has the right shape whichever axis is folded.
LINEAR_LAYERS = {
    "dense": ("dense", [2, 4], [4, 6], dense),
    "square": ("dense", [2, 6], [6, 6], dense),
    "1-D": ("convolution", [2, 8, 4], [3, 4, 6], lambda x, w: tf.nn.conv1d(x, w, 1, "SAME")),
    "2-D": ("convolution", [2, 6, 6, 4], [3, 3, 4, 6], lambda x, w: tf.nn.conv2d(x, w, 1, "SAME")),
    "3-D": (
        "convolution",
        [2, 4, 4, 4, 3],
        [2, 2, 2, 3, 6],
        lambda x, w: tf.nn.conv3d(x, w, [1] * 5, "SAME"),
    ),
    "transposed": ("transposed_convolution", [2, 6, 6, 4], [3, 3, 6, 4], transposed),
    "transposed, square": ("transposed_convolution", [2, 6, 6, 6], [3, 3, 6, 6], transposed),
    "depthwise": (
        "depthwise_convolution",
        [2, 6, 6, 3],
        [3, 3, 3, 2],
        lambda x, w: tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME"),
    ),
    "separable": ("separable_convolution", [2, 6, 6, 4], [1, 1, 8, 6], separable),
}


@pytest.mark.parametrize("are_tensors", [False, True])
@pytest.mark.parametrize("name", LINEAR_LAYERS)
def test_folded_into_its_weights_a_linear_layer_computes_what_the_two_layers_did(name, are_tensors):
    kind, inputs_shape, weights_shape, apply = LINEAR_LAYERS[name]
    random = np.random.default_rng(2)
    inputs, weights = random.normal(size=inputs_shape), random.normal(size=weights_shape)
    bias = random.normal(size=6)
    with tf.Graph().as_default(), tf.Session() as session:
        pairs = []
        for has_bias, has_scale, has_beta in ((0, 1, 1), (1, 1, 0), (1, 0, 1), (0, 0, 0)):
            linear = apply(tf.constant(inputs), weights) + has_bias * bias
            values = {"pop_mean": POP_MEAN, "pop_var": POP_VAR, "scale": SCALE, "beta": BETA}
            unfolded = batch_norm_wrapper(
                linear,
                epsilon=EPSILON,
                scale=bool(has_scale),
                center=bool(has_beta),
                initializers={name: tf.constant_initializer(v) for name, v in values.items()},
            )
            given = [weights, SCALE if has_scale else None, BETA if has_beta else None]
            given += [POP_MEAN, POP_VAR, EPSILON, bias if has_bias else None]
            if are_tensors:
                given = [v if v is None or v is EPSILON else tf.constant(v) for v in given]
            folded_weights, folded_bias = fold_batch_norm(*given, layer=kind)
            pairs.append((apply(tf.constant(inputs), folded_weights) + folded_bias, unfolded))
        session.run(tf.global_variables_initializer())
        for folded, unfolded in session.run(pairs):
            np.testing.assert_allclose(folded, unfolded, rtol=1e-9, atol=1e-9)


def test_folding_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="dense, depthwise_convolution, .* not 'conv'"):
        fold_batch_norm(np.ones([4, 6]), SCALE, BETA, POP_MEAN, POP_VAR, EPSILON, layer="conv")
    with pytest.raises(ValueError, match=r"have 12 output channels, .* shape \(6,\)"):
        weights = np.ones([3, 3, 6, 2])
        fold_batch_norm(
            weights, SCALE, BETA, POP_MEAN, POP_VAR, EPSILON, layer="depthwise_convolution"
        )


@pytest.mark.parametrize("use_resource", [False, True])
@pytest.mark.parametrize("is_v2", [False, True])
@pytest.mark.parametrize("fused", [None, False])
def test_a_graph_with_a_placeholder_for_its_phase_can_be_frozen(use_resource, is_v2, fused):
    batch = np.random.default_rng(0).normal(5.0, 2.0, size=[8, 4, 4, 3]).astype(np.float32)
    was_v2 = tf.control_flow_v2_enabled()
    (tf.enable_control_flow_v2 if is_v2 else tf.disable_control_flow_v2)()
    try:
        with tf.Graph().as_default() as graph, tf.Session() as session:
            inputs = tf.placeholder(tf.float32, [None, 4, 4, 3], name="inputs")
            phase_train = tf.placeholder(tf.bool, [], name="phase")
            with tf.variable_scope("net", use_resource=use_resource):
                hidden = batch_norm_wrapper(inputs, phase_train, fused=fused)
                hidden = bn_compat.batch_norm(
                    hidden, is_training=phase_train, updates_collections=None, fused=fused
                )
                outputs = bn_compat.batch_normalization(hidden, training=phase_train, fused=fused)
            session.run(tf.global_variables_initializer())
            for _ in range(3):
                session.run(outputs, {inputs: batch, phase_train: True})
            expected = session.run(outputs, {inputs: batch[:2], phase_train: False})
            frozen = tf.graph_util.convert_variables_to_constants(
                session, inference_graph_def(graph, phase_train, [outputs]), [outputs.op.name]
            )
    finally:
        (tf.enable_control_flow_v2 if was_v2 else tf.disable_control_flow_v2)()
    assert not any("Assign" in node.op or "Var" in node.op for node in frozen.node)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs, imported = tf.import_graph_def(
            frozen, return_elements=["inputs:0", outputs.name], name=""
        )
        found = session.run(imported, {inputs: batch[:2]})
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        model = tf.lite.TFLiteConverter.from_session(session, [inputs], [imported]).convert()
    interpreter = tf.lite.Interpreter(model_content=model)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], [2, 4, 4, 3])
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], batch[:2])
    interpreter.invoke()
    np.testing.assert_allclose(
        interpreter.get_tensor(target["index"]), expected, rtol=1e-5, atol=1e-5
    )


def test_statistics_may_be_computed_for_a_tuple_of_old():
    data = np.random.default_rng(0).normal(size=[10, 3, 3]).astype(np.float32)
    data *= np.arange(1, 4).reshape(3, 1)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 3, 3])
        batch_norm_wrapper(inputs, axis=1)
        session.run(tf.global_variables_initializer())
        layer = (inputs, variable("pop_mean"), variable("pop_var"))
        population_statistics(session, [layer], lambda: [{inputs: data}])
        expected = data.var((0, 2), ddof=1, dtype=np.float64)
        np.testing.assert_allclose(session.run(variable("pop_var")), expected, rtol=1e-5)
