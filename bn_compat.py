"""TF1's own batch-norm functions and layers, on top of `bn_wrapper.py`.

Same arguments, same variable names and same behaviour as in TF 1.15, so a program only needs a new
import, and its old checkpoints keep working:

    tf.contrib.layers.batch_norm             -> bn_compat.batch_norm
    tf.layers.batch_normalization            -> bn_compat.batch_normalization
    tf.layers.BatchNormalization             -> bn_compat.BatchNormalization
    all of them, in a program as it is       -> bn_compat.install(), or python -m bn_compat PROGRAM

Like `bn_wrapper.py`, it runs on TF 1.15 (Python 3.7) and on current TensorFlow; copy it beside that
one. `install` needs `bn_revive.py` beside it too, and running a program `bn_launcher.py` as well.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

import tensorflow.compat.v1 as tf
from tensorflow.python.keras import constraints, initializers, regularizers
from tensorflow.python.layers import base

if TYPE_CHECKING or not __package__:
    import bn_wrapper
else:  # The files were copied into a package.
    from . import bn_wrapper

__all__ = [
    "BatchNormalization",
    "batch_norm",
    "batch_normalization",
    "conv2d",
    "convolution2d",
    "fully_connected",
    "import_meta_graph",
    "install",
    "uninstall",
]

_TF1_NAMES = {
    "scale": "gamma",
    "pop_mean": "moving_mean",
    "pop_var": "moving_variance",
    "pop_stddev": "moving_stddev",
}
# Fields of `Variables` by the keys of contrib's dicts of parameters.
_FIELDS = {
    "beta": "beta",
    "gamma": "scale",
    "moving_mean": "pop_mean",
    "moving_variance": "pop_var",
}
TRAINABLE_SEMANTICS = ("tf1.15", "tf1", "tf2")
_KERNEL = "FusedBatchNormV3"
# Methods that programs could override in the original to change what it computes, but not here.
_HOOKS_OF_THE_ORIGINAL = (
    "_assign_moving_average",
    "_assign_new_value",
    "_fused_batch_norm",
    "_get_training_value",
    "_renorm_correction_and_moments",
)


def batch_norm(
    inputs,
    decay=0.999,
    center=True,
    scale=False,
    epsilon=0.001,
    activation_fn=None,
    param_initializers=None,
    param_regularizers=None,
    updates_collections=tf.GraphKeys.UPDATE_OPS,
    is_training=True,
    reuse=None,
    variables_collections=None,
    outputs_collections=None,
    trainable=True,
    batch_weights=None,
    fused=None,
    data_format="NHWC",
    zero_debias_moving_mean=False,
    scope=None,
    renorm=False,
    renorm_clipping=None,
    renorm_decay=0.99,
    adjustment=None,
):
    """Batch normalization as `tf.contrib.layers.batch_norm` of TF 1.15.

    Note the defaults: no `gamma`, a decay of 0.999, and training mode. By default, RUNNING THE
    UPDATE OPS in `updates_collections` IS UP TO YOU; None makes them part of the output.

    Args:
        inputs: float tensor of rank 2 to 5.
        decay: weight of the OLD value in the moving averages.
        center, scale: whether the layer has `beta`, `gamma`.
        epsilon: added to the variance.
        activation_fn: applied to the output.
        param_initializers, param_regularizers: dicts by variable name.
        updates_collections: collection of the update ops, or None.
        is_training: bool or bool scalar tensor: whether to use the statistics of the batch or the
            moving averages.
        reuse: share the variables of the layer called `scope`.
        variables_collections: list of collections for the variables, or dict of lists by name.
        outputs_collections: collections for the output.
        trainable: False freezes `gamma` and `beta`. It also freezes the moving averages where
            contrib delegated to tf.layers: with the default `updates_collections` and without
            `batch_weights` and `zero_debias_moving_mean`, except for inputs of rank 2 that used
            contrib's own fused path.
        batch_weights: [batch], weight of each example in the statistics.
        fused: None or True uses the fused kernel where possible; False never does.
        data_format: "NHWC" or "NCHW".
        zero_debias_moving_mean: start `moving_mean` at the first batch.
        scope: variable scope; by default a unique one starting with `BatchNorm`.
        renorm, renorm_clipping, renorm_decay: Batch Renormalization.
        adjustment: function of the inputs' shape that returns a pair (scale, bias) for training.

    Returns:
        A tensor like `inputs`.

    Raises:
        ValueError, TypeError: as in `BatchNormalization`; or `data_format` is unknown, or renorm is
            combined with an option that excludes it.
    """
    if data_format not in ("NHWC", "NCHW"):
        raise ValueError("data_format has to be either NCHW or NHWC, not %r" % (data_format,))
    is_usual = updates_collections == tf.GraphKeys.UPDATE_OPS
    is_left_to_layers = is_usual and batch_weights is None and not zero_debias_moving_mean
    if renorm and not is_left_to_layers:
        raise ValueError(
            "renorm does not go with batch_weights, updates_collections or zero_debias_moving_mean"
        )
    _check_numbers(epsilon, decay=decay, renorm_decay=renorm_decay)
    phase_train = _phase("is_training", is_training)
    inputs = tf.convert_to_tensor(inputs)
    rank, axis = inputs.shape.ndims, 1 if data_format == "NCHW" else -1
    bn_wrapper.check_inputs(inputs, axis)
    param_initializers = _by_field("param_initializers", param_initializers)
    param_regularizers = _by_field("param_regularizers", param_regularizers, ("beta", "gamma"))
    variables_collections = _collections_by_field(variables_collections)
    dtype = bn_wrapper.statistics_dtype(inputs.dtype)
    others = renorm or None, batch_weights, adjustment
    is_fused = rank in (2, 4) and _allow_fused_kernel(fused, dtype, epsilon, *others)
    outer_getter = tf.get_variable_scope().custom_getter
    with tf.variable_scope(
        scope, "BatchNorm", [inputs], reuse=reuse, custom_getter=_get_model_variable
    ) as layer_scope:
        if is_left_to_layers and not (is_fused and rank == 2):
            layer = BatchNormalization(
                axis=axis,
                momentum=decay,
                epsilon=epsilon,
                center=center,
                scale=scale,
                beta_initializer=param_initializers.get("beta"),
                gamma_initializer=param_initializers.get("scale"),
                moving_mean_initializer=param_initializers.get("pop_mean"),
                moving_variance_initializer=param_initializers.get("pop_var"),
                beta_regularizer=param_regularizers.get("beta"),
                gamma_regularizer=param_regularizers.get("scale"),
                trainable=trainable,
                renorm=renorm,
                renorm_clipping=renorm_clipping,
                renorm_momentum=renorm_decay,
                adjustment=adjustment,
                name=layer_scope.name,
                dtype=inputs.dtype.base_dtype,
                fused=fused,
                _scope=layer_scope,
                _reuse=reuse,
            )
            outputs = layer(inputs, training=phase_train)
            _collect_variables(layer, variables_collections)
        else:
            # Re-entering the scope uses up a name in it, as in contrib: in a scope called
            # BatchNorm, `batchnorm/add_1` then becomes `batchnorm_1/add_1`.
            with tf.variable_scope(layer_scope):
                fields = bn_wrapper.fields_of(center, scale)
                variables = bn_wrapper.create_variables(
                    sorted(fields, key=lambda field: field != "beta"),  # Contrib created it first.
                    bn_wrapper.parameter_shape(inputs.shape, axis),
                    dtype,
                    trainable=trainable,
                    initializers=param_initializers,
                    regularizers={
                        field: _of_value(function) for field, function in param_regularizers.items()
                    },
                    collections=variables_collections,
                    names=_TF1_NAMES,
                )
            averages = _averages_apart(decay, variables)
            if zero_debias_moving_mean:
                averages[0] = _ZeroDebiasedMean(decay, variables, layer_scope.name, outer_getter)
            outputs, updates = _normalize(
                inputs,
                phase_train,
                variables,
                averages,
                epsilon,
                axis,
                bn_wrapper.Options(
                    fused=is_fused,
                    # The kernel returns the unbiased variance, which TF1 averaged as is.
                    unbiased=is_fused,
                    batch_weights=batch_weights,
                    adjustment=adjustment,
                ),
            )
            if zero_debias_moving_mean and not is_fused:
                _add_debiasing_to_model_variables(variables.pop_mean)
            is_in_place = bool(updates) and updates_collections is None
            outputs_name, updates_names = _names_in_contrib(
                tf.is_tensor(phase_train), bool(updates), is_fused, rank, is_in_place
            )
            if updates_collections is not None:
                updates = [_with_name(name, update) for name, update in zip(updates_names, updates)]
            outputs = bn_wrapper.place_updates(outputs, updates, updates_collections)
            outputs = _name_and_record(outputs_name, inputs, outputs, variables, axis, epsilon)
        return _finish(outputs, activation_fn, outputs_collections, layer_scope)


def batch_normalization(
    inputs,
    axis=-1,
    momentum=0.99,
    epsilon=1e-3,
    center=True,
    scale=True,
    beta_initializer=None,
    gamma_initializer=None,
    moving_mean_initializer=None,
    moving_variance_initializer=None,
    beta_regularizer=None,
    gamma_regularizer=None,
    beta_constraint=None,
    gamma_constraint=None,
    training=False,
    trainable=True,
    name=None,
    reuse=None,
    renorm=False,
    renorm_clipping=None,
    renorm_momentum=0.99,
    fused=None,
    virtual_batch_size=None,
    adjustment=None,
    trainable_semantics="tf1.15",
):
    """Batch normalization as a function: `tf.layers.batch_normalization` of TF 1.15.

    Args:
        inputs: float tensor of rank 2 to 5.
        training: bool or bool scalar tensor: whether to use the statistics of the batch or the
            moving averages. The default is inference: if you forget `training`, the network trains
            with statistics that stay at 0 and 1.
        reuse: share the variables of an earlier layer called `name`.
        The others are as in `BatchNormalization`.

    Returns:
        A tensor like `inputs`. The update ops are in `tf.GraphKeys.UPDATE_OPS`.

    Raises:
        ValueError, TypeError, RuntimeError: as in `BatchNormalization`.
    """
    inputs = tf.convert_to_tensor(inputs)
    bn_wrapper.check_inputs(inputs, axis)
    layer = BatchNormalization(
        axis=axis,
        momentum=momentum,
        epsilon=epsilon,
        center=center,
        scale=scale,
        beta_initializer=beta_initializer,
        gamma_initializer=gamma_initializer,
        moving_mean_initializer=moving_mean_initializer,
        moving_variance_initializer=moving_variance_initializer,
        beta_regularizer=beta_regularizer,
        gamma_regularizer=gamma_regularizer,
        beta_constraint=beta_constraint,
        gamma_constraint=gamma_constraint,
        renorm=renorm,
        renorm_clipping=renorm_clipping,
        renorm_momentum=renorm_momentum,
        fused=fused,
        trainable=trainable,
        virtual_batch_size=virtual_batch_size,
        adjustment=adjustment,
        name=name,
        trainable_semantics=trainable_semantics,
        dtype=inputs.dtype.base_dtype,
        _reuse=reuse,
        _scope=name,
    )
    return layer(inputs, training=training)


class BatchNormalization(base.Layer):
    """Batch normalization as a layer: `tf.layers.BatchNormalization` of TF 1.15.

    The first call creates the variables `gamma`, `beta`, `moving_mean` and `moving_variance` in a
    variable scope called `name`; later calls share them. The update ops of every call with
    `training` go to `tf.GraphKeys.UPDATE_OPS`, and RUNNING THEM WITH THE TRAINING STEP IS UP TO
    YOU, as it was in TF1:

        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train_op = optimizer.minimize(loss)

    It has the same base class as TF1's own layers, so `weights`, `updates`, `losses`,
    `get_updates_for`, `count_params` and so on work as before. A subclass may override `build`,
    `call`, and `_moments`, which computes the batch's moments where the fused kernel is not used.

    Args:
        axis: the channel dimension, or a list of several.
        momentum: weight of the OLD value in the moving averages; called `decay` elsewhere.
        epsilon: added to the variance.
        center, scale: whether the layer has `beta`, `gamma`.
        beta_initializer, gamma_initializer, moving_mean_initializer,
            moving_variance_initializer: of the variables; functions, or their names in Keras.
        beta_regularizer, gamma_regularizer: functions from variable to loss, which is collected
            in `tf.GraphKeys.REGULARIZATION_LOSSES`.
        beta_constraint, gamma_constraint: functions that optimizers apply after each update.
        renorm, renorm_clipping, renorm_momentum: Batch Renormalization.
        fused: None or True uses the fused kernel where possible (rank 4, channels last or in
            dimension 1, none of the options that it does not support); False never does.
        trainable: False freezes `gamma` and `beta`.
        virtual_batch_size: size of ghost batches.
        adjustment: function of the inputs' shape that returns a pair (scale, bias) for training.
        name: variable scope; by default a unique one starting with the name of the class,
            `batch_normalization`.
        trainable_semantics: what `trainable=False` means for the statistics in training.
            "tf1.15": normalize with the batch, but create no update ops, as TF 1.15 did.
            "tf1": normalize with the batch and update, as TF 1.15's documentation said.
            "tf2": inference mode, whatever `training` is, as in TF2's Keras.
        dtype: of the variables; by default that of the inputs, but float32 for half precision.

    Attributes:
        gamma, beta, moving_mean, moving_variance: the variables, or None; set by the first call.
        updates: the update ops of all calls.

    Raises:
        ValueError, TypeError: as in `bn_wrapper.batch_norm_wrapper`, but `momentum` and
            `renorm_momentum` may be 1, `epsilon` may be 0, and all three may be tensors.
        RuntimeError: the layer is called inside a layer of a Keras that can't track its variables
            and updates.
        NotImplementedError: a subclass overrides a method that only the original called.
    """

    gamma: tf.Variable | None
    beta: tf.Variable | None
    moving_mean: tf.Variable  # this and the others are None before the first call
    moving_variance: tf.Variable
    moving_stddev: tf.Variable | None
    renorm_mean: tf.Variable | None
    renorm_stddev: tf.Variable | None

    def __init__(
        self,
        axis=-1,
        momentum=0.99,
        epsilon=1e-3,
        center=True,
        scale=True,
        beta_initializer=None,
        gamma_initializer=None,
        moving_mean_initializer=None,
        moving_variance_initializer=None,
        beta_regularizer=None,
        gamma_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        renorm=False,
        renorm_clipping=None,
        renorm_momentum=0.99,
        fused=None,
        trainable=True,
        virtual_batch_size=None,
        adjustment=None,
        name=None,
        trainable_semantics="tf1.15",
        **kwargs,
    ):
        if trainable_semantics not in TRAINABLE_SEMANTICS:
            raise ValueError(
                "trainable_semantics must be one of %s, not %r"
                % (", ".join(TRAINABLE_SEMANTICS), trainable_semantics)
            )
        _check_numbers(epsilon, momentum=momentum, renorm_momentum=renorm_momentum)
        if renorm:
            bn_wrapper.check_keys("renorm_clipping", renorm_clipping, bn_wrapper.RENORM_CLIPPING)
        super().__init__(trainable=trainable, name=name, **kwargs)
        self.axis = list(axis) if isinstance(axis, (list, tuple)) else axis
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = _initializer("beta", beta_initializer, "zeros")
        self.gamma_initializer = _initializer("gamma", gamma_initializer, "ones")
        self.moving_mean_initializer = _initializer("moving_mean", moving_mean_initializer, "zeros")
        self.moving_variance_initializer = _initializer(
            "moving_variance", moving_variance_initializer, "ones"
        )
        self.beta_regularizer = _of_keras(regularizers, "beta_regularizer", beta_regularizer)
        self.gamma_regularizer = _of_keras(regularizers, "gamma_regularizer", gamma_regularizer)
        self.beta_constraint = _of_keras(constraints, "beta_constraint", beta_constraint)
        self.gamma_constraint = _of_keras(constraints, "gamma_constraint", gamma_constraint)
        self.renorm = renorm
        self.renorm_clipping = renorm_clipping if renorm else None
        self.renorm_momentum = renorm_momentum
        self.fused = fused
        self.virtual_batch_size = virtual_batch_size
        self.adjustment = adjustment
        self.trainable_semantics = trainable_semantics
        # The kernel returns the unbiased variance, which TF1 averaged as is unless a program set
        # this to False.
        self._bessels_correction_test_only = True
        self.supports_masking = True
        # The base class returns no `updates` for a frozen layer unless it is stateful.
        self.stateful = trainable_semantics == "tf1"
        self.gamma = self.beta = self.moving_mean = self.moving_variance = None
        self.moving_stddev = self.renorm_mean = self.renorm_stddev = None

    # Otherwise the base class has AutoGraph rewrite `call` and everything it calls.
    @tf.autograph.experimental.do_not_convert
    def __call__(self, inputs, *args, **kwargs):
        """Normalizes `inputs`, with the batch's statistics if `training` (a bool or tensor)."""
        inputs = tf.convert_to_tensor(inputs)
        bn_wrapper.check_inputs(inputs, self.axis)
        _phase("training", kwargs.get("training", args[0] if args else False))
        _check_owner()
        if self.built and inputs.dtype == tf.float64 != self.moving_mean.dtype.base_dtype:
            raise TypeError(
                "%s has variables of %s, and can't take inputs of float64: call it with these "
                "first, or give it dtype=tf.float64"
                % (self.name, self.moving_mean.dtype.base_dtype.name)
            )
        return super().__call__(inputs, *args, **kwargs)

    def build(self, input_shape):
        """Creates the variables for inputs of this shape."""
        shape = tf.TensorShape(input_shape)
        self.axis = bn_wrapper.positive_axes(self.axis, shape.ndims)
        self.input_spec = base.InputSpec(
            ndim=shape.ndims, axes={axis: shape.as_list()[axis] for axis in self.axis}
        )
        self.fused = self._takes_fused_kernel(shape)
        variables = bn_wrapper.create_variables(
            bn_wrapper.fields_of(self.center, self.scale, self.renorm, stddev=self.renorm),
            self._parameter_shape(shape),
            self._param_dtype,
            initializers={
                "beta": self.beta_initializer,
                "scale": self.gamma_initializer,
                "pop_mean": self.moving_mean_initializer,
                "pop_var": self.moving_variance_initializer,
            },
            regularizers={
                "beta": _of_value(self.beta_regularizer),
                "scale": _of_value(self.gamma_regularizer),
            },
            constraints={
                "beta": _of_value(self.beta_constraint),
                "scale": _of_value(self.gamma_constraint),
            },
            names=_TF1_NAMES,
            get_variable=self._add_variable,
        )
        self.gamma, self.beta = variables.scale, variables.beta
        self.moving_mean, self.moving_variance = variables.pop_mean, variables.pop_var
        self.moving_stddev = variables.pop_stddev
        self.renorm_mean, self.renorm_stddev = variables.renorm_mean, variables.renorm_stddev
        self.built = True

    def call(self, inputs, training=False):
        """Adds the ops of one call; `__call__` has already built the variables."""
        for hook in _HOOKS_OF_THE_ORIGINAL:
            if hasattr(self, hook):
                raise NotImplementedError(
                    "%s overrides %s, which bn_compat.BatchNormalization does not call: it calls "
                    "build, call and _moments" % (type(self).__name__, hook)
                )
        phase_train = _phase("training", training)
        if self.trainable_semantics == "tf2" and not self.trainable:
            phase_train = False
        variables = bn_wrapper.Variables(
            scale=self.gamma,
            beta=self.beta,
            pop_mean=self.moving_mean,
            pop_var=self.moving_variance,
            pop_weight=None,
            pop_stddev=self.moving_stddev,
            renorm_mean=self.renorm_mean,
            renorm_stddev=self.renorm_stddev,
        )
        averages = _averages_apart(self.momentum, variables)
        if self.renorm:
            averages[1] = _AverageOfDeviations(self.momentum, variables, self.epsilon)
        has_own_moments = getattr(self._moments, "__func__", None) is not _MOMENTS
        outputs, updates = _normalize(
            inputs,
            phase_train,
            variables,
            averages,
            self.epsilon,
            self.axis,
            bn_wrapper.Options(
                fused=self.fused,
                unbiased=self.fused and self._bessels_correction_test_only,
                virtual_batch_size=self.virtual_batch_size,
                renorm_clipping=self.renorm_clipping,
                renorm_decay=self.renorm_momentum,
                adjustment=self.adjustment,
                moments=self._moments if has_own_moments else None,
            ),
        )
        outputs_name, updates_names = _names_in_layers(
            tf.is_tensor(phase_train),
            is_updated=bool(updates),
            is_fused=self.fused,
            is_ghost=self.virtual_batch_size is not None,
            is_adjusted=self.adjustment is not None,
            is_renorm=self.renorm,
        )
        for update, name in zip(updates, updates_names):
            self.add_update(_with_name(name, update).op)
        return _name_and_record(outputs_name, inputs, outputs, variables, self.axis, self.epsilon)

    @property
    def updates(self):
        """The update ops of all calls; none if frozen, except with "tf1" semantics."""
        if not self._updates:
            return []
        # With TF2's behaviour enabled, the base class fails outside a graph.
        with self._updates[0].graph.as_default():
            return super().updates

    def _moments(self, inputs, reduction_axes, keep_dims, mask=None):
        """Returns the batch's mean and variance without the fused kernel; may be overridden.

        Only a subclass passes `mask`, which the original has in later versions, such as tf_keras's:
        it says for each position whether it counts, in all channels.
        """
        if mask is None:
            return tf.nn.moments(inputs, reduction_axes, keep_dims=keep_dims)
        weights = tf.expand_dims(tf.cast(mask, inputs.dtype), -1)
        return tf.nn.weighted_moments(inputs, reduction_axes, weights, keepdims=keep_dims)

    def _add_variable(self, name, **options):
        scope = self._scope or tf.VariableScope(reuse=None)
        partitioner = scope.partitioner
        if name not in ("gamma", "beta"):
            # A moving average is assigned as a whole, and by each replica under tf.distribute.
            scope.set_partitioner(None)
            options["synchronization"] = tf.VariableSynchronization.ON_READ
            options["aggregation"] = tf.VariableAggregation.MEAN
        try:
            return self.add_weight(name, **options)
        finally:
            scope.set_partitioner(partitioner)

    @property
    def _param_dtype(self):
        return bn_wrapper.statistics_dtype(tf.as_dtype(self.dtype or tf.float32))

    def _takes_fused_kernel(self, shape):
        """Returns whether TF 1.15 used it for inputs of this shape."""
        has_layout = shape.ndims == 4 and self.axis in ([1], [3])
        others = self.renorm or None, self.virtual_batch_size, self.adjustment
        return has_layout and _allow_fused_kernel(
            self.fused, self._param_dtype, self.epsilon, *others
        )

    def _parameter_shape(self, shape):
        if self.virtual_batch_size is None:
            return bn_wrapper.parameter_shape(shape, self.axis)
        # Variables in old checkpoints have the rank of inputs split into ghost batches.
        sizes = bn_wrapper.sizes_along(shape, self.axis)
        return sizes[:1] + [1] + sizes[1:]

    def compute_output_shape(self, input_shape):
        """Returns `input_shape`."""
        return input_shape

    def get_config(self):
        """Returns the layer's arguments, except `fused` and `adjustment`, as plain values."""
        config = super().get_config()
        for name in ("axis", "momentum", "epsilon", "center", "scale"):
            config[name] = getattr(self, name)
        for kind, module in (
            ("initializer", initializers),
            ("regularizer", regularizers),
            ("constraint", constraints),
        ):
            for variable in ("beta", "gamma", "moving_mean", "moving_variance"):
                name = "%s_%s" % (variable, kind)
                if hasattr(self, name):
                    config[name] = module.serialize(getattr(self, name))
        if self.renorm:
            config.update(
                renorm=True,
                renorm_clipping=self.renorm_clipping,
                renorm_momentum=self.renorm_momentum,
            )
        if self.virtual_batch_size is not None:
            config["virtual_batch_size"] = self.virtual_batch_size
        if self.trainable_semantics != "tf1.15":
            config["trainable_semantics"] = self.trainable_semantics
        return config


# To tell whether a program has replaced it, in a subclass or elsewhere; `call` then uses that one.
_MOMENTS = BatchNormalization._moments


# ---- Shared by the function and the layer ----


def _normalize(inputs, phase_train, variables, averages, epsilon, axis, options):
    """Returns outputs and updates, where `fused` says what the original did.

    A name scope keeps its ops from taking the originals' names.
    """
    options = options._replace(fused=options.fused and bn_wrapper.has_fused_kernel(inputs.dtype))
    with tf.name_scope("normalize"):
        return bn_wrapper.normalize(
            inputs, phase_train, variables, averages, epsilon, axis, options
        )


def _allow_fused_kernel(fused, dtype, epsilon, *others):
    """Returns whether TF 1.15 used the fused kernel with these options if the layout allowed it.

    Args:
        fused: the argument of this name.
        dtype: of the statistics.
        epsilon: a number or a tensor.
        *others: options that the kernel does not support, None if unused.
    """
    return (
        fused is not False
        and dtype == tf.float32
        and not tf.is_tensor(epsilon)
        and all(option is None for option in others)
    )


def _averages_apart(decay, variables):
    """Returns a list of two averages, one of the mean and one of the variance.

    Programs may run their updates one after the other, so each must update only its own average.
    """
    return [
        bn_wrapper.MovingAverage(decay, {"pop_mean": variables.pop_mean}),
        bn_wrapper.MovingAverage(decay, {"pop_var": variables.pop_var}),
    ]


class _ZeroDebiasedMean(bn_wrapper.MovingAverage):
    """Contrib's average with `zero_debias_moving_mean`, which is TensorFlow's own.

    Old checkpoints contain its variables `biased` and `local_step`. It has the original's faults:
    it is wrong once the decay changes or statistics are loaded, and when calls run concurrently.
    """

    def __init__(self, decay, variables, scope, custom_getter):
        super().__init__(decay, {"pop_mean": variables.pop_mean})
        self.scope = scope
        self.custom_getter = custom_getter

    def apply(self, statistics, count=1):
        """Returns an op that adds a batch's statistics to the averages."""
        pop_mean, batch_mean = self.average("pop_mean"), statistics["pop_mean"]
        # Before TensorFlow 2.5, the decay could not be an integer.
        decay = self.decay if tf.is_tensor(self.decay) else float(self.decay)
        original = tf.train.ExponentialMovingAverage(decay, zero_debias=True)

        def keep_in_moving_mean(getter, name, *args, **kwargs):
            # The original requests a variable named after the tensor that it averages. Returning
            # `pop_mean` avoids a copy of it, and gives the other variables contrib's names.
            if name.rstrip("/").endswith(original.name):
                return pop_mean
            return getter(name, *args, **kwargs)

        scope = tf.VariableScope(
            name=self.scope,
            reuse=tf.AUTO_REUSE,
            custom_getter=self.custom_getter,
            use_resource=bn_wrapper.is_resource(pop_mean),  # Like the layer's others.
        )
        with tf.variable_scope(
            scope, custom_getter=keep_in_moving_mean, auxiliary_name_scope=False
        ):
            # Only after the batch, which may depend on an earlier call that updates the average.
            with tf.control_dependencies([batch_mean]):
                return original.apply([batch_mean])


class _AverageOfDeviations(bn_wrapper.MovingAverage):
    """With renorm, tf.layers averaged standard deviations to compute `moving_variance`."""

    def __init__(self, decay, variables, epsilon):
        super().__init__(decay, {"pop_var": variables.pop_var})
        self.of_stddev = bn_wrapper.MovingAverage(decay, {"pop_stddev": variables.pop_stddev})
        self.epsilon = epsilon

    def apply(self, statistics, count=1):
        """Returns an op that adds a batch's statistics to the averages."""
        stddev = tf.sqrt(statistics["pop_var"] + self.epsilon)
        with tf.control_dependencies([self.of_stddev.apply({"pop_stddev": stddev}, count)]):
            pop_stddev = self.of_stddev.average("pop_stddev").read_value()
        var = tf.square(pop_stddev) - self.epsilon
        pop_var = self.average("pop_var")
        # Rounding could make a variance of 0 negative. An empty batch changes nothing.
        var = tf.where_v2(count > 0, tf.nn.relu(var), pop_var.read_value())
        return tf.group(pop_var.assign(var, read_value=False))


def _name_and_record(name, inputs, outputs, variables, axis, epsilon):
    """Gives the outputs the original's name, and records the call for `bn_tools.layers_of`."""
    outputs = _with_name(name, outputs)
    bn_wrapper.record_layer(inputs, outputs, variables, axis, epsilon)
    return outputs


def _with_name(name, tensor):
    """Returns `tensor` as the output of an op with this full name, scopes included."""
    return tf.identity(tensor, name=name + "/")


def _take_names(name, count=1):
    """Reserves and returns the next names of this kind in the current scope, numbered as in TF1."""
    return [tf.get_default_graph().unique_name(name) for _ in range(count)]


def _names_in_contrib(is_phase_tensor, is_updated, is_fused, rank, is_in_place):
    """Returns what `_names_in_layers` does, for contrib where it did not delegate to tf.layers."""
    conds, updates = [], []
    if is_phase_tensor:
        conds = _take_names("cond", 2)
        of_updates = conds[1] if is_fused else conds[0]
        updates = [of_updates + "/Merge", of_updates + "/Merge_1"]
    elif is_updated:
        updates = _take_names("AssignMovingAvg", 2)

    if not is_fused:
        return _take_names("batchnorm")[0] + "/add_1", updates
    if rank == 2:
        return _take_names("Reshape", 2)[1], updates
    if is_phase_tensor:
        return (conds[1] if is_in_place else conds[0]) + "/Merge", updates
    return _take_names("Identity" if is_in_place else _KERNEL)[0], updates


def _names_in_layers(is_phase_tensor, is_updated, is_fused, is_ghost, is_adjusted, is_renorm):
    """Returns the name of the outputs and a list of the updates' names, as in tf.layers.

    Programs fetch and freeze by these names. In each call, the original created several ops of a
    kind. Those that do not exist here still count in the numbering.
    """
    updates = []
    if is_phase_tensor and not is_fused:
        # The earlier ones are for the mean and variance, the adjustment, and renorm's correction.
        conds = _take_names("cond", 4 + 2 * is_adjusted + 4 * is_renorm)
        updates = [cond + "/Merge" for cond in conds[-2:]]
    elif is_updated and is_renorm:
        updates = [_take_names("AssignMovingAvg", 4)[2]] + _take_names("AssignNewValue")
    elif is_updated:
        updates = _take_names("AssignMovingAvg", 2)

    if is_fused and is_phase_tensor:
        return _take_names("cond", 2)[0] + "/Merge", updates
    if is_fused:
        return _take_names(_KERNEL)[0], updates
    if is_ghost:
        return _take_names("Reshape", 2)[1], updates
    return _take_names("batchnorm")[0] + "/add_1", updates


def _phase(name, training):
    """Returns `training`: a bool if known when the graph is built, otherwise a tensor."""
    if training is None:
        raise TypeError("%s must be a bool or a bool tensor, not None" % name)
    if tf.is_tensor(training) and training.shape.ndims == 0:
        static = tf.get_static_value(training)
        training = training if static is None else static
    return bn_wrapper.check_phase(training, name)


def _check_numbers(epsilon, **decays):
    """Rejects values that TF 1.15 accepted but that can only be mistakes; accepts any tensor."""
    ranges = [("epsilon", epsilon, float("inf"))]
    ranges += [(name, decay, 1) for name, decay in sorted(decays.items())]
    for name, value, highest in ranges:
        if tf.is_tensor(value):
            continue
        bn_wrapper.check_number(name, value)
        if not 0 <= value <= highest:
            raise ValueError("%s must be from 0 to %s, not %r" % (name, highest, value))


def _initializer(variable, given, default):
    return _of_keras(initializers, variable + "_initializer", default if given is None else given)


def _of_keras(module, argument, given):
    """Returns the given function, or Keras's function of the given name."""
    try:
        return module.get(given)
    except ValueError:
        raise TypeError(
            "%s must be a function or Keras's name of one, not %r" % (argument, given)
        ) from None


def _of_value(function):
    """Returns a regularizer or constraint that takes a variable; Keras 3's take only its value."""
    if function is None or not type(function).__module__.startswith("keras."):
        return function
    return lambda variable: function(tf.convert_to_tensor(variable))


# Keras versions whose layers would not track this layer's variables and updates: by module, a
# function that tells whether one of their layers is being called.
_KERAS_CALLS = {
    "keras.src.backend.common.global_state": lambda module: (
        module.get_global_attribute("current_call_ctx") is not None
    ),
    "keras.engine.base_layer_utils": lambda module: module.call_context().in_call,
    "keras.src.engine.base_layer_utils": lambda module: module.call_context().in_call,
    "tf_keras.src.engine.base_layer_utils": lambda module: module.call_context().in_call,
}


def _check_owner():
    """Raises RuntimeError if called inside a layer of a Keras other than TensorFlow's own."""
    for name, is_calling in _KERAS_CALLS.items():
        if name in sys.modules and is_calling(sys.modules[name]):
            raise RuntimeError(
                "a layer or model of %s can't own bn_compat.BatchNormalization: it would find "
                "neither its variables nor its updates. Call it outside of Keras, or take Keras's "
                "own BatchNormalization with the legacy Keras (TF_USE_LEGACY_KERAS=1)"
                % name.split(".")[0]
            )


# ---- contrib's layers that take a normalizer ----
#
# They serve old programs where tf_slim, which has all of contrib's layers, is not installed; where
# it is, `install` puts slim's. These never pass a call on to slim's: whether a package is installed
# must not decide what a name computes.

_ZEROS = tf.zeros_initializer()


def conv2d(
    inputs,
    num_outputs,
    kernel_size,
    stride=1,
    padding="SAME",
    data_format=None,
    rate=1,
    activation_fn=tf.nn.relu,
    normalizer_fn=None,
    normalizer_params=None,
    weights_initializer=None,
    weights_regularizer=None,
    biases_initializer=_ZEROS,
    biases_regularizer=None,
    reuse=None,
    variables_collections=None,
    outputs_collections=None,
    trainable=True,
    scope=None,
):
    """A convolution that takes a normalizer: `tf.contrib.layers.conv2d` of TF 1.15.

    `normalizer_fn` is called with `normalizer_params` AND NOTHING ELSE. So `batch_norm` without
    `{"is_training": ...}` in them is always in training mode, even in inference graphs:

        conv2d(x, 32, 5, normalizer_fn=batch_norm)                                   # the pitfall
        conv2d(x, 32, 5, normalizer_fn=batch_norm,
               normalizer_params={"is_training": phase_train})                       # the cure

    Args:
        inputs: float tensor [batch, height, width, channels]; channels second with "NCHW".
        num_outputs: number of filters.
        kernel_size: height and width of the filters, one number or a pair.
        stride: likewise.
        padding: "SAME" or "VALID".
        data_format: None, "NHWC", or "NCHW", which TensorFlow can't compute on every processor.
        rate: dilation of the filters, one number or a pair.
        activation_fn: applied last, or None.
        normalizer_fn: applied to the product, instead of a bias.
        normalizer_params: its keyword arguments.
        weights_initializer, biases_initializer: of the variables `weights` (None means Glorot
            uniform, "Xavier" in contrib) and `biases` (None omits them).
        weights_regularizer, biases_regularizer: functions from variable to loss, which is
            collected in `tf.GraphKeys.REGULARIZATION_LOSSES`.
        reuse, scope: of the variable scope, by default a unique one starting with `Conv`.
        variables_collections: list of collections for the variables, or dict of lists by name.
        outputs_collections: collections for the output.
        trainable: False freezes `weights` and `biases`, but not the variables of `normalizer_fn`.

    Returns:
        A tensor like `inputs`, with `num_outputs` channels; height and width depend on `padding`.

    Raises:
        ValueError: `data_format` is unknown, or the number of channels of `inputs` is.
    """
    if data_format not in (None, "NHWC", "NCHW"):
        raise ValueError("data_format has to be either NCHW or NHWC, not %r" % (data_format,))
    inputs = tf.convert_to_tensor(inputs)
    axis = 1 if data_format == "NCHW" else -1
    bn_wrapper.check_inputs(inputs, axis)

    shape = _pair(kernel_size) + [inputs.shape.as_list()[axis], num_outputs]
    dtype = inputs.dtype.base_dtype
    shared = {"trainable": trainable, "variables_collections": variables_collections}
    with tf.variable_scope(
        scope, "Conv", [inputs], reuse=reuse, custom_getter=_get_model_variable
    ) as layer_scope:
        outputs = tf.nn.convolution(
            input=inputs,
            filter=_variable(
                "weights", shape, dtype, weights_initializer, weights_regularizer, **shared
            ),
            strides=_pair(stride),
            padding=padding,
            dilation_rate=_pair(rate),
            data_format=data_format,
            name="Conv2D",
        )
        if normalizer_fn is not None:
            outputs = normalizer_fn(outputs, **(normalizer_params or {}))
        elif biases_initializer is not None:
            biases = _variable(
                "biases", shape[-1:], dtype, biases_initializer, biases_regularizer, **shared
            )
            outputs = tf.nn.bias_add(outputs, biases, data_format or "NHWC")
        return _finish(outputs, activation_fn, outputs_collections, layer_scope)


convolution2d = conv2d


def fully_connected(
    inputs,
    num_outputs,
    activation_fn=tf.nn.relu,
    normalizer_fn=None,
    normalizer_params=None,
    weights_initializer=None,
    weights_regularizer=None,
    biases_initializer=_ZEROS,
    biases_regularizer=None,
    reuse=None,
    variables_collections=None,
    outputs_collections=None,
    trainable=True,
    scope=None,
):
    """A dense layer that takes a normalizer: `tf.contrib.layers.fully_connected` of TF 1.15.

    Args:
        inputs: float tensor [batch, ..., channels].
        num_outputs: number of units.
        reuse, scope: of the variable scope, by default a unique one starting with
            `fully_connected`.
        The others are as in `conv2d`.

    Returns:
        A tensor [batch, ..., num_outputs].

    Raises:
        ValueError: the number of channels of `inputs` is unknown.
    """
    inputs = tf.convert_to_tensor(inputs)
    bn_wrapper.check_inputs(inputs, -1)

    shape = [inputs.shape.as_list()[-1], num_outputs]
    dtype = inputs.dtype.base_dtype
    shared = {"trainable": trainable, "variables_collections": variables_collections}
    with tf.variable_scope(
        scope, "fully_connected", [inputs], reuse=reuse, custom_getter=_get_model_variable
    ) as layer_scope:
        weights = _variable(
            "weights", shape, dtype, weights_initializer, weights_regularizer, **shared
        )
        is_matrix = inputs.shape.ndims == 2
        outputs = tf.matmul(inputs, weights) if is_matrix else tf.tensordot(inputs, weights, 1)
        if normalizer_fn is not None:
            outputs = normalizer_fn(outputs, **(normalizer_params or {}))
        elif biases_initializer is not None:
            biases = _variable(
                "biases", shape[-1:], dtype, biases_initializer, biases_regularizer, **shared
            )
            outputs = tf.nn.bias_add(outputs, biases)
        return _finish(outputs, activation_fn, outputs_collections, layer_scope)


def _variable(name, shape, dtype, initializer, regularizer, trainable, variables_collections):
    extra = bn_wrapper.collections_of(name, variables_collections)
    return tf.get_variable(
        name,
        shape,
        dtype,
        initializer or tf.glorot_uniform_initializer(),
        regularizer=_of_value(regularizer),
        trainable=trainable,
        collections=[tf.GraphKeys.GLOBAL_VARIABLES] + extra,
    )


def _pair(size):
    return list(size) if isinstance(size, (list, tuple)) else [size, size]


# ---- Shared by contrib's layers ----


def _get_model_variable(getter, *args, **kwargs):
    """Makes each variable a model variable, as contrib and slim do.

    Uses slim's own function if a program has imported it, because it obeys slim's `arg_scope`.
    """
    for module in ("tf_slim.ops.variables", "tensorflow.contrib.framework.python.ops.variables"):
        if module in sys.modules:
            return _get_variable_of_slim(sys.modules[module], getter, *args, **kwargs)
    collections = kwargs.get("collections") or [tf.GraphKeys.GLOBAL_VARIABLES]
    kwargs["collections"] = list(collections) + [tf.GraphKeys.MODEL_VARIABLES]
    return getter(*args, **kwargs)


def _get_variable_of_slim(slim, getter, name, **kwargs):
    unknown = ("reuse", "validate_shape", "constraint")
    options = {option: value for option, value in kwargs.items() if option not in unknown}
    return slim.model_variable(name, custom_getter=getter, **options)


def _finish(outputs, activation_fn, outputs_collections, layer_scope):
    """Applies the activation and collects the outputs, the last steps of every contrib layer."""
    if activation_fn is not None:
        outputs = activation_fn(outputs)
    if outputs_collections:
        # Slim identifies an output's layer by this alias.
        outputs.aliases = getattr(outputs, "aliases", []) + [layer_scope.name]
        tf.add_to_collections(outputs_collections, outputs)
    return outputs


def _by_field(argument, given, known=("beta", "gamma", "moving_mean", "moving_variance")):
    """Converts a dict keyed by TF1's variable names to one keyed by fields of `Variables`."""
    bn_wrapper.check_keys(argument, given, known)
    return {_FIELDS[name]: value for name, value in (given or {}).items()}


def _collections_by_field(variables_collections):
    if isinstance(variables_collections, dict):
        return _by_field("variables_collections", variables_collections)
    return variables_collections


def _collect_variables(layer, variables_collections):
    for name, field in sorted(_FIELDS.items()):
        variable = getattr(layer, name)
        for collection in bn_wrapper.collections_of(field, variables_collections):
            if variable is not None and not _is_in(tf.get_collection(collection), variable):
                tf.add_to_collection(collection, variable)


def _is_in(variables, variable):
    # Not `in`: with TF2's behaviour enabled, variables are compared by value.
    return any(each is variable for each in variables)


def _add_debiasing_to_model_variables(moving_mean):
    """Adds the variables that debias `moving_mean` to the model variables.

    The getter of contrib's unfused path did this for all variables; its fused path did not.
    """
    known = [v.op.name for v in tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)]
    for variable in tf.global_variables():
        name = variable.op.name
        if "/" + moving_mean.op.name + "/" in name and name not in known:
            tf.add_to_collection(tf.GraphKeys.MODEL_VARIABLES, variable)


# ---- Old programs as they are: what other files do ----


def install(everything=False, verbosity=0):
    """Puts removed APIs back where old programs look for them: see `bn_revive.install`.

    Raises:
        ImportError: `bn_revive.py` was not copied.
    """
    return _file("bn_compat.install", "bn_revive").install(everything, verbosity)


def uninstall():
    """Undoes `install`."""
    _file("bn_compat.uninstall", "bn_revive").uninstall()


def import_meta_graph(meta_graph_or_file, clear_devices=False, import_scope=None, **kwargs):
    """Imports a graph that TF1 exported: see `bn_revive.import_meta_graph`."""
    importing = _file("bn_compat.import_meta_graph", "bn_revive").import_meta_graph
    return importing(meta_graph_or_file, clear_devices, import_scope, **kwargs)


def _file(purpose, *names):
    """Imports the first of these files; says which of them were not copied beside this one."""
    beside = "%s." % __package__ if __package__ else ""
    missing = [name + ".py" for name in names if not importlib.util.find_spec(beside + name)]
    if missing:
        raise ImportError("%s needs %s beside bn_compat.py" % (purpose, " and ".join(missing)))
    return importlib.import_module(beside + names[0])


if __name__ == "__main__":
    try:
        launcher = _file("python -m bn_compat", "bn_launcher", "bn_revive")
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    # That imports bn_compat by its name: the program may import it too, and must get the same one.
    launcher.main()
