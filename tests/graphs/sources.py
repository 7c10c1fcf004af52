"""One small network, normalized by each of the ways that TF1 programs know, sound and faulty.

Runs on TF 1.15 (Python 3.7) and on current TensorFlow. A way is a function of the inputs, the phase
(a bool, or a bool tensor) and the name of the layer; it leaves its update ops in `UPDATE_OPS`, or
makes them part of its output.
"""

from __future__ import annotations

import functools

import tensorflow.compat.v1 as tf

CHANNELS = 3
CLASSES = 2


# --- The ways ---


def contrib(inputs, phase, name, **options):
    """`tf.contrib.layers.batch_norm`, on TF 1.15 only."""
    from tensorflow.contrib.layers import batch_norm

    options = dict({"decay": 0.9, "scale": True}, **options)
    return batch_norm(inputs, is_training=phase, scope=name, **options)


def slim(inputs, phase, name, **options):
    """The normalizer of a slim convolution, on TF 1.15 only."""
    import tensorflow.contrib.slim as slim

    params = dict({"is_training": phase, "decay": 0.9, "scale": True}, **options)
    with slim.arg_scope([slim.batch_norm], **params):
        return slim.conv2d(
            inputs, CHANNELS, 1, normalizer_fn=slim.batch_norm, activation_fn=None, scope=name
        )


def layers(inputs, phase, name, **options):
    """`tf.layers.batch_normalization`: TF 1.15's, or that of `bn_compat.py`."""
    if tf.__version__.startswith("1."):
        function = tf.layers.batch_normalization
    else:
        from bn_compat import batch_normalization as function
    options = dict({"momentum": 0.9}, **options)
    return function(inputs, training=phase, name=name, **options)


def compat(inputs, phase, name, **options):
    """Contrib's batch norm as `bn_compat.py` has it."""
    from bn_compat import batch_norm

    options = dict({"decay": 0.9, "scale": True}, **options)
    return batch_norm(inputs, is_training=phase, scope=name, **options)


def wrapper(inputs, phase, name, **options):
    """`batch_norm_wrapper` of this project."""
    from bn_wrapper import batch_norm_wrapper

    return batch_norm_wrapper(inputs, phase, decay=0.9, name=name, **options)


def keras(inputs, phase, name, **options):
    """The layer of the Keras that this TensorFlow has, called as a TF1 program calls it."""
    if tf.__version__.startswith("1."):
        kind = tf.keras.layers.BatchNormalization
    else:
        import keras

        kind = keras.layers.BatchNormalization
    layer = kind(momentum=0.9, name=name, **options)
    outputs = layer(inputs, training=phase)
    for update in getattr(layer, "updates", []):
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    return outputs


def tf_keras(inputs, phase, name, **options):
    """The layer of the legacy Keras, as it is today."""
    import tf_keras

    layer = tf_keras.layers.BatchNormalization(momentum=0.9, name=name, **options)
    outputs = layer(inputs, training=phase)
    for update in layer.updates:
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    return outputs


def _parameters(inputs):
    size = inputs.shape.as_list()[-1]
    beta = tf.get_variable("b", [size], initializer=tf.zeros_initializer())
    gamma = tf.get_variable("g", [size], initializer=tf.ones_initializer())
    return beta, gamma


def _statistics(inputs):
    size = inputs.shape.as_list()[-1]
    mean = tf.get_variable("m", [size], initializer=tf.zeros_initializer(), trainable=False)
    var = tf.get_variable("v", [size], initializer=tf.ones_initializer(), trainable=False)
    return mean, var


def cond_ema(inputs, phase, name, outside=False):
    """`tf.cond` around moments with an `ExponentialMovingAverage`, as in many an answer of 2016.

    With `outside`, the averages are updated before the branch is chosen.
    """
    with tf.variable_scope(name):
        beta, gamma = _parameters(inputs)
        batch = tf.nn.moments(inputs, list(range(inputs.shape.ndims - 1)), name="moments")
        ema = tf.train.ExponentialMovingAverage(decay=0.9)
        # A slot that is made inside of a branch could not be read in the other.
        applied = ema.apply(list(batch)) if outside or not tf.is_tensor(phase) else None

        def updated():
            with tf.control_dependencies([applied if outside else ema.apply(list(batch))]):
                return [tf.identity(moment) for moment in batch]

        def averaged():
            return [ema.average(moment) for moment in batch]

        if phase is True:
            with tf.control_dependencies([applied]):
                mean, var = [tf.identity(moment) for moment in batch]
        elif phase is False:
            mean, var = averaged()
        else:
            mean, var = tf.cond(phase, updated, averaged)
        return tf.nn.batch_normalization(inputs, mean, var, beta, gamma, 1e-3)


def assign(inputs, phase, name, outside=False):
    """Population variables that are assigned to before the batch is normalized.

    With `outside`, they are assigned to in either phase.
    """
    with tf.variable_scope(name):
        beta, gamma = _parameters(inputs)
        pop_mean, pop_var = _statistics(inputs)
        axes = list(range(inputs.shape.ndims - 1))

        def by_batch():
            mean, var = tf.nn.moments(inputs, axes)
            new_mean = tf.assign(pop_mean, pop_mean * 0.9 + mean * 0.1)
            new_var = tf.assign(pop_var, pop_var * 0.9 + var * 0.1)
            with tf.control_dependencies([new_mean, new_var]):
                return tf.nn.batch_normalization(inputs, mean, var, beta, gamma, 1e-3)

        def by_population():
            return tf.nn.batch_normalization(inputs, pop_mean, pop_var, beta, gamma, 1e-3)

        if phase is True:
            return by_batch()
        if phase is False:
            return by_population()
        if outside:
            normalized = by_batch()
            return tf.cond(phase, lambda: normalized, by_population)
        return tf.cond(phase, by_batch, by_population)


def by_hand(inputs, phase, name):
    """(x - mean) / sqrt(var + epsilon), with a choice of statistics and updates to collect."""
    with tf.variable_scope(name):
        beta, gamma = _parameters(inputs)
        pop_mean, pop_var = _statistics(inputs)
        axes = list(range(inputs.shape.ndims - 1))
        mean = tf.reduce_mean(inputs, axes)
        var = tf.reduce_mean(tf.square(inputs - mean), axes)
        if phase is not False:
            for average, value in ((pop_mean, mean), (pop_var, var)):
                value = tf.where(phase, value, average) if tf.is_tensor(phase) else value
                update = tf.assign_sub(average, (average - value) * 0.1)
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        if tf.is_tensor(phase):
            mean, var = tf.where(phase, mean, pop_mean), tf.where(phase, var, pop_var)
        elif not phase:
            mean, var = pop_mean, pop_var
        return gamma * (inputs - mean) / tf.sqrt(var + 1e-3) + beta


def fused_by_hand(inputs, phase, name):
    """The fused kernel, with moving averages as tensorpack has them."""
    from tensorflow.python.training import moving_averages

    with tf.variable_scope(name):
        beta, gamma = _parameters(inputs)
        pop_mean, pop_var = _statistics(inputs)
        if phase is False:
            return tf.nn.fused_batch_norm(
                inputs, gamma, beta, pop_mean, pop_var, 1e-3, is_training=False
            )[0]
        outputs, mean, var = tf.nn.fused_batch_norm(inputs, gamma, beta, epsilon=1e-3)
        for average, value in ((pop_mean, mean), (pop_var, var)):
            update = moving_averages.assign_moving_average(average, value, 0.9, zero_debias=False)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        return outputs


WAYS_OF_OLD = {
    "contrib fused": contrib,
    "contrib": functools.partial(contrib, fused=False),
    "contrib in place": functools.partial(contrib, updates_collections=None),
    "contrib plain in place": functools.partial(contrib, updates_collections=None, fused=False),
    "contrib debiased": functools.partial(contrib, zero_debias_moving_mean=True, fused=False),
    "slim": slim,
    "tf.layers fused": layers,
    "tf.layers": functools.partial(layers, fused=False),
    "tf.layers ghost": functools.partial(layers, virtual_batch_size=2),
    "tf.layers renorm": functools.partial(layers, renorm=True),
    "tf.keras": keras,
}
WAYS_OF_ALL_TIMES = {
    "cond and EMA": cond_ema,
    "assign": assign,
    "by hand": by_hand,
    "fused by hand": fused_by_hand,
}
WAYS_OF_TODAY = {
    "batch_norm_wrapper": wrapper,
    "batch_norm_wrapper unfused": functools.partial(wrapper, fused=False),
    "batch_norm_wrapper collected": functools.partial(
        wrapper, updates_collections=tf.GraphKeys.UPDATE_OPS
    ),
    "bn_compat.batch_norm": compat,
    "bn_compat.batch_normalization": layers,
    "legacy Keras": tf_keras,
    "legacy Keras unfused": functools.partial(tf_keras, fused=False),
}
# These decide by the phase when the graph is built; they have no placeholder for it.
NEED_BOOL = {"fused by hand"}
# These put no update into a collection: whatever runs the output runs the update.
IN_PLACE = {
    "contrib in place",
    "contrib plain in place",
    "cond and EMA",
    "assign",
    "batch_norm_wrapper",
    "batch_norm_wrapper unfused",
}


# --- The network ---


def network(images, phase, way, reuse=None):
    """Two convolutions, each normalized, and a dense layer."""
    with tf.variable_scope("net", reuse=reuse):
        hidden = images
        for number in (1, 2):
            weights = tf.get_variable("w%d" % number, [3, 3, hidden.shape.as_list()[-1], CHANNELS])
            hidden = tf.nn.conv2d(hidden, weights, [1, 1, 1, 1], "SAME")
            hidden = tf.nn.relu(way(hidden, phase, "norm%d" % number))
        hidden = tf.reduce_mean(hidden, [1, 2])
        weights = tf.get_variable("w", [CHANNELS, CLASSES])
        return tf.matmul(hidden, weights, name="logits")


def placeholders():
    images = tf.placeholder(tf.float32, [None, 4, 4, 2], name="images")
    return images, tf.placeholder(tf.int64, [None], name="labels")


def loss_of(logits, labels):
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )


def train_op_of(loss, updates="depend"):
    """Returns the train op, with the updates as a program runs them, or forgets to."""
    step = tf.train.get_or_create_global_step()
    optimizer = tf.train.MomentumOptimizer(0.01, 0.9)
    collected = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    if updates == "some":
        collected = collected[:2]
    if updates in ("depend", "some"):
        with tf.control_dependencies(collected):
            return optimizer.minimize(loss, step)
    if updates == "group":
        return tf.group(optimizer.minimize(loss, step), *collected)
    if updates == "hook":
        tf.group(*collected, name="run_by_a_hook")
    if updates == "constructor":
        with tf.control_dependencies(collected):
            optimizer = tf.train.MomentumOptimizer(0.01, 0.9)
    return optimizer.minimize(loss, step)


def training(way, phase=True, updates="depend"):
    """Builds a training graph; returns the logits and the train op."""
    images, labels = placeholders()
    if phase == "placeholder":
        phase = tf.placeholder(tf.bool, [], name="phase")
    elif phase == "default":
        phase = tf.placeholder_with_default(False, [], name="phase")
    elif phase == "variable":
        phase = tf.Variable(True, trainable=False, name="phase")
        phase = tf.identity(phase)
    logits = network(images, phase, way)
    train_op = train_op_of(loss_of(logits, labels), updates)
    return logits, train_op


def inference(way, phase=False):
    """Builds a graph for inference only; returns the logits."""
    images, _ = placeholders()
    return network(images, phase, way)


def two_towers(way, evaluated_in_training=False):
    """Builds a training graph and, with the same variables, an evaluation beside it."""
    images, labels = placeholders()
    logits = network(images, True, way)
    train_op = train_op_of(loss_of(logits, labels))
    tests = tf.placeholder(tf.float32, [None, 4, 4, 2], name="test_images")
    evaluated = network(tests, evaluated_in_training, way, reuse=True)
    return tf.nn.softmax(evaluated, name="probabilities"), train_op
