"""What programs written for TF1's batch norms rely on. Where a document cites a test, it is here.

`test_originals.py` compares the numbers themselves with those of TF 1.15.
"""

import functools
import importlib
import inspect
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import bn_compat
from tests import layers
from tests.documents import DOCUMENTS, programs
from tests.helpers import PROJECT
from tests.layers import batch_of, variable
from tests.originals import golden

# Argument names and defaults of TF 1.15.5, in order. A default of None may stand for an initializer
# or the ReLU of `conv2d`; other tests check the initial values.
SIGNATURES = golden.signatures()
NORMS = ("batch_norm", "batch_normalization", "BatchNormalization")

# What a layer does: which statistics it normalizes with, whether the moving averages move once the
# update ops have run, and whether an optimizer changes gamma and beta.
TRAINING = ("batch", "averages move", "parameters train")
INFERENCE = ("moving averages", "averages stay", "parameters train")
FROZEN_TRAINING = ("batch", "averages move", "parameters stay")
FROZEN_LAYER = ("batch", "averages stay", "parameters stay")
FROZEN_INFERENCE = ("moving averages", "averages stay", "parameters stay")

normalized = functools.partial(layers.normalized, epsilon=1e-3)


def update_ops():
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS)


def variable_names(collection=tf.GraphKeys.GLOBAL_VARIABLES):
    return [v.op.name for v in tf.get_collection(collection)]


@pytest.fixture
def session():
    """A session with its own graph, which is the default one."""
    with tf.Graph().as_default(), tf.Session() as session:
        yield session


@pytest.mark.parametrize("name", NORMS)
def test_arguments_are_those_of_tf1(name):
    parameters = inspect.signature(getattr(bn_compat, name)).parameters.values()
    ours = [(p.name, p.default) for p in parameters if p.kind != p.VAR_KEYWORD]
    required, optional = SIGNATURES[name]["required"], SIGNATURES[name]["optional"]
    assert [ours.pop(0)[0] for _ in required] == required
    assert ours[: len(optional)] == [tuple(pair) for pair in optional]
    assert [(n, d) for n, d in ours[len(optional) :] if not n.startswith("_")] == (
        [] if name == "batch_norm" else [("trainable_semantics", "tf1.15")]
    )


@pytest.mark.parametrize("name", sorted(set(SIGNATURES) - set(NORMS)))
def test_arguments_of_contribs_other_layers_are_those_of_tf1(name):
    parameters = inspect.signature(getattr(bn_compat, name)).parameters
    recorded = SIGNATURES[name]
    assert list(parameters) == recorded["required"] + [name for name, _ in recorded["optional"]]
    for name, default in recorded["optional"]:
        assert default in (None, parameters[name].default)
    assert bn_compat.convolution2d is bn_compat.conv2d


@pytest.mark.parametrize("hook", ["_assign_moving_average", "_fused_batch_norm"])
def test_a_subclass_that_overrides_what_is_not_called_is_refused(session, hook):
    subclass = type("Subclass", (bn_compat.BatchNormalization,), {hook: lambda self, *args: None})
    with pytest.raises(NotImplementedError, match=f"Subclass overrides {hook}"):
        subclass()(tf.zeros([4, 3]))


def test_a_subclass_whose_moments_have_a_mask_passes_it_on(session):
    """As those written for later versions of the layer, which pass the mask by its name."""

    class Masked(bn_compat.BatchNormalization):
        mask = None

        def _moments(self, inputs, reduction_axes, keep_dims, mask=None):
            mask = self.mask if mask is None else mask
            return super()._moments(inputs, reduction_axes, keep_dims=keep_dims, mask=mask)

    values = batch_of((2, 5, 3))
    mask = np.array([[True, True, False, False, True], [True, False, False, False, True]])
    plain, masked = Masked(), Masked()
    masked.mask = tf.constant(mask)
    outputs = [layer(tf.constant(values), training=True) for layer in (plain, masked)]
    session.run(tf.global_variables_initializer())
    outputs = session.run(outputs)
    for found, counted in zip(outputs, (values.reshape(-1, 3), values[mask]), strict=True):
        expected = normalized(values, counted.mean(0), counted.var(0))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_initial_values_are_those_of_tf1(session):
    bn_compat.batch_norm(tf.zeros([4, 3]), scale=True, scope="contrib")
    bn_compat.batch_normalization(tf.zeros([4, 3]), name="layers")
    session.run(tf.global_variables_initializer())
    for scope in ("contrib", "layers"):
        for name, value in (("gamma", 1), ("beta", 0), ("moving_mean", 0), ("moving_variance", 1)):
            assert session.run(variable(f"{scope}/{name}")).tolist() == [value] * 3


def test_variables_are_called_as_in_old_checkpoints(session):
    inputs = tf.zeros([4, 3])
    for _ in range(2):
        bn_compat.batch_norm(inputs)
        bn_compat.batch_normalization(inputs)
    with tf.variable_scope("net"):
        bn_compat.fully_connected(inputs, 2, normalizer_fn=bn_compat.batch_norm)
    assert set(variable_names()) == {
        *(f"BatchNorm{i}/{v}" for i in ("", "_1") for v in ("beta",)),
        *(f"BatchNorm{i}/moving_{v}" for i in ("", "_1") for v in ("mean", "variance")),
        *(f"batch_normalization{i}/{v}" for i in ("", "_1") for v in ("gamma", "beta")),
        *(f"batch_normalization{i}/moving_{v}" for i in ("", "_1") for v in ("mean", "variance")),
        "net/fully_connected/weights",
        "net/fully_connected/BatchNorm/beta",
        "net/fully_connected/BatchNorm/moving_mean",
        "net/fully_connected/BatchNorm/moving_variance",
    }


def test_variables_of_the_rarer_options_are_called_as_in_old_checkpoints(session):
    bn_compat.batch_norm(tf.zeros([4, 3]), zero_debias_moving_mean=True, scope="debiased")
    bn_compat.batch_norm(tf.zeros([4, 3]), renorm=True, scope="renorm")
    bn_compat.batch_normalization(
        tf.zeros([4, 5, 6, 3]), virtual_batch_size=2, training=True, name="ghost"
    )
    averages = ["beta", "moving_mean", "moving_variance"]
    assert set(variable_names()) == {
        *(f"debiased/{name}" for name in averages),
        "debiased/debiased/moving_mean/biased",  # TF1 doubled the scope
        "debiased/debiased/moving_mean/local_step",
        *(f"renorm/{name}" for name in averages),
        *(f"renorm/{name}" for name in ("moving_stddev", "renorm_mean", "renorm_stddev")),
        *(f"ghost/{name}" for name in ["gamma", *averages]),
    }
    assert variable("ghost/moving_mean").shape == (1, 1, 1, 1, 3), "the rank of the ghost batches"


def test_gamma_and_beta_are_trainable_and_contribs_are_model_variables(session):
    bn_compat.batch_norm(tf.zeros([4, 3]), scale=True, scope="contrib")
    bn_compat.batch_normalization(tf.zeros([4, 3]), name="layers")
    assert set(variable_names(tf.GraphKeys.TRAINABLE_VARIABLES)) == {
        f"{scope}/{name}" for scope in ("contrib", "layers") for name in ("gamma", "beta")
    }
    assert set(variable_names(tf.GraphKeys.MODEL_VARIABLES)) == {
        f"contrib/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")
    }


def what_it_does(session, layer, **options):
    """Runs one training step with the update ops; describes what it did as in TRAINING."""
    values = batch_of((16, 3))
    outputs = layer(tf.constant(values), **options)
    # Something besides the layer must be trainable, or there might be nothing to minimize.
    loss = tf.reduce_sum(outputs * batch_of((16, 3), seed=1)) * tf.get_variable("weight", [])
    with tf.control_dependencies(update_ops()):
        train_op = tf.train.GradientDescentOptimizer(1.0).minimize(loss)
    session.run(tf.global_variables_initializer())
    observed = {v.op.name.split("/")[-1]: v for v in tf.global_variables()}
    before = session.run(observed)
    result, _ = session.run((outputs, train_op))
    after = session.run(observed)
    return described(values, result, before, after)


def described(values, outputs, before, after):
    if np.allclose(outputs, normalized(values, values.mean(0), values.var(0)), atol=1e-4):
        statistics = "batch"
    else:
        np.testing.assert_allclose(outputs, normalized(values, 0.0, 1.0), rtol=1e-4)
        statistics = "moving averages"
    moved = [not np.array_equal(before[n], after[n]) for n in ("moving_mean", "moving_variance")]
    trained = not np.array_equal(before["beta"], after["beta"])
    assert moved[0] == moved[1]
    return (
        statistics,
        "averages move" if moved[0] else "averages stay",
        "parameters train" if trained else "parameters stay",
    )


def with_all_flags(frozen_training):
    """The rows of the table in docs/batch_norm.md; the APIs differ in one row."""
    rows = [
        (True, True, TRAINING),
        (True, False, frozen_training),
        (False, True, INFERENCE),
        (False, False, FROZEN_INFERENCE),
    ]
    return pytest.mark.parametrize(("training", "trainable", "expected"), rows)


@with_all_flags(frozen_training=FROZEN_TRAINING)
def test_flags_of_contrib(session, training, trainable, expected):
    layer = bn_compat.batch_norm
    assert what_it_does(session, layer, is_training=training, trainable=trainable) == expected


def test_flags_that_are_not_given(session):
    assert what_it_does(session, bn_compat.batch_norm) == TRAINING
    with tf.Graph().as_default(), tf.Session() as session:
        assert what_it_does(session, bn_compat.batch_normalization) == INFERENCE


@with_all_flags(frozen_training=FROZEN_LAYER)
def test_flags_of_tf_layers(session, training, trainable, expected):
    layer = bn_compat.batch_normalization
    assert what_it_does(session, layer, training=training, trainable=trainable) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, FROZEN_TRAINING),
        ({"fused": False}, FROZEN_LAYER),
        ({"fused": False, "updates_collections": None}, FROZEN_TRAINING),
        ({"fused": False, "zero_debias_moving_mean": True}, FROZEN_TRAINING),
        ({"batch_weights": [1.0] * 16}, FROZEN_TRAINING),
    ],
    ids=str,
)
def test_frozen_contrib_averages_where_tf1_did(session, options, expected):
    assert what_it_does(session, bn_compat.batch_norm, trainable=False, **options) == expected


@with_all_flags(frozen_training=FROZEN_TRAINING)
def test_flags_with_the_semantics_of_tf1(session, training, trainable, expected):
    options = {"training": training, "trainable": trainable, "trainable_semantics": "tf1"}
    assert what_it_does(session, bn_compat.batch_normalization, **options) == expected


@with_all_flags(frozen_training=FROZEN_INFERENCE)
def test_flags_with_the_semantics_of_tf2(session, training, trainable, expected):
    options = {"training": training, "trainable": trainable, "trainable_semantics": "tf2"}
    assert what_it_does(session, bn_compat.batch_normalization, **options) == expected


@with_all_flags(frozen_training=FROZEN_INFERENCE)
def test_flags_of_keras_itself_are_those_of_our_tf2(training, trainable, expected):
    keras = pytest.importorskip("keras", minversion="3")
    import tensorflow

    values = batch_of((16, 3))
    layer = keras.layers.BatchNormalization(trainable=trainable)
    layer.build(values.shape)
    before = {v.name: v.numpy() for v in layer.weights}
    with tensorflow.GradientTape() as tape:
        outputs = layer(values, training=training)
        loss = tensorflow.reduce_sum(outputs * batch_of((16, 3), seed=1))
    if layer.trainable_variables:
        gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
        keras.optimizers.SGD(1.0).apply(gradients, layer.trainable_variables)
    after = {v.name: v.numpy() for v in layer.weights}
    assert described(values, outputs.numpy(), before, after) == expected


@pytest.mark.parametrize("layer", ["batch_norm", "batch_normalization"])
def test_a_step_without_the_update_ops_forgets_its_batch(session, layer):
    values = batch_of((16, 3))
    flag = {"is_training": True} if layer == "batch_norm" else {"training": True}
    outputs = getattr(bn_compat, layer)(tf.constant(values), **flag)
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    forgetful = optimizer.minimize(tf.reduce_sum(outputs**2))
    with tf.control_dependencies(update_ops()):
        mindful = optimizer.minimize(tf.reduce_sum(outputs**2))
    (mean,) = [v for v in tf.global_variables() if v.op.name.endswith("moving_mean")]
    session.run(tf.global_variables_initializer())
    session.run(forgetful)
    assert session.run(mean).tolist() == [0, 0, 0]
    session.run(mindful)
    decay = 0.999 if layer == "batch_norm" else 0.99
    np.testing.assert_allclose(session.run(mean), (1 - decay) * values.mean(0), rtol=1e-4)


@pytest.mark.parametrize("fused", [None, False])
def test_updates_collections_none_updates_with_the_train_op_alone(session, fused):
    values = batch_of((4, 2, 2, 3))
    outputs = bn_compat.batch_norm(
        tf.constant(values), decay=0.5, updates_collections=None, fused=fused, scope="bn"
    )
    train_op = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(outputs))
    session.run(tf.global_variables_initializer())
    session.run(train_op)
    assert not update_ops()
    expected = 0.5 * values.mean((0, 1, 2))
    np.testing.assert_allclose(session.run(variable("bn/moving_mean")), expected, rtol=1e-4)


def test_update_ops_go_to_a_collection_of_ones_own(session):
    bn_compat.batch_norm(tf.zeros([4, 3]), updates_collections="mine")
    assert len(tf.get_collection("mine")) == 2
    assert not update_ops()


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("kind", ["bool", "constant", "placeholder"])
def test_is_training_may_be_a_bool_a_constant_or_a_placeholder(session, kind, value):
    values = batch_of((16, 3))
    flags = {"bool": value, "constant": tf.constant(value), "placeholder": tf.placeholder(tf.bool)}
    flag = flags[kind]
    outputs = [
        bn_compat.batch_norm(tf.constant(values), is_training=flag),
        bn_compat.batch_normalization(tf.constant(values), training=flag),
    ]
    # A constant's value is known when the graph is built, and inference needs no updates.
    assert len(update_ops()) == (0 if not value and kind != "placeholder" else 4)
    session.run(tf.global_variables_initializer())
    mean, var = (values.mean(0), values.var(0)) if value else (0.0, 1.0)
    for result in session.run(outputs, {flag: value} if kind == "placeholder" else {}):
        np.testing.assert_allclose(result, normalized(values, mean, var), atol=1e-4)


def test_a_layer_called_twice_shares_variables_and_collects_updates(session):
    layer = bn_compat.BatchNormalization(momentum=0.5, name="shared")
    batches = [batch_of((16, 3), seed) for seed in range(2)]
    for batch in batches:
        layer(tf.constant(batch), training=True)
    assert [v.op.name for v in layer.trainable_weights] == ["shared/gamma", "shared/beta"]
    assert [v.op.name for v in layer.non_trainable_weights] == [
        "shared/moving_mean",
        "shared/moving_variance",
    ]
    assert layer.weights == layer.trainable_weights + layer.non_trainable_weights
    assert set(layer.weights) == set(tf.global_variables())
    assert len(layer.updates) == 4 and layer.updates == update_ops()
    session.run(tf.global_variables_initializer())
    for update in layer.updates:
        session.run(update)
    first, second = (batch.mean(0) for batch in batches)
    expected = (0 * 0.5 + first * 0.5) * 0.5 + second * 0.5
    np.testing.assert_allclose(session.run(layer.moving_mean), expected, rtol=1e-4)


def test_a_frozen_layer_counts_gamma_and_beta_among_the_non_trainable(session):
    layer = bn_compat.BatchNormalization(trainable=False)
    layer(tf.zeros([4, 3]), training=True)
    assert layer.trainable_weights == [] and not tf.trainable_variables()
    assert len(layer.non_trainable_weights) == 4


@pytest.mark.parametrize("reuse", [True, tf.AUTO_REUSE])
@pytest.mark.parametrize("layer", ["batch_norm", "batch_normalization"])
def test_a_training_and_an_inference_layer_share_their_variables_by_name(session, layer, reuse):
    name, flag = {
        "batch_norm": ("scope", "is_training"),
        "batch_normalization": ("name", "training"),
    }[layer]
    build, inputs = getattr(bn_compat, layer), tf.constant(batch_of((16, 3)))
    build(inputs, **{name: "bn", flag: True, "reuse": None if reuse is True else reuse})
    built = variable_names()
    build(inputs, **{name: "bn", flag: False, "reuse": reuse})
    assert variable_names() == built
    assert len(update_ops()) == 2, "the inference layer has no updates"


def test_a_name_taken_is_refused_unless_it_is_reused(session):
    bn_compat.batch_normalization(tf.zeros([4, 3]), name="bn")
    with pytest.raises(ValueError, match="bn/gamma already exists"):
        bn_compat.batch_normalization(tf.zeros([4, 3]), name="bn")
    with pytest.raises(ValueError, match="other/gamma does not exist"):
        bn_compat.batch_normalization(tf.zeros([4, 3]), name="other", reuse=True)


def inference_of_the_first_example(normalizer_params):
    """Outputs of an inference graph for one image, batched with each of two others."""
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [None, 4, 4, 1])
        outputs = bn_compat.conv2d(
            images,
            2,
            3,
            activation_fn=None,
            normalizer_fn=bn_compat.batch_norm,
            normalizer_params=normalizer_params,
        )
        session.run(tf.global_variables_initializer())
        image, *others = (batch_of((1, 4, 4, 1), seed) * 5**seed for seed in range(3))
        return [session.run(outputs, {images: np.concatenate([image, o])})[0] for o in others]


def test_a_normalizer_that_is_not_told_the_phase_makes_outputs_depend_on_the_batch():
    one, other = inference_of_the_first_example(None)
    assert np.abs(one - other).max() > 0.1


def test_a_normalizer_that_is_told_the_phase_does_not():
    one, other = inference_of_the_first_example({"is_training": False})
    np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("layer", ["conv2d", "fully_connected"])
def test_channels_that_are_not_known_are_told_of_by_their_name(session, layer):
    options = {"kernel_size": 3} if layer == "conv2d" else {}
    inputs = tf.placeholder(tf.float32, [None, 8, 8, None] if options else [None, None])
    with pytest.raises(ValueError, match="the channels, must be known"):
        getattr(bn_compat, layer)(inputs, 4, **options)


def test_a_normalizer_takes_the_place_of_the_bias(session):
    bn_compat.fully_connected(tf.zeros([4, 3]), 2, scope="biased")
    bn_compat.fully_connected(
        tf.zeros([4, 3]), 2, normalizer_fn=bn_compat.batch_norm, scope="normalized"
    )
    assert set(variable_names(tf.GraphKeys.TRAINABLE_VARIABLES)) == {
        "biased/weights",
        "biased/biases",
        "normalized/weights",
        "normalized/BatchNorm/beta",
    }


LEGACY_OPTIONS = {
    "default": {},
    "updates in place": {"updates_collections": None, "fused": False},
    "zero-debiased": {"zero_debias_moving_mean": True, "fused": False},
    "weighted": {"batch_weights": np.ones(4, np.float32)},
}


@pytest.mark.parametrize("options", LEGACY_OPTIONS.values(), ids=LEGACY_OPTIONS)
def test_regularizers_and_adjustment_go_with_every_option(session, options):
    """Contrib silently ignored them wherever it used its own old implementation."""
    values = batch_of((4, 3))
    outputs = bn_compat.batch_norm(
        tf.constant(values),
        param_initializers={"beta": tf.constant_initializer(2.0)},
        param_regularizers={"beta": tf.nn.l2_loss},
        adjustment=lambda shape: (tf.fill(shape[-1:], 10.0), tf.fill(shape[-1:], 1.0)),
        **options,
    )
    session.run(tf.global_variables_initializer())
    expected = 10 * normalized(values, values.mean(0), values.var(0)) + 1 + 2
    np.testing.assert_allclose(session.run(outputs), expected, rtol=1e-4)
    assert session.run(tf.losses.get_regularization_losses()) == [3 * 2.0**2 / 2]


def test_regularization_losses_are_collected_once_though_a_layer_is_reused(session):
    layer = bn_compat.BatchNormalization(
        gamma_regularizer=tf.nn.l2_loss, beta_regularizer=lambda beta: tf.reduce_sum(beta) + 7
    )
    for _ in range(2):
        layer(tf.zeros([4, 3]), training=True)
    session.run(tf.global_variables_initializer())
    assert sorted(session.run(tf.losses.get_regularization_losses())) == [1.5, 7]


def test_constraints_hold_after_a_training_step(session):
    outputs = bn_compat.batch_normalization(
        tf.constant(batch_of((4, 3))), training=True, beta_constraint=tf.nn.relu, name="bn"
    )
    optimizer = tf.train.GradientDescentOptimizer(1.0)
    train_op = optimizer.minimize(tf.reduce_sum(outputs * [1.0, -1.0, 1.0]))
    session.run(tf.global_variables_initializer())
    session.run(train_op)
    np.testing.assert_allclose(session.run(variable("bn/beta")), [0, 4, 0], atol=1e-6)


def test_a_list_of_collections_is_for_all_variables_and_a_dict_for_some(session):
    bn_compat.batch_norm(tf.zeros([4, 3]), variables_collections=["all"], scope="a")
    bn_compat.batch_norm(
        tf.zeros([4, 3]),
        variables_collections={"beta": "some", "moving_mean": ["some", "means"]},
        scope="b",
    )
    assert set(variable_names("all")) == {"a/beta", "a/moving_mean", "a/moving_variance"}
    assert set(variable_names("some")) == {"b/beta", "b/moving_mean"}
    assert variable_names("means") == ["b/moving_mean"]
    bn_compat.batch_norm(tf.zeros([4, 3]), variables_collections="all", scope="a", reuse=True)
    assert len(variable_names("all")) == 3, "TF 1.15 made collections of the letters of a name"
    assert not variable_names("a")
    assert len(variable_names()) == len(variable_names(tf.GraphKeys.MODEL_VARIABLES)) == 6


def test_the_activation_comes_last_and_its_output_is_collected(session):
    values = batch_of((4, 3))
    outputs = bn_compat.batch_norm(
        tf.constant(values), activation_fn=tf.nn.relu, outputs_collections="outputs"
    )
    assert tf.get_collection("outputs") == [outputs]
    session.run(tf.global_variables_initializer())
    expected = np.maximum(normalized(values, values.mean(0), values.var(0)), 0)
    np.testing.assert_allclose(session.run(outputs), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("options", LEGACY_OPTIONS.values(), ids=LEGACY_OPTIONS)
def test_variables_of_half_precision_inputs_are_float32(session, dtype, options):
    outputs = bn_compat.batch_norm(tf.zeros([4, 3], dtype), **options)
    assert outputs.dtype == dtype
    # local_step and biased of the zero-debiased average included
    assert {v.dtype.base_dtype for v in tf.global_variables()} == {tf.float32}
    session.run(tf.global_variables_initializer())
    assert np.array_equal(session.run(tf.cast(outputs, tf.float32)), np.zeros([4, 3]))


def test_half_precision_inputs_far_from_zero_are_normalized_accurately(session):
    """The mean is subtracted in float32; TF1 did it in half precision and was off by 0.09 here."""
    values = (np.random.RandomState(0).randn(64, 4) + 100).astype(np.float16)
    outputs = bn_compat.batch_normalization(tf.constant(values), training=True)
    session.run(tf.global_variables_initializer())
    exact = values.astype(np.float64)
    expected = normalized(exact, exact.mean(0), exact.var(0))
    np.testing.assert_allclose(session.run(outputs), expected, atol=2e-3)


def test_a_partitioner_splits_gamma_and_beta_but_not_the_moving_averages(session):
    with tf.variable_scope("split", partitioner=tf.fixed_size_partitioner(2)):
        bn_compat.batch_norm(tf.zeros([4, 6]), scale=True, scope="contrib")
        bn_compat.batch_normalization(tf.zeros([4, 6]), training=True, name="layers")
    assert set(variable_names()) == {
        f"split/{layer}/{name}"
        for layer in ("contrib", "layers")
        for name in (
            *(f"{parameter}/part_{i}" for parameter in ("gamma", "beta") for i in range(2)),
            "moving_mean",
            "moving_variance",
        )
    }


@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize("fused", [None, False])
def test_channels_first_is_channels_last_transposed(session, fused, rank):
    values = batch_of((8, 3) if rank == 2 else (4, 2, 5, 3))
    first = values if rank == 2 else values.transpose(0, 3, 1, 2)
    outputs = [
        bn_compat.batch_norm(tf.constant(first), data_format="NCHW", fused=fused),
        bn_compat.batch_normalization(tf.constant(first), axis=1, training=True, fused=fused),
    ]
    axes = tuple(range(rank - 1))
    expected = normalized(values, values.mean(axes), values.var(axes))
    session.run(tf.global_variables_initializer())
    for result in session.run(outputs):
        last = result if rank == 2 else result.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(last, expected, atol=1e-4)


def test_the_fused_kernel_honours_a_small_epsilon(session):
    """TF1 used at least 1.001e-5, so 0.001 and -0.001 came out as 0.301 and -0.301."""
    outputs = bn_compat.batch_normalization(
        tf.constant([[[[1e-3]]], [[[-1e-3]]]]), epsilon=1e-7, training=True, fused=True
    )
    session.run(tf.global_variables_initializer())
    expected = 1e-3 / np.sqrt(1e-6 + 1e-7)
    np.testing.assert_allclose(session.run(outputs).ravel(), [expected, -expected], rtol=1e-4)


@pytest.mark.parametrize(
    ("rank", "fused", "contrib_ddof", "layers_ddof"),
    [(2, None, 1, 0), (2, False, 0, 0), (4, None, 1, 1), (4, False, 0, 0)],
)
def test_the_fused_kernel_averages_the_unbiased_variance(
    session, rank, fused, contrib_ddof, layers_ddof
):
    values = batch_of((8, 3) if rank == 2 else (4, 1, 2, 3))
    inputs = tf.constant(values)
    bn_compat.batch_norm(inputs, decay=0.0, fused=fused, scope="contrib")
    bn_compat.batch_normalization(inputs, momentum=0.0, training=True, fused=fused, name="layers")
    session.run(tf.global_variables_initializer())
    session.run(update_ops())
    for scope, ddof in (("contrib", contrib_ddof), ("layers", layers_ddof)):
        found = session.run(variable(f"{scope}/moving_variance"))
        expected = values.var(tuple(range(rank - 1)), ddof=ddof)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("layer", "arguments", "error", "message"),
    [
        ("batch_norm", {"data_format": "NHCW"}, ValueError, "'NHCW'"),
        ("batch_norm", {"renorm": True, "batch_weights": [1.0] * 4}, ValueError, "batch_weights"),
        ("batch_norm", {"renorm": True, "updates_collections": None}, ValueError, "renorm"),
        ("batch_norm", {"renorm": True, "zero_debias_moving_mean": True}, ValueError, "renorm"),
        ("batch_norm", {"renorm": True, "renorm_clipping": {"max": 3}}, ValueError, "not max"),
        ("batch_norm", {"is_training": None}, TypeError, "None"),
        (
            "batch_norm",
            {"param_initializers": {"scale": None}},
            ValueError,
            "param_initializers .* not scale",
        ),
        (
            "batch_norm",
            {"param_regularizers": abs},
            TypeError,
            "param_regularizers must be a dict of beta, gamma",
        ),
        (
            "batch_norm",
            {"param_regularizers": {"bias": None}},
            ValueError,
            "param_regularizers .* not bias",
        ),
        (
            "batch_norm",
            {"variables_collections": {"bias": ["c"]}},
            ValueError,
            "variables_collections .* not bias",
        ),
        ("batch_norm", {"param_regularizers": {"moving_mean": abs}}, ValueError, "not moving"),
        ("batch_norm", {"param_initializers": {"beta": "zeros"}}, TypeError, "beta .* 'zeros'"),
        ("batch_norm", {"is_training": "False"}, TypeError, "is_training .* 'False'"),
        ("batch_norm", {"is_training": np.array([True, False])}, TypeError, "is_training"),
        ("batch_norm", {"decay": 2.0}, ValueError, "decay must be from 0 to 1, not 2.0"),
        ("batch_norm", {"decay": "0.9"}, TypeError, "decay must be a number, not '0.9'"),
        ("batch_norm", {"renorm_decay": -1}, ValueError, "renorm_decay .* not -1"),
        ("batch_norm", {"epsilon": -1.0}, ValueError, "epsilon .* not -1.0"),
        ("batch_norm", {"batch_weights": [[1.0] * 3] * 4}, ValueError, r"\(4,\).* not \(4, 3\)"),
        ("batch_norm", {"batch_weights": "a"}, TypeError, "batch_weights .* string"),
        ("batch_norm", {"reuse": True}, ValueError, "reuse=True"),
        ("batch_normalization", {"training": None}, TypeError, "None"),
        ("batch_normalization", {"trainable_semantics": "tf3"}, ValueError, "'tf3'"),
        ("batch_normalization", {"training": "False"}, TypeError, "'False'"),
        ("batch_normalization", {"training": 2}, TypeError, "2"),
        ("batch_normalization", {"training": 0.5}, TypeError, "0.5"),
        ("batch_normalization", {"momentum": 2}, ValueError, "momentum .* not 2"),
        (
            "batch_normalization",
            {"gamma_initializer": "once"},
            TypeError,
            "gamma_initializer .* 'once'",
        ),
        ("batch_normalization", {"beta_regularizer": 0.1}, TypeError, "beta_regularizer .* 0.1"),
        (
            "batch_normalization",
            {"gamma_constraint": "unit"},
            TypeError,
            "gamma_constraint .* 'unit'",
        ),
        ("batch_normalization", {"axis": 2}, ValueError, "2"),
        ("batch_normalization", {"axis": [1, -1]}, ValueError, r"\[1, -1\]"),
        ("batch_normalization", {"virtual_batch_size": 0}, ValueError, "0"),
        (
            "batch_normalization",
            {"virtual_batch_size": 3, "training": True},
            ValueError,
            "virtual_batch_size .* 3 does not divide 4",
        ),
    ],
)
def test_wrong_arguments_are_refused_with_the_offending_value(
    session, layer, arguments, error, message
):
    with pytest.raises(error, match=message):
        getattr(bn_compat, layer)(tf.zeros([4, 3]), **arguments)


@pytest.mark.parametrize("layer", ["batch_norm", "batch_normalization"])
@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (("int32", [4, 3]), TypeError, "int32"),
        (("float32", [4, None]), ValueError, r"\(4, None\)"),
        (("float32", None), ValueError, "undefined rank"),
    ],
)
def test_inputs_that_cannot_be_normalized_are_refused(session, layer, inputs, error, message):
    with pytest.raises(error, match=message):
        getattr(bn_compat, layer)(tf.placeholder(*inputs))
    assert not tf.global_variables(), "nothing is half-built"


def tensorpack_name(variable):
    """Tensorpack has other names for the moving averages, and the same ones for the rest."""
    scope, _, name = variable.op.name.rpartition("/")
    renamed = {"moving_mean": "mean/EMA", "moving_variance": "variance/EMA"}
    return f"{scope}/{renamed.get(name, name)}"


def test_a_checkpoint_of_tensorpack_is_restored_by_a_mapping_of_names(tmp_path):
    saved = {"gamma": [2.0, 3.0], "beta": [4.0, 5.0], "mean/EMA": [6.0, 7.0]}
    saved["variance/EMA"] = [8.0, 9.0]
    with tf.Graph().as_default(), tf.Session() as session:
        for name, value in saved.items():
            tf.get_variable(f"conv0/bn/{name}", initializer=value)
        session.run(tf.global_variables_initializer())
        checkpoint = tf.train.Saver().save(session, str(tmp_path / "model"))

    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("conv0"):
            inputs = tf.constant([[1.0, 1.0]])
            outputs = bn_compat.batch_normalization(inputs, epsilon=1e-5, name="bn")
        saver = tf.train.Saver({tensorpack_name(v): v for v in tf.global_variables()})
        saver.restore(session, checkpoint)
        expected = 2 * (1 - 6) / np.sqrt(8 + 1e-5) + 4, 3 * (1 - 7) / np.sqrt(9 + 1e-5) + 5
        np.testing.assert_allclose(session.run(outputs), [expected], rtol=1e-6)


def test_the_weights_of_a_keras_layer_are_restored_in_their_order():
    keras = pytest.importorskip("keras", minversion="3")
    values = batch_of((16, 3))
    kept = keras.layers.BatchNormalization(momentum=0.5)
    kept(values, training=True)
    weights, expected = kept.get_weights(), kept(values, training=False).numpy()

    with tf.Graph().as_default(), tf.Session() as session:
        layer = bn_compat.BatchNormalization()
        outputs = layer(tf.constant(values))
        for variable, value in zip(layer.weights, weights, strict=True):
            variable.load(value, session)
        np.testing.assert_allclose(session.run(outputs), expected, atol=1e-5)


def test_an_object_based_checkpoint_is_restored_by_a_mapping_of_names(tmp_path):
    saved = {"gamma": [2.0], "beta": [3.0], "moving_mean": [4.0], "moving_variance": [5.0]}
    layer = tf.train.Checkpoint(**{name: tf.Variable(value) for name, value in saved.items()})
    checkpoint = tf.train.Checkpoint(bn=layer).write(str(tmp_path / "model"))

    with tf.Graph().as_default(), tf.Session() as session:
        layer = bn_compat.BatchNormalization()
        layer(tf.zeros([4, 1]))
        variables = {name: getattr(layer, name) for name in saved}
        saver = tf.train.Saver(
            {f"bn/{name}/.ATTRIBUTES/VARIABLE_VALUE": v for name, v in variables.items()}
        )
        saver.restore(session, checkpoint)
        assert {n: v.tolist() for n, v in session.run(variables).items()} == saved


@pytest.mark.parametrize("program", programs())
def test_a_program_in_the_documents_runs(tmp_path, monkeypatch, program):
    """Each program asserts what it shows."""
    monkeypatch.chdir(tmp_path)
    if "import keras" in program:
        pytest.importorskip("keras", minversion="3")
    exec(compile(program, "program", "exec"), {"__name__": "program"})


@pytest.mark.parametrize("name", NORMS)
def test_every_argument_has_a_row_in_the_document(name):
    sections = re.split(r"^###? ", DOCUMENTS["batch_norm.md"], flags=re.MULTILINE)
    (section,) = [text for text in sections if text.startswith("`") and f"`{name}`" in text[:60]]
    documented = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    arguments = {n for n in inspect.signature(getattr(bn_compat, name)).parameters if n[0] != "_"}
    arguments -= {"kwargs"}
    assert arguments <= documented


@pytest.mark.parametrize(
    "name", ["bn_wrapper", "bn_tools", "bn_compat", "bn_revive", "bn_mnist", "bn_launcher"]
)
def test_a_file_to_copy_offers_what_the_documents_take_from_it(name):
    offered = importlib.import_module(name).__all__
    assert sorted(set(offered)) == sorted(offered)
    exec(f"from {name} import *", {})  # Fails if one of them does not exist.
    text = "".join([*DOCUMENTS.values(), (PROJECT / "README.md").read_text()])
    imported = ",".join(re.findall(rf"^from {name} import ([\w, ]+)", text, re.MULTILINE))
    taken = {word.strip() for word in imported.split(",") if word}
    taken |= set(re.findall(rf"\b{name}\.(\w+)\(", text))
    assert taken <= set(offered)


def test_the_tests_that_the_documents_cite_exist():
    cited = set(re.findall(r"`(test_\w+)`", "".join(DOCUMENTS.values())))
    tests = "".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    assert cited and cited <= set(re.findall(r"^def (test_\w+)", tests, re.MULTILINE))


def test_a_phase_that_is_no_bool_is_refused_by_the_name_that_it_has_there(session):
    with pytest.raises(TypeError, match="is_training must be bool, .* int32"):
        bn_compat.batch_norm(tf.zeros([4, 3]), is_training=tf.placeholder(tf.int32, []))
    with pytest.raises(ValueError, match="training must be a scalar"):
        bn_compat.batch_normalization(tf.zeros([4, 3]), training=tf.constant([True, False]))


@pytest.mark.parametrize("use_resource", [False, True])
def test_a_variable_may_be_the_phase(session, use_resource):
    phase = tf.get_variable("phase", initializer=False, trainable=False, use_resource=use_resource)
    values = batch_of((16, 3))
    outputs = bn_compat.batch_normalization(tf.constant(values), training=phase)
    session.run(tf.global_variables_initializer())
    np.testing.assert_allclose(session.run(outputs), normalized(values, 0.0, 1.0), rtol=1e-4)
    phase.load(True, session)
    expected = normalized(values, values.mean(0), values.var(0))
    np.testing.assert_allclose(session.run(outputs), expected, atol=1e-4)


def test_a_layer_that_was_not_called_has_no_variables():
    layer = bn_compat.BatchNormalization(name="bn")
    assert layer.weights == layer.trainable_weights == layer.updates == []
    assert layer.gamma is None and layer.moving_mean is None and layer.name == "bn"
