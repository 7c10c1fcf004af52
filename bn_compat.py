"""The batch norms that TF1 code calls by other names, on top of `bn_wrapper.py`.

Same arguments, same variable names, same behaviour as in TF 1.15, so a program needs a new import
and its old checkpoints go on working:

    tf.contrib.layers.batch_norm             -> bn_compat.batch_norm
    tf.layers.batch_normalization            -> bn_compat.batch_normalization
    tf.layers.BatchNormalization             -> bn_compat.BatchNormalization
    programs that nobody wants to edit       -> bn_compat.install()

Like `bn_wrapper.py` it runs on TF 1.15 (Python 3.7) up to current TensorFlow; copy both files.
"""

import functools
import operator
import sys
import types

import tensorflow.compat.v1 as tf

import bn_wrapper

_TF1_NAMES = {
    "scale": "gamma",
    "pop_mean": "moving_mean",
    "pop_var": "moving_variance",
    "pop_stddev": "moving_stddev",
}
# Of contrib's dicts of parameters.
_FIELDS = {
    "beta": "beta",
    "gamma": "scale",
    "moving_mean": "pop_mean",
    "moving_variance": "pop_var",
}
TRAINABLE_SEMANTICS = ("tf1.15", "tf1", "tf2")


class BatchNormalization(object):
    """Batch normalization as a layer: `tf.layers.BatchNormalization` of TF 1.15.

    The first call creates the variables `gamma`, `beta`, `moving_mean` and `moving_variance` in a
    variable scope called `name`; later calls share them. The update ops of every call with
    `training` go to `tf.GraphKeys.UPDATE_OPS`, and RUNNING THEM WITH THE TRAINING STEP IS UP TO
    YOU, as it was in TF1:

        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train_op = optimizer.minimize(loss)

    Args:
        axis: dimension of the channels, or a list of several.
        momentum: weight of the OLD value in the moving averages; `decay` elsewhere.
        epsilon: added to the variance.
        center, scale: whether there is a `beta`, a `gamma`.
        beta_initializer, gamma_initializer, moving_mean_initializer,
            moving_variance_initializer: of the variables.
        beta_regularizer, gamma_regularizer: functions from variable to loss, which is collected
            in `tf.GraphKeys.REGULARIZATION_LOSSES`.
        beta_constraint, gamma_constraint: functions that optimizers apply after each update.
        renorm, renorm_clipping, renorm_momentum: Batch Renormalization.
        fused: None or True takes the fused kernel where it can be used (rank 4, channels last or
            at 1, none of the options that it does not know); False never does.
        trainable: False freezes `gamma` and `beta`.
        virtual_batch_size: size of ghost batches.
        adjustment: function of the inputs' shape that returns a (scale, bias) for training.
        name: variable scope; by default a unique one beginning `batch_normalization`.
        trainable_semantics: what `trainable=False` means for the statistics where `training`.
            "tf1.15": normalize with the batch, and make no update ops: what that layer did.
            "tf1": normalize with the batch, and update: what its documentation said.
            "tf2": inference mode, whatever `training` says: what TF2's Keras does.

    Attributes:
        gamma, beta, moving_mean, moving_variance: the variables, or None. After the first call.
        updates: the update ops of all calls.

    Raises:
        ValueError, TypeError: as `bn_wrapper.batch_norm_wrapper`, but `momentum` and
            `renorm_momentum` may be 1, `epsilon` may be 0, and all of them may be tensors.
    """

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
        _reuse=None,
    ):
        if trainable_semantics not in TRAINABLE_SEMANTICS:
            raise ValueError(
                "trainable_semantics must be one of %s, not %r"
                % (", ".join(TRAINABLE_SEMANTICS), trainable_semantics)
            )
        _check_numbers(epsilon, momentum=momentum, renorm_momentum=renorm_momentum)
        if renorm:
            bn_wrapper.check_keys("renorm_clipping", renorm_clipping, bn_wrapper.RENORM_CLIPPING)
        self.axis = axis
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.initializers = _given(
            beta=beta_initializer,
            scale=gamma_initializer,
            pop_mean=moving_mean_initializer,
            pop_var=moving_variance_initializer,
        )
        self.regularizers = _given(beta=beta_regularizer, scale=gamma_regularizer)
        self.constraints = _given(beta=beta_constraint, scale=gamma_constraint)
        self.renorm = renorm
        self.renorm_clipping = renorm_clipping if renorm else None
        self.renorm_momentum = renorm_momentum
        self.fused = fused
        self.trainable = trainable
        self.virtual_batch_size = virtual_batch_size
        self.adjustment = adjustment
        self.trainable_semantics = trainable_semantics
        self.updates = []
        self._name = name
        self._reuse = _reuse
        self._scope = None
        self._variables = bn_wrapper.Variables(*[None] * len(bn_wrapper.Variables._fields))

    def __call__(self, inputs, training=False):
        """Normalizes `inputs`, with the batch's statistics where `training` (bool or tensor)."""
        inputs = tf.convert_to_tensor(inputs)
        bn_wrapper.check_inputs(inputs, self.axis)
        if self._scope is None:
            self._create_variables(inputs)
        phase_train = _phase("training", training)
        if self.trainable_semantics == "tf2" and not self.trainable:
            phase_train = False
        is_fused = self._takes_fused_kernel(inputs)
        with tf.name_scope(self._scope.original_name_scope):
            outputs, updates = bn_wrapper.normalize(
                inputs,
                phase_train,
                self._variables,
                decay=self.momentum,
                epsilon=self.epsilon,
                axis=self.axis,
                fused=is_fused,
                # The kernel's variance is the unbiased one, and TF1 averaged what it got.
                unbiased=is_fused,
                virtual_batch_size=self.virtual_batch_size,
                renorm_clipping=self.renorm_clipping,
                renorm_decay=self.renorm_momentum,
                adjustment=self.adjustment,
            )
        if self.trainable_semantics == "tf1.15" and not self.trainable:
            updates = []
        self.updates.extend(updates)
        return bn_wrapper.place_updates(outputs, updates, tf.GraphKeys.UPDATE_OPS)

    apply = __call__

    def _create_variables(self, inputs):
        with tf.variable_scope(self._name, "batch_normalization", reuse=self._reuse) as scope:
            self._scope = scope
            self._variables = bn_wrapper.create_variables(
                self._parameter_shape(inputs),
                bn_wrapper.statistics_dtype(inputs),
                center=self.center,
                scale=self.scale,
                renorm=self.renorm,
                trainable=self.trainable,
                initializers=self.initializers,
                regularizers=self.regularizers,
                constraints=self.constraints,
                names=_TF1_NAMES,
            )

    def _takes_fused_kernel(self, inputs):
        """Where TF 1.15 took it."""
        return (
            self.fused is not False
            and inputs.shape.ndims == 4
            and bn_wrapper.positive_axes(self.axis, 4) in ([1], [3])
            and bn_wrapper.statistics_dtype(inputs) == tf.float32
            and not self.renorm
            and self.virtual_batch_size is None
            and self.adjustment is None
        )

    def _parameter_shape(self, inputs):
        if self.virtual_batch_size is None:
            return bn_wrapper.parameter_shape(inputs, self.axis)
        # Old checkpoints have the rank of the inputs split into ghost batches.
        sizes = bn_wrapper.sizes_along(inputs, self.axis)
        return sizes[:1] + [1] + sizes[1:]

    @property
    def name(self):
        """Name of the layer's variable scope, without the scopes around it."""
        return self._scope.name.split("/")[-1] if self._scope else self._name

    @property
    def gamma(self):
        """Variable that the normalized values are multiplied by."""
        return self._variables.scale

    @property
    def beta(self):
        """Variable that is added to them."""
        return self._variables.beta

    @property
    def moving_mean(self):
        """Moving average of the batch means."""
        return self._variables.pop_mean

    @property
    def moving_variance(self):
        """Moving average of the batch variances."""
        return self._variables.pop_var

    @property
    def trainable_weights(self):
        """The variables that optimizers change: gamma and beta, unless frozen."""
        weights = [v for v in self._variables[:2] if v is not None]
        return weights if self.trainable else []

    @property
    def non_trainable_weights(self):
        """The other variables."""
        frozen = [] if self.trainable else [v for v in self._variables[:2] if v is not None]
        return frozen + [v for v in self._variables[2:] if v is not None]

    @property
    def weights(self):
        """All variables."""
        return self.trainable_weights + self.non_trainable_weights

    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights
    variables = weights


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
        training: bool, or bool scalar tensor: statistics of the batch, or the moving averages.
            The default is inference; forgetting `training` trains a network with statistics that
            stay at 0 and 1.
        reuse: share the variables of an earlier layer called `name`.
        The others are those of `BatchNormalization`.

    Returns:
        A tensor like `inputs`. The update ops are in `tf.GraphKeys.UPDATE_OPS`.
    """
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
        _reuse=reuse,
    )
    return layer(inputs, training=training)


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

    Note its defaults: no `gamma`, a decay of 0.999, and training unless told otherwise. By default
    THE UPDATE OPS ARE YOURS TO RUN, from `updates_collections`; None makes them part of the output.

    Args:
        inputs: float tensor of rank 2 to 5.
        decay: weight of the OLD value in the moving averages.
        center, scale: whether there is a `beta`, a `gamma`.
        epsilon: added to the variance.
        activation_fn: applied to the output.
        param_initializers, param_regularizers: dicts by variable name.
        updates_collections: collection of the update ops, or None.
        is_training: bool or bool scalar tensor: statistics of the batch, or the moving averages.
        reuse: share the variables of the layer `scope`.
        variables_collections: list of collections for the variables, or dict of lists by name.
        outputs_collections: collections for the output.
        trainable: False freezes `gamma` and `beta`; and the moving averages, where contrib left the
            work to the layer of tf.layers: with the usual `updates_collections` and neither
            `batch_weights` nor `zero_debias_moving_mean`, unless a fused kernel of its own took
            inputs of rank 2.
        batch_weights: [batch], weight of each example in the statistics.
        fused: None or True takes the fused kernel where it can be used; False never does.
        data_format: "NHWC" or "NCHW".
        zero_debias_moving_mean: start `moving_mean` at the first batch.
        scope: variable scope; by default a unique one beginning `BatchNorm`.
        renorm, renorm_clipping, renorm_decay: Batch Renormalization.
        adjustment: function of the inputs' shape that returns a (scale, bias) for training.

    Returns:
        A tensor like `inputs`.

    Raises:
        ValueError, TypeError: as `BatchNormalization`; or `data_format` is unknown, or renorm goes
            with an option that excludes it.
    """
    if data_format not in ("NHWC", "NCHW"):
        raise ValueError("data_format must be NHWC or NCHW, not %r" % (data_format,))
    is_usual = updates_collections == tf.GraphKeys.UPDATE_OPS
    if renorm and not (is_usual and batch_weights is None and not zero_debias_moving_mean):
        raise ValueError(
            "renorm does not go with batch_weights, updates_collections or zero_debias_moving_mean"
        )
    _check_numbers(epsilon, decay=decay, renorm_decay=renorm_decay)
    inputs = tf.convert_to_tensor(inputs)
    axis = 1 if data_format == "NCHW" else -1
    bn_wrapper.check_inputs(inputs, axis)
    is_fused = (
        fused is not False
        and inputs.shape.ndims in (2, 4)
        and bn_wrapper.statistics_dtype(inputs) == tf.float32
        and batch_weights is None
        and not renorm
        and adjustment is None
    )
    is_layers_work = (
        is_usual
        and batch_weights is None
        and not zero_debias_moving_mean
        and not (is_fused and inputs.shape.ndims == 2)
    )
    with tf.variable_scope(scope, "BatchNorm", [inputs], reuse=reuse) as layer_scope:
        variables = bn_wrapper.create_variables(
            bn_wrapper.parameter_shape(inputs, axis),
            bn_wrapper.statistics_dtype(inputs),
            center=center,
            scale=scale,
            renorm=renorm,
            trainable=trainable,
            initializers=_by_field("param_initializers", param_initializers),
            regularizers=_by_field("param_regularizers", param_regularizers, ("beta", "gamma")),
            collections=_model_variables(variables_collections),
            names=_TF1_NAMES,
        )
        outputs, updates = bn_wrapper.normalize(
            inputs,
            _phase("is_training", is_training),
            variables,
            decay=decay,
            epsilon=epsilon,
            axis=axis,
            fused=is_fused,
            zero_debiased=("pop_mean",) if zero_debias_moving_mean else (),
            # The kernel's variance is the unbiased one, and TF1 averaged what it got.
            unbiased=is_fused,
            batch_weights=batch_weights,
            renorm_clipping=renorm_clipping if renorm else None,
            renorm_decay=renorm_decay,
            adjustment=adjustment,
            debias_scope=layer_scope.name,
        )
        if is_layers_work and not trainable:
            updates = []
        if zero_debias_moving_mean and not is_fused:
            _add_debiasing_to_model_variables(variables.pop_mean)
        outputs = bn_wrapper.place_updates(outputs, updates, updates_collections)
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        if outputs_collections:
            tf.add_to_collections(outputs_collections, outputs)
        return outputs


def conv2d(
    inputs,
    num_outputs,
    kernel_size,
    stride=1,
    padding="SAME",
    activation_fn=tf.nn.relu,
    normalizer_fn=None,
    normalizer_params=None,
    reuse=None,
    scope=None,
):
    """A convolution as `tf.contrib.layers.conv2d`, just capable enough to carry a normalizer.

    `normalizer_fn` is called with `normalizer_params` AND NOTHING ELSE. So a `batch_norm` without
    `{"is_training": ...}` in them is always in training mode, in inference graphs too:

        conv2d(x, 32, 5, normalizer_fn=batch_norm)                                   # the pitfall
        conv2d(x, 32, 5, normalizer_fn=batch_norm,
               normalizer_params={"is_training": phase_train})                       # the cure

    Args:
        inputs: float tensor [batch, height, width, channels].
        num_outputs: number of filters.
        kernel_size: height and width of the filters, one number or a pair.
        stride: likewise.
        padding: "SAME" or "VALID".
        activation_fn: applied last, or None.
        normalizer_fn: applied to the product in place of a bias.
        normalizer_params: its keyword arguments.
        reuse, scope: of the variable scope, by default a unique one beginning `Conv`.
    """
    inputs = tf.convert_to_tensor(inputs)
    bn_wrapper.check_inputs(inputs, -1)
    with tf.variable_scope(scope, "Conv", [inputs], reuse=reuse):
        shape = _pair(kernel_size) + [inputs.shape.as_list()[-1], num_outputs]
        strides = [1] + _pair(stride) + [1]
        product = tf.nn.conv2d(inputs, _weights(shape), strides=strides, padding=padding)
        return _finish(product, activation_fn, normalizer_fn, normalizer_params)


def fully_connected(
    inputs,
    num_outputs,
    activation_fn=tf.nn.relu,
    normalizer_fn=None,
    normalizer_params=None,
    reuse=None,
    scope=None,
):
    """A dense layer as `tf.contrib.layers.fully_connected`; see `conv2d` for the normalizer.

    Args:
        inputs: float tensor [batch, channels].
        num_outputs: number of units.
        activation_fn, normalizer_fn, normalizer_params: as of `conv2d`.
        reuse, scope: of the variable scope, by default a unique one beginning `fully_connected`.
    """
    inputs = tf.convert_to_tensor(inputs)
    bn_wrapper.check_inputs(inputs, -1)
    with tf.variable_scope(scope, "fully_connected", [inputs], reuse=reuse):
        product = tf.matmul(inputs, _weights([inputs.shape.as_list()[-1], num_outputs]))
        return _finish(product, activation_fn, normalizer_fn, normalizer_params)


def _weights(shape):
    return tf.get_variable(
        "weights",
        shape,
        initializer=tf.glorot_uniform_initializer(),
        collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES],
    )


def _finish(product, activation_fn, normalizer_fn, normalizer_params):
    if normalizer_fn is not None:
        outputs = normalizer_fn(product, **(normalizer_params or {}))
    else:
        biases = tf.get_variable(
            "biases",
            product.shape.as_list()[-1:],
            initializer=tf.zeros_initializer(),
            collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES],
        )
        outputs = tf.nn.bias_add(product, biases)
    return outputs if activation_fn is None else activation_fn(outputs)


def _pair(size):
    return list(size) if isinstance(size, (list, tuple)) else [size, size]


def _phase(name, training):
    """Decides when the graph is built what can be decided then; a tensor decides at every run."""
    if tf.is_tensor(training):
        phase = bn_wrapper.check_phase(training, name)
        static = tf.get_static_value(phase)
        return phase if static is None else bool(static)
    if getattr(training, "shape", ()) or training not in (0, 1):
        raise TypeError("%s must be a bool or a bool tensor, not %r" % (name, training))
    return bool(training)


def _check_numbers(epsilon, **decays):
    """Refuses what TF 1.15 took, but only a mistake can be; tensors it took are taken."""
    ranges = [("epsilon", epsilon, float("inf"))]
    ranges += [(name, decay, 1) for name, decay in sorted(decays.items())]
    for name, value, highest in ranges:
        if tf.is_tensor(value):
            continue
        bn_wrapper.check_number(name, value)
        if not 0 <= value <= highest:
            raise ValueError("%s must be from 0 to %s, not %r" % (name, highest, value))


def _given(**arguments):
    return {name: value for name, value in arguments.items() if value is not None}


def _by_field(argument, given, known=("beta", "gamma", "moving_mean", "moving_variance")):
    """Takes a dict by TF1's names of the variables to one by the fields of `Variables`."""
    bn_wrapper.check_keys(argument, given, known)
    return {_FIELDS[name]: value for name, value in (given or {}).items()}


def _model_variables(variables_collections):
    """Adds the collection that contrib's variables were in; a dict or a list stays what it was."""
    model = [tf.GraphKeys.MODEL_VARIABLES]
    if not isinstance(variables_collections, dict):
        return model + bn_wrapper.collection_names(variables_collections)
    wanted = _by_field("variables_collections", variables_collections)
    return {
        field: model + bn_wrapper.collection_names(wanted.get(field))
        for field in bn_wrapper.Variables._fields
    }


def _add_debiasing_to_model_variables(moving_mean):
    """Contrib's legacy path got all its variables by a getter that did this; its kernel did not."""
    known = [v.op.name for v in tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)]
    for variable in tf.global_variables():
        name = variable.op.name
        if "/" + moving_mean.op.name + "/" in name and name not in known:
            tf.add_to_collection(tf.GraphKeys.MODEL_VARIABLES, variable)


class _Overlay(types.ModuleType):
    """A module that has some names of its own, and for all others looks in what it lies over."""

    def __init__(self, name, below, **own):
        super(_Overlay, self).__init__(name)
        self._below = below
        self.__dict__.update(own)

    def __getattr__(self, name):
        if self._below is None:
            raise AttributeError(
                "%s has no %s: this TensorFlow has no such module, and bn_compat.install() put "
                "nothing but batch norm there" % (self.__name__, name)
            )
        return getattr(self._below, name)

    def __dir__(self):
        return sorted(set(super(_Overlay, self).__dir__()) | set(dir(self._below)))


# What `uninstall` calls, last first.
_undo = []  # type: list


def install():
    """Puts batch norm where old programs look for it, for those that nobody wants to edit.

    Afterwards `tf.layers.batch_normalization`, `tf.layers.BatchNormalization` and
    `tf.contrib.layers.batch_norm` are this module's, with `tf` being `tensorflow.compat.v1` or, on
    TF 1, `tensorflow`; `from tensorflow.contrib.layers import batch_norm` and the like work too.
    All that is not batch norm stays what it was. Calling it again changes nothing; `uninstall`
    undoes it.
    """
    if _undo:
        return
    import tensorflow

    # Each with the names that programs import its modules by: Python would load the original
    # modules for them, and put those in the place of these.
    roots = [(tf, ["tensorflow.compat.v1", "tensorflow"])]
    if tensorflow.__version__.startswith("1."):
        roots = [(tf, ["tensorflow.compat.v1"]), (tensorflow, ["tensorflow"])]
    for root, paths in roots:
        former_contrib = getattr(root, "contrib", None)
        contrib_layers = _Overlay(
            "tensorflow.contrib.layers",
            getattr(former_contrib, "layers", None),
            batch_norm=batch_norm,
        )
        contrib = _Overlay("tensorflow.contrib", former_contrib, layers=contrib_layers)
        layers = _Overlay(
            "tensorflow.layers",
            getattr(root, "layers", None),
            batch_normalization=batch_normalization,
            BatchNormalization=BatchNormalization,
        )
        _set_attribute(root, "layers", layers)
        _set_attribute(root, "contrib", contrib)
        for path in paths:
            _set_module(path + ".layers", layers)
            _set_module(path + ".contrib", contrib)
            _set_module(path + ".contrib.layers", contrib_layers)


def uninstall():
    """Undoes `install`."""
    while _undo:
        _undo.pop()()


def _set_attribute(module, name, value):
    if hasattr(module, name):
        _undo.append(functools.partial(setattr, module, name, getattr(module, name)))
    else:
        _undo.append(functools.partial(delattr, module, name))
    setattr(module, name, value)


def _set_module(name, module):
    if name in sys.modules:
        _undo.append(functools.partial(operator.setitem, sys.modules, name, sys.modules[name]))
    else:
        _undo.append(functools.partial(operator.delitem, sys.modules, name))
    sys.modules[name] = module
