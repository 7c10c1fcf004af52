"""Batch normalization for TF1-style graphs: the one implementation of this project.

It imports nothing but TensorFlow and runs unchanged on TF 1.15 (Python 3.7) and on current
TensorFlow through ``tf.compat.v1``, so you can copy this file into a TF1 code base.

    Ioffe & Szegedy (2015), Batch Normalization, https://arxiv.org/abs/1502.03167
"""

import tensorflow.compat.v1 as tf


def batch_norm_wrapper(inputs, phase_train=None, decay=0.99, epsilon=1e-5, name=None):
    """Normalizes each channel of `inputs` to mean `beta` and standard deviation `scale`.

    In training the mean and variance are those of the batch (Algorithm 1 of the paper), and a
    moving average of them is kept in `pop_mean` and `pop_var`. In inference those population
    statistics take the batch's place, so that an example's output does not depend on the
    examples it came with (Algorithm 2).

    The update of `pop_mean` and `pop_var` is part of the layer's output: there is no
    `UPDATE_OPS` collection to remember, and after every training step they hold the average
    including that step, so a checkpoint saved after any step is complete.

    Creates, in a variable scope of its own, `scale` and `beta` (trainable) and `pop_mean` and
    `pop_var` (not trainable), each a vector [channels]; in training also what the moving averages
    need to be zero-debiased (`pop_mean/biased` and the like), which inference never reads.

    Args:
        inputs: float tensor [batch, channels] or [batch, height, width, channels]; the number
            of channels must be known when the graph is built.
        phase_train: what the graph is for.
            None: an inference graph. Only population statistics, no batch statistics anywhere.
            True or False: training or inference, decided when the graph is built.
            A bool scalar tensor or placeholder: one graph for both, decided at every run.
            Only the branch that is asked for is computed; when false, nothing is updated.
        decay: weight of the OLD value in the moving average, in [0, 1). Near 1 averages over
            more batches (about 1 / (1 - decay) of them) but follows changing weights later.
        epsilon: added to the variance before the square root, > 0, so that a channel that
            never varies is not divided by zero.
        name: variable scope of the layer; by default a unique one beginning `batch_norm`.

    Returns:
        A tensor of the shape and dtype of `inputs`.

    Raises:
        TypeError: `inputs` are not floating-point, or `phase_train` is not a bool.
        ValueError: the rank is not 2 or 4, the number of channels is unknown, `phase_train` is
            not a scalar, `decay` is outside [0, 1) or `epsilon` is not above 0.
    """
    inputs = tf.convert_to_tensor(inputs, name="inputs")
    _check_arguments(inputs, phase_train, decay, epsilon)

    dtype = inputs.dtype.base_dtype
    channels = inputs.shape.as_list()[-1]
    with tf.variable_scope(name, "batch_norm", [inputs]):

        def variable(name, initial_value, trainable):
            initializer = tf.constant_initializer(initial_value)
            return tf.get_variable(name, [channels], dtype, initializer, trainable=trainable)

        scale = variable("scale", 1.0, trainable=True)
        beta = variable("beta", 0.0, trainable=True)
        pop_mean = variable("pop_mean", 0.0, trainable=False)
        pop_var = variable("pop_var", 1.0, trainable=False)

        def normalize(mean, var):
            return tf.nn.batch_normalization(inputs, mean, var, beta, scale, epsilon)

        def training():
            all_but_channels = list(range(inputs.shape.ndims - 1))
            batch_mean, batch_var = tf.nn.moments(inputs, all_but_channels)
            update = tf.group(
                _update_average(pop_mean, batch_mean, decay),
                _update_average(pop_var, batch_var, decay),
            )
            with tf.control_dependencies([update]):
                return normalize(batch_mean, batch_var)

        def inference():
            return normalize(pop_mean, pop_var)

        if phase_train is None or phase_train is False:
            return inference()
        if phase_train is True:
            return training()
        outputs = tf.cond(phase_train, training, inference)
        outputs.set_shape(inputs.shape)
        return outputs


def _update_average(population, batch, decay):
    """Returns the op that takes one batch's statistic into its moving average, `population`.

    The average is zero-debiased (Kingma & Ba 2015, section 3), so it is right from the first step:
    after that step it is the batch's statistic, not a hundredth of it.
    """
    average = tf.train.ExponentialMovingAverage(decay, zero_debias=True)

    def keep_in_population(getter, name, *args, **kwargs):
        # The average asks for a variable called after the tensor that it averages. It is given
        # `population`: so there is no copy of the average that could be behind, and the names of
        # the variables are the same whether or not a `tf.cond` surrounds them.
        if name.rstrip("/").endswith(average.name):
            return population
        return getter(name, *args, **kwargs)

    root = tf.VariableScope(reuse=tf.AUTO_REUSE, custom_getter=keep_in_population)
    with tf.variable_scope(root, auxiliary_name_scope=False):
        return average.apply([batch])


def _check_arguments(inputs, phase_train, decay, epsilon):
    if not inputs.dtype.is_floating:
        raise TypeError(
            "inputs must be floating-point, not %s: cast them first" % inputs.dtype.name
        )
    if inputs.shape.ndims not in (2, 4):
        raise ValueError(
            "inputs must be [batch, channels] or [batch, height, width, channels], "
            "but their shape is %s" % inputs.shape
        )
    if inputs.shape.as_list()[-1] is None:
        raise ValueError(
            "the number of channels (last dimension of inputs) must be known when the graph is "
            "built, but the shape is %s: call set_shape on inputs" % inputs.shape
        )
    if isinstance(phase_train, (tf.Tensor, tf.Variable)):
        if phase_train.dtype.base_dtype != tf.bool:
            raise TypeError(
                "phase_train must be a bool tensor, but its dtype is %s" % phase_train.dtype.name
            )
        if phase_train.shape.ndims not in (0, None):
            raise ValueError(
                "phase_train must be a scalar, but its shape is %s" % phase_train.shape
            )
    elif phase_train is not None and not isinstance(phase_train, bool):
        raise TypeError(
            "phase_train must be None, True, False or a bool tensor, not %r" % (phase_train,)
        )
    if not 0 <= decay < 1:
        raise ValueError("decay must be in [0, 1), not %r" % (decay,))
    if not epsilon > 0:
        raise ValueError("epsilon must be above 0, not %r" % (epsilon,))
