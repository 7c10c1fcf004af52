"""The functions to compare: the faces of this project, and the originals where available."""

import tensorflow.compat.v1 as tf

import bn_compat


def faces():
    """Returns this project's functions, by the API that they replace."""
    return {
        "contrib": _contrib_style(bn_compat.batch_norm),
        "layers": _layers_style(bn_compat.batch_normalization),
    }


def originals():
    """Returns the functions that TensorFlow itself has.

    TF 1 has both. Later versions have no contrib, and tf.layers only with tf_keras installed and
    the environment variable TF_USE_LEGACY_KERAS=1.
    """
    functions = {"layers": _layers_style(tf.layers.batch_normalization)}
    if is_tf1():
        from tensorflow.contrib.layers import batch_norm

        functions["contrib"] = _contrib_style(batch_norm)
    return functions


def is_tf1():
    """Whether this is TF 1."""
    return tf.version.VERSION.startswith("1.")


def _contrib_style(function):
    def batch_norm(inputs, training, reuse=None, name=None, **options):
        return function(inputs, is_training=training, reuse=reuse, scope=name, **options)

    return batch_norm


def _layers_style(function):
    def batch_norm(inputs, training, reuse=None, name=None, **options):
        return function(inputs, training=training, reuse=reuse, name=name, **options)

    return batch_norm
