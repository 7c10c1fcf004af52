"""What programs do with the layer itself: its class, its names, its place in a larger program.

    python -m tests.originals.classes live          # TF 1.15, in the project's root
    python -m tests.originals.classes recorded      # any TensorFlow

Each function here is a small program: it takes TF1's batch norms and returns its results, which are
compared with those from the originals, run live or recorded by make_golden.py. Exits with 1 if any
differ. Runs on Python 3.7 and TF 1.15, like everything in this folder.
"""

import json
import pathlib
import sys
import types

import numpy as np
import tensorflow.compat.v1 as tf

import bn_compat

RECORD = pathlib.Path(__file__).resolve().parents[1] / "golden" / "classes.json"
VALUES = np.random.RandomState(0).normal(2.0, 3.0, (8, 2, 2, 3)).astype(np.float32)


def originals():
    from tensorflow.contrib import layers as contrib

    return types.SimpleNamespace(
        BatchNormalization=tf.layers.BatchNormalization,
        batch_normalization=tf.layers.batch_normalization,
        batch_norm=contrib.batch_norm,
        conv2d=contrib.conv2d,
        fully_connected=contrib.fully_connected,
    )


def main():
    tf.disable_v2_behavior()
    is_live = sys.argv[1] == "live"
    programs = dict(PROGRAMS, owned_by_keras=owned_by_keras) if is_live else PROGRAMS
    expected = results(originals(), programs) if is_live else recorded()
    found = differences(expected, results(bn_compat, programs))
    print("\n".join(found), file=sys.stderr)
    differing = {line.split()[0].partition("[")[0] for line in found}
    print(json.dumps({"cases": len(expected), "failures": len(differing)}))
    return 1 if found else 0


def record():
    """Records the programs' results with the originals; needs TF 1.15."""
    RECORD.write_text(json.dumps(results(originals()), sort_keys=True) + "\n")


def recorded():
    """Returns the programs' recorded results with the originals on TF 1.15."""
    return json.loads(RECORD.read_text())


def differences(expected, found, path=""):
    """Compares two results; returns lines. Numbers may differ by 0.001, or 0.1 % if above 1."""
    if isinstance(expected, dict) and isinstance(found, dict) and set(expected) == set(found):
        pairs = [(f"{path} {key}", expected[key], found[key]) for key in sorted(expected)]
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = [(f"{path}[{i}]", *both) for i, both in enumerate(zip(expected, found))]
    elif isinstance(expected, float) and isinstance(found, float):
        is_same = abs(expected - found) <= 1e-3 * max(1.0, abs(expected))
        return [] if is_same else [f"{path}: {found:g}, not {expected:g}"]
    else:
        return [] if expected == found else [f"{path}: {found}, not {expected}"]
    return [line for below, one, other in pairs for line in differences(one, other, below)]


def results(api, programs=None):
    """Runs each program in its own graph; returns a dict of the results by name."""
    found = {}
    for name, program in sorted((programs or PROGRAMS).items()):
        with tf.Graph().as_default():
            found[name] = json.loads(json.dumps(program(api)))
    return found


def variables():
    return [v.op.name for v in tf.global_variables()]


def updates():
    return [getattr(u, "op", u).name for u in tf.get_collection(tf.GraphKeys.UPDATE_OPS)]


def rounded(value):
    return np.round(np.asarray(value, np.float64), 4).tolist()


def ran(fetches, feed=None):
    """Runs the initializers, then all updates, then `fetches`."""
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS), feed)
        return [rounded(value) for value in session.run(fetches, feed)]


def error(function):
    """Whether the call is refused."""
    try:
        function()
    except (TypeError, ValueError):
        return "refused"
    return "taken"


def critic_called_twice(api):
    for reuse in (False, True):
        with tf.variable_scope("critic", reuse=reuse):
            api.batch_normalization(VALUES, training=True, reuse=reuse)
    return [variables(), updates()]


def critic_that_reuses_what_is_there(api):
    for _ in range(2):
        with tf.variable_scope("critic", reuse=tf.AUTO_REUSE):
            api.batch_normalization(VALUES, training=True, reuse=tf.AUTO_REUSE)
    return [variables(), updates()]


def class_makes_its_name_unique(api):
    for _ in range(2):
        api.BatchNormalization(name="norm")(VALUES)
        api.BatchNormalization()(VALUES)
    return variables()


def function_does_not(api):
    api.batch_normalization(VALUES, name="norm")
    return error(lambda: api.batch_normalization(VALUES, name="norm"))


def a_scope_given_to_the_layer(api):
    with tf.variable_scope("outer"), tf.variable_scope("norm") as scope:
        layer = api.BatchNormalization(name=scope.name, _scope=scope)
    layer(VALUES)
    other = api.BatchNormalization()
    with tf.variable_scope("applied") as scope:
        pass
    other.apply(VALUES, scope=scope, training=True)
    return [variables(), layer.scope_name, other.scope_name, updates()]


def dtypes(api):
    given = api.BatchNormalization(dtype="float64", fused=False, name="given")
    given(VALUES.astype(np.float64))
    taken = api.BatchNormalization(name="taken")
    taken(tf.constant(VALUES, tf.float16))
    return [[tf.as_dtype(layer.dtype).name, layer.gamma.dtype.name[:7]] for layer in (given, taken)]


def life_of_a_layer(api):
    layer = api.BatchNormalization(beta_regularizer=tf.nn.l2_loss, name="norm")
    before = [layer.built, layer.weights, layer.updates, layer.losses]
    first, second = tf.constant(VALUES), tf.constant(2 * VALUES)
    layer(first, training=True)
    layer(second, training=True)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run([v.assign(v + 1) for v in layer.weights])
        losses = session.run(layer.losses)
    return [
        before,
        layer.built,
        [len(layer.updates), len(layer.get_updates_for(first)), len(layer.get_updates_for(second))],
        [len(layer.losses), len(tf.losses.get_regularization_losses()), rounded(losses)],
        layer.count_params(),
        [v.op.name for v in layer.trainable_variables + layer.non_trainable_variables],
        [v.op.name for v in layer.weights],
        [layer.name, layer.scope_name, layer.input_spec.ndim, layer.input_spec.axes],
        layer.compute_output_shape(tf.TensorShape([8, 2, 2, 3])).as_list(),
    ]


def built_by_hand(api):
    layer = api.BatchNormalization(name="norm")
    layer.build((None, 3))
    return [layer.built, variables()]


def config(api):
    layer = api.BatchNormalization(
        momentum=0.9,
        epsilon=1e-5,
        center=False,
        renorm=True,
        renorm_clipping={"rmax": 3.0},
        virtual_batch_size=4,
        gamma_initializer=tf.constant_initializer(2.0),
        name="norm",
    )
    kept = layer.get_config()
    again = api.BatchNormalization.from_config(kept)
    with tf.Session() as session:
        again(VALUES)
        session.run(tf.global_variables_initializer())
        gamma = session.run(again.gamma)
    wanted = ("axis", "momentum", "epsilon", "center", "scale", "renorm", "renorm_clipping")
    return [
        [kept[name] for name in wanted + ("renorm_momentum", "virtual_batch_size", "name")],
        sorted(name for name in kept if name.endswith(("initializer", "regularizer"))),
        rounded(gamma),
        again.get_config()["momentum"],
    ]


def initializers_by_name(api):
    layer = api.BatchNormalization(beta_initializer="ones", moving_mean_initializer="ones")
    layer(VALUES)
    return ran([layer.beta, layer.moving_mean])


def constraints(api):
    layer = api.BatchNormalization(gamma_constraint=tf.nn.relu)
    layer(VALUES)
    return layer.gamma.constraint is not None


def training_as_a_number(api):
    taken = []
    for training in (0, 1, np.bool_(False), np.bool_(True), tf.constant(1), tf.constant(0)):
        with tf.Graph().as_default():
            if tf.is_tensor(training):
                training = tf.constant(tf.get_static_value(training))
            outputs = api.batch_normalization(VALUES, training=training)
            taken.append([len(updates())] + ran([outputs[0, 0, 0]]))
    return taken


def inputs_of_another_kind(api):
    layer = api.BatchNormalization()
    layer(VALUES)
    exchanged = api.BatchNormalization(axis=[1, 2])
    exchanged(tf.zeros([8, 4, 5, 3]))
    return [
        error(lambda: layer(tf.zeros([8, 2, 2, 4]))),
        error(lambda: layer(tf.zeros([8, 3]))),
        error(lambda: exchanged(tf.zeros([8, 5, 4, 3]))),
        error(lambda: exchanged(tf.zeros([8, 4, 5, 7]))),
    ]


def order_of_the_variables(api):
    found = {}
    for rank, options in (
        (2, {}),
        (4, {}),
        (4, {"updates_collections": None}),
        (4, {"zero_debias_moving_mean": True}),
        (4, {"batch_weights": np.ones(8, np.float32)}),
    ):
        with tf.Graph().as_default():
            api.batch_norm(VALUES if rank == 4 else VALUES[:, 0, 0], scale=True, **options)
            found[f"{rank} {sorted(options)}"] = [v.op.name for v in tf.trainable_variables()]
    return found


def subclass_with_its_own_moments(api):
    class SyncNorm(api.BatchNormalization):
        """Averages over two replicas, as on TPUs; the other one saw zeros."""

        def _moments(self, inputs, reduction_axes, keep_dims):
            mean, var = super()._moments(inputs, reduction_axes, keep_dims=keep_dims)
            return 0.5 * mean, 0.5 * (var + mean**2) - (0.5 * mean) ** 2

    layers = [
        SyncNorm(fused=False, momentum=0.5),
        SyncNorm(fused=False, momentum=0.5, axis=1),
        SyncNorm(fused=False, momentum=0.5, virtual_batch_size=4),
        SyncNorm(momentum=0.5),
    ]
    inputs = tf.constant(VALUES)
    outputs = [layer(inputs, training=True) for layer in layers]
    weights = np.random.RandomState(1).normal(size=VALUES.shape).astype(np.float32)
    gradients = [tf.gradients(tf.reduce_sum(weights * o**2), inputs)[0] for o in outputs]
    phase = tf.placeholder_with_default(True, [])
    either = SyncNorm(fused=False, momentum=0.5)
    outputs.append(either(inputs, training=phase))
    fetches = outputs + gradients
    fetches += [v for layer in layers + [either] for v in layer.weights]
    return [variables(), ran(fetches), ran([outputs[-1]], {phase: False})]


def subclass_that_overrides_call_and_build(api):
    class ScaledNorm(api.BatchNormalization):
        def __init__(self, factor, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def build(self, input_shape):
            self.offset = self.add_weight("offset", [3], initializer=tf.ones_initializer())
            super().build(input_shape)

        def call(self, inputs, training=False):
            outputs = super().call(inputs, training=training)
            return self.factor * outputs + self.offset

    layer = ScaledNorm(3.0)
    outputs = layer(VALUES, training=True)
    return [variables(), [v.op.name for v in layer.trainable_weights], updates(), ran([outputs])]


def moments_set_from_outside(api):
    def moments(inputs, reduction_axes, keep_dims):
        return tf.nn.moments(0.5 * inputs, reduction_axes, keep_dims=keep_dims)

    layer = api.BatchNormalization(fused=False)
    layer._moments = moments
    return ran([layer(VALUES, training=True)])


def gamma_set_from_outside(api):
    layer = api.BatchNormalization()
    layer.build((None, 3))
    layer.gamma = tf.constant([1.0, 2.0, 3.0])
    return ran([layer(VALUES[:, 0, 0], training=True)])


def frozen_after_it_was_built(api):
    layer = api.BatchNormalization()
    layer(VALUES, training=True)
    layer.trainable = False
    return [[v.op.name for v in layer.trainable_weights], len(layer.updates)]


def owned_by_keras(api):
    """For TF 1.15, whose Keras is the one that the layer's base class belongs to."""

    class Model(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = api.BatchNormalization()

        def call(self, inputs, training=False):
            return self.norm(inputs, training=training)

    model = Model()
    outputs = model(tf.constant(VALUES), training=True)
    return [
        [v.name for v in model.trainable_variables + model.non_trainable_variables],
        # The updates of resource variables have an additional last part.
        [update.name.replace("/AssignSubVariableOp", "") for update in model.updates],
        outputs.op.name,
    ]


def names_of_second_calls(api):
    phase = tf.placeholder_with_default(True, [])
    named = []
    for options in ({}, {"fused": False}, {"renorm": True}, {"virtual_batch_size": 4}):
        for phases in ((True, True), (phase, phase), (False, False), (False, True), (True, False)):
            layer = api.BatchNormalization(**options)
            outputs = [layer(VALUES, training=training) for training in phases]
            named.append([o.op.name for o in outputs] + [u.name for u in layer.updates])
    return named


def tutorial_discriminator(api):
    """As in the DCGAN tutorials."""
    params = {"is_training": True, "decay": 0.5, "scale": True, "updates_collections": None}
    net = api.conv2d(
        VALUES,
        num_outputs=4,
        kernel_size=2,
        stride=2,
        activation_fn=tf.nn.leaky_relu,
        normalizer_fn=api.batch_norm,
        normalizer_params=params,
        weights_initializer=tf.constant_initializer(0.1),
        weights_regularizer=tf.nn.l2_loss,
        outputs_collections="end points",
        variables_collections={"weights": ["kernels"]},
        trainable=True,
    )
    frozen = api.conv2d(
        VALUES,
        4,
        [2, 1],
        1,
        "VALID",
        "NHWC",
        2 - 1,
        None,
        trainable=False,
        biases_initializer=tf.ones_initializer(),
        weights_initializer=tf.constant_initializer(0.1),
        biases_regularizer=tf.nn.l2_loss,
    )
    dilated = api.conv2d(
        VALUES, 2, 2, rate=2, weights_initializer=tf.ones_initializer(), biases_initializer=None
    )
    logits = api.fully_connected(
        tf.reshape(net, [8, 4]),
        2,
        activation_fn=None,
        weights_initializer=tf.constant_initializer(0.2),
        biases_initializer=tf.constant_initializer(0.3),
        weights_regularizer=tf.nn.l2_loss,
        outputs_collections="end points",
    )
    of_rank_3 = api.fully_connected(
        VALUES[:, 0], 2, weights_initializer=tf.ones_initializer(), trainable=False
    )
    return [
        variables(),
        [v.op.name for v in tf.trainable_variables()],
        sorted(v.op.name for v in tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)),
        [v.op.name for v in tf.get_collection("kernels")],
        [t.aliases for t in tf.get_collection("end points")],
        [
            o.name
            for o in tf.get_default_graph().get_operations()
            if o.type in ("Conv2D", "MatMul", "BiasAdd") and "Tensordot" not in o.name
        ],
        ran([net, frozen, dilated, logits, of_rank_3] + tf.losses.get_regularization_losses()),
    ]


PROGRAMS = {
    program.__name__: program
    for program in (
        critic_called_twice,
        critic_that_reuses_what_is_there,
        class_makes_its_name_unique,
        function_does_not,
        a_scope_given_to_the_layer,
        dtypes,
        life_of_a_layer,
        built_by_hand,
        config,
        initializers_by_name,
        constraints,
        training_as_a_number,
        inputs_of_another_kind,
        order_of_the_variables,
        subclass_with_its_own_moments,
        subclass_that_overrides_call_and_build,
        moments_set_from_outside,
        gamma_set_from_outside,
        frozen_after_it_was_built,
        names_of_second_calls,
        tutorial_discriminator,
    )
}


if __name__ == "__main__":
    sys.exit(main())
