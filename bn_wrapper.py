"""Batch normalization for TF1-style graphs: the one implementation of this project.

It imports nothing but TensorFlow and runs unchanged on TF 1.15 (Python 3.7) and on current
TensorFlow through ``tf.compat.v1``, so you can copy this file into a TF1 code base. The names
that TF1 code calls batch norm by are in `bn_compat.py`, on top of this file.

    Ioffe & Szegedy (2015), Batch Normalization, https://arxiv.org/abs/1502.03167
    Ioffe (2017), Batch Renormalization, https://arxiv.org/abs/1702.03275
    Hoffer et al. (2017), Train longer, generalize better (ghost batches), arXiv 1705.08741
"""

import collections
import contextlib
import functools
import json
import numbers

import tensorflow.compat.v1 as tf

__version__ = "1.0.0"

RENORM_CLIPPING = ("rmin", "rmax", "dmax")

# The variables of a layer; all but `pop_mean` and `pop_var` may be None. `pop_weight` is a scalar,
# the others have a value for each channel. Only the layers of `bn_compat.py` have `pop_stddev`.
Variables = collections.namedtuple(
    "Variables", "scale beta pop_mean pop_var pop_weight pop_stddev renorm_mean renorm_stddev"
)

# A call of a layer, as `layers_of` finds it: two tensors, `Variables`, a list of dimensions counted
# from 0, and the epsilon, or None where it was a tensor.
Layer = collections.namedtuple("Layer", "inputs outputs variables axis epsilon")


def batch_norm_wrapper(
    inputs,
    phase_train=None,
    decay=0.99,
    epsilon=1e-5,
    axis=-1,
    center=True,
    scale=True,
    initializers=None,
    regularizers=None,
    trainable=True,
    fused=None,
    updates_collections=None,
    zero_debias=True,
    unbiased=False,
    batch_weights=None,
    virtual_batch_size=None,
    renorm=False,
    renorm_clipping=None,
    renorm_decay=0.99,
    adjustment=None,
    variables_collections=None,
    outputs_collections=None,
    name=None,
    reuse=None,
):
    """Normalizes each channel of `inputs` to mean `beta` and standard deviation `scale`.

    In training the mean and variance are those of the batch (Algorithm 1 of the paper), and a
    moving average of them is kept in `pop_mean` and `pop_var`. In inference those population
    statistics take the batch's place, so that an example's output does not depend on the
    examples it came with (Algorithm 2).

    The update of `pop_mean` and `pop_var` is part of the layer's output: there is no
    `UPDATE_OPS` collection to remember, and after every training step they hold the average
    including that step, so a checkpoint saved after any step is complete.

    Creates, in a variable scope of its own, `scale` and `beta` (trainable) and `pop_mean` and
    `pop_var` (not trainable), each a vector [channels]; in graphs that can train also the scalar
    `pop_weight`, how much data is in the averages, which an inference graph does not have.
    Variables are float32, float64 for float64 inputs.

    Args:
        inputs: float tensor of rank 2 to 5, such as [batch, channels] or
            [batch, height, width, channels]. Statistics of float16 and bfloat16 are float32.
        phase_train: what the graph is for.
            None: an inference graph. Only population statistics, no batch statistics anywhere.
            True or False (1 or 0): training or inference, decided when the graph is built.
            A bool scalar tensor or placeholder: one graph for both, decided at every run.
            Only the branch that is asked for is computed; when false, nothing is updated.
        decay: weight of the OLD value in the moving average, in [0, 1). Near 1 averages over
            more batches (about 1 / (1 - decay) of them) but follows changing weights later.
        epsilon: added to the variance before the square root, > 0, so that a channel that
            never varies is not divided by zero.
        axis: the dimension of the channels, -1 for NHWC and 1 for NCHW, or several: with
            (1, 3) each pair of positions in those dimensions has its own statistics, and the
            variables have the rank of the inputs. Its size must be known.
        center: without it there is no `beta`, such as when a bias follows.
        scale: without it there is no `scale`, such as when a linear layer or ReLU follows.
        initializers: dict of initializers for `scale`, `beta`, `pop_mean`, `pop_var`.
        regularizers: dict of regularizers for `scale` and `beta`.
        trainable: False freezes `scale` and `beta` only; the statistics go on as `phase_train`
            says. (In TF2's Keras it means inference; pass `phase_train=False` for that.)
        fused: None takes TensorFlow's fused kernel wherever it computes the same thing, which
            is faster; True insists on it; False takes `tf.nn.moments`, which is more accurate far
            from zero: where a mean is more than some thousand standard deviations.
        updates_collections: None makes the update part of the output. The name of a collection,
            such as `tf.GraphKeys.UPDATE_OPS`, puts the update ops there instead: then running
            them is up to you, and a step that does not run them forgets its batch.
        zero_debias: average only batches, newer ones weighing more, and never the initial values;
            but other values than 0 and 1, such as those of a checkpoint, count as data. False
            averages the initial values too, as TF1's layers did, and takes hundreds of steps to
            forget them.
        unbiased: average the variance times m / (m - 1), m values a channel, as the paper's
            Algorithm 2 does. Matters for small batches of vectors, not for images.
        batch_weights: float tensor [batch], the weight of each example in the batch's
            statistics; 0 leaves an example out, such as padding, whatever finite values it has. If
            all are 0, the averages stay as they are, and the population's statistics normalize.
        virtual_batch_size: normalize in ghost batches of this size, which must divide the batch.
        renorm: Batch Renormalization: normalize, in training too, with nearly the moving
            averages, so that small batches hurt less. Adds `renorm_mean` and `renorm_stddev`.
        renorm_clipping: dict of `rmin`, `rmax`, `dmax`, the bounds of its correction; numbers or
            scalar tensors. The paper begins with 1, 1, 0, which is batch norm, and widens them.
        renorm_decay: decay of `renorm_mean` and `renorm_stddev`.
        adjustment: function of the shape of the inputs (an int32 tensor) that returns a pair
            (factor, offset) for the normalized values, in training only.
        variables_collections: collections for all variables besides the usual ones, a name or a
            list; or a dict of them by variable.
        outputs_collections: collections for the output.
        name: variable scope of the layer; by default a unique one beginning `batch_norm`.
        reuse: True or `tf.AUTO_REUSE` shares the variables of the layer `name`.

    Returns:
        A tensor of the shape and dtype of `inputs`.

    Raises:
        TypeError: `inputs` are not floating-point, `phase_train` is not a bool, or another
            argument is of a kind that is not described here.
        RuntimeError: TensorFlow executes eagerly, or a `tf.function` is to train, or to make
            variables.
        ValueError: another argument is outside what is described here; options are given that
            exclude each other.
    """
    inputs = tf.convert_to_tensor(inputs, name="inputs")
    check_inputs(inputs, axis)
    phase_train = check_phase(phase_train)
    _check_decays(decay=decay, renorm_decay=renorm_decay)
    _check_positive("epsilon", epsilon, statistics_dtype(inputs.dtype))
    with tf.variable_scope(name, "batch_norm", [inputs], reuse=reuse):
        variables = create_variables(
            fields_of(center, scale, renorm, weight=zero_debias and is_training(phase_train)),
            parameter_shape(inputs.shape, axis),
            statistics_dtype(inputs.dtype),
            trainable,
            initializers,
            regularizers,
            collections=variables_collections,
        )
        outputs, updates = normalize(
            inputs,
            phase_train,
            variables,
            [MovingAverage(decay, population_of(variables), variables.pop_weight)],
            epsilon,
            axis,
            fused=fused,
            unbiased=unbiased,
            batch_weights=batch_weights,
            virtual_batch_size=virtual_batch_size,
            renorm_clipping=renorm_clipping,
            renorm_decay=renorm_decay,
            adjustment=adjustment,
        )
        outputs = place_updates(outputs, updates, updates_collections)
        record_layer(inputs, outputs, variables, axis, epsilon)
        tf.add_to_collections(outputs_collections or [], outputs)
        return outputs


def normalize(inputs, phase_train, variables, moving_averages, epsilon, axis=-1, **options):
    """Normalizes with given variables: what is the same under every name of batch norm.

    Args:
        inputs, phase_train, epsilon, axis: as of `batch_norm_wrapper`.
        variables: `Variables`. With `renorm_mean`, renorm is meant.
        moving_averages: list of a `MovingAverage` of `pop_mean` and `pop_var`, which then are
            updated together, or of one for each.
        options: those of `_checked_options`.

    Returns:
        The outputs, and a list of the two tensors that update `pop_mean` and `pop_var` and are
        their new values. In an inference graph the list is empty.
    """
    options = _checked_options(inputs, phase_train, variables, epsilon, axis, **options)
    values = _outside_of_cond(inputs, phase_train, options)
    population = _read(population_of(variables))
    by_batch = _by_fused_kernel if options.is_fused else _by_moments
    normalized = _choose(
        phase_train,
        functools.partial(by_batch, values, population, variables, options),
        functools.partial(_by_population, values, population, variables, options),
    )
    outputs = tf.cast(normalized.outputs, inputs.dtype)
    outputs.set_shape(inputs.shape)
    if not is_training(phase_train):
        return outputs, []
    return outputs, [
        update
        for average in moving_averages
        for update in _choose(
            phase_train,
            functools.partial(_update, average, outputs, normalized, variables, options),
            functools.partial(_unchanged, average, population),
            updated=variables.pop_mean,
        )
    ]


def _by_moments(inputs, population, variables, options):
    """Normalizes with the moments of the batch: Algorithm 1 of the paper. Returns `Normalized`."""
    values, kept = tf.cast(inputs, options.dtype), options.axes
    if options.virtual_batch_size is not None:
        values, kept = _in_ghost_batches(values, options), [1] + [i + 1 for i in kept]
    reduced = [i for i in range(values.shape.ndims) if i not in kept]

    centred, origin, mean, var, count = _batch_moments(values, reduced, options)
    if options.may_be_empty:
        mean, var = _or_of_population(origin, mean, var, count, population, options)
    seen_mean, seen_var = _seen_by_population(origin + mean, var, count, options)
    scale, beta = _scale_and_beta(inputs, seen_mean, seen_var, variables, options)

    # scale * (centred - mean) / sqrt(var + epsilon) + beta
    outputs = tf.nn.batch_normalization(centred, mean, var, beta, scale, options.epsilon)
    if options.has_closed_gradient:
        outputs = _with_closed_gradient(outputs, centred, mean, var, count, beta, scale, options)
    return Normalized(
        outputs=tf.cast(tf.reshape(outputs, tf.shape(inputs)), inputs.dtype),
        mean=tf.reshape(seen_mean, variables.pop_mean.shape),
        var=tf.reshape(seen_var, variables.pop_mean.shape),
        count=tf.reduce_sum(count),
    )


def _batch_moments(values, reduced, options):
    """Returns the values less a first estimate of their mean, that estimate, and the moments.

    Float32 sums of many values far from zero are off by more than the values' spread. So all is
    done with the distances to the estimate, `origin`, which is a constant to the gradient.

    Returns:
        The distances; the origin; their mean, variance (biased) and number, each of the rank of
        `values` with size 1 in the dimensions `reduced`.
    """
    if options.moments is not None:
        return _given_moments(values, reduced, options)
    if options.batch_weights is not None:
        return _weighted_moments(values, reduced, options.batch_weights)
    total = tf.reduce_sum(values, reduced, keepdims=True)
    count = _count(values, total)
    origin = tf.stop_gradient(tf.div_no_nan(total, count))
    centred = values - origin
    mean, var = tf.nn.moments(centred, reduced, keepdims=True)
    return centred, origin, mean, var, count


class MovingAverage(tf.train.ExponentialMovingAverage):
    """A `tf.train.ExponentialMovingAverage` of batches' statistics, in the variables of a layer.

    It is the weighted mean of what it has seen, after every step, under any decay and from any
    start, which TensorFlow's own is not. So `apply` is the base class's in name and in returning an
    op, but not in its arithmetic:

    - That one divides by `1 - decay ** steps` to take out the initial value (`zero_debias`, Kingma
      & Ba 2015, section 3), which is wrong once the decay changes, or statistics were loaded. Here
      `weight` is how much of the average is data, 0 at first, and a batch gets the share
      `(1 - decay) / weight`: all of the average at first, and later `1 - decay`.
    - That one subtracts a difference: two calls of a layer that run at the same time subtract it
      twice. Here each average is assigned in one piece, and `weight` last. Such calls may lose each
      other's batch, but whoever sees a weight above 0 also sees averages that hold only data.
    - That one computes `1 - decay` in float32, and this all in float64.
    """

    def __init__(self, decay, averages, weight=None):
        """Adds nothing to a graph.

        Args:
            decay: weight of the OLD value, from 0 to 1; a number or scalar tensor.
            averages: dict of the variables that hold the averages, by name.
            weight: scalar variable, for averages of `pop_mean` and `pop_var`; None where they hold
                nothing but data from the start, so that each batch gets the share `1 - decay`.
        """
        super(MovingAverage, self).__init__(decay, name="MovingAverage")
        self.decay = decay
        self.averages = averages
        self.weight = weight

    def apply(self, statistics, count=1):
        """Returns an op that takes the statistics of a batch into the averages.

        Args:
            statistics: dict of tensors by name, with one for each average, of its shape and dtype.
            count: how many values the statistics are of; of 0 there is nothing to learn.
        """
        # Not a float32 tensor, which a number would be turned into.
        decay = tf.cast(self.decay, tf.float64) if tf.is_tensor(self.decay) else float(self.decay)
        new_data = tf.cast(count > 0, tf.float64) * (1.0 - decay)
        # Copied into the graph being built: inside a TF2 branch they come from the outer graph.
        batch = {name: tf.identity(statistics[name]) for name in sorted(self.averages)}

        # Read only once the batch is known: an earlier call that it depends on may update the
        # averages first. It also keeps Grappler from merging the reads of several calls.
        with tf.control_dependencies(list(batch.values())):
            old_weight = _weight_of_data(self.weight, self.averages)
            new_weight = new_data + (1.0 - new_data) * old_weight
        with tf.control_dependencies(list(batch.values()) + [new_weight]):
            average = _read(self.averages)

        share = tf.div_no_nan(new_data, new_weight)
        assigned = []
        for name, variable in sorted(self.averages.items()):
            old, new = [tf.cast(value, tf.float64) for value in (average[name], batch[name])]
            new = (1.0 - share) * old + tf.math.multiply_no_nan(new, share)
            assigned.append(_assign(variable, new))
        if self.weight is None:
            return tf.group(*assigned)
        with tf.control_dependencies(assigned):
            return tf.group(_assign(self.weight, new_weight))


def _update(average, outputs, normalized, variables, options):
    """Takes the statistics of the batch into an average; returns a list of its new values."""
    statistics = {"pop_mean": normalized.mean, "pop_var": normalized.var}
    before = []
    if variables.renorm_mean is not None and "pop_mean" in average.averages:
        before = [_update_renorm(outputs, normalized, variables, options)]
    with tf.control_dependencies(before):
        updated = average.apply(statistics, normalized.count)
    with tf.control_dependencies([updated]):
        return list(_read(average.averages).values())


def _by_population(inputs, population, variables, options):
    """Normalizes with the population's statistics: Algorithm 2. Returns `Normalized`."""
    mean, var = population["pop_mean"], population["pop_var"]
    nothing = tf.zeros([], options.dtype)
    if options.is_fused:
        outputs, _, _ = _fused_batch_norm(inputs, variables, options, mean, var)
        return Normalized(outputs, mean, var, count=nothing)
    mean_along, var_along, scale, beta = [
        None if parameter is None else tf.reshape(parameter, options.sizes)
        for parameter in (mean, var, variables.scale, variables.beta)
    ]
    outputs = tf.nn.batch_normalization(
        tf.cast(inputs, options.dtype), mean_along, var_along, beta, scale, options.epsilon
    )
    return Normalized(tf.cast(outputs, inputs.dtype), mean, var, count=nothing)


def fields_of(center=True, scale=True, renorm=False, stddev=False, weight=False):
    """Returns which variables a layer has, fields of `Variables`, in the order they are made in.

    Args:
        center, scale, renorm: as of `batch_norm_wrapper`.
        stddev, weight: whether there is a `pop_stddev`, a `pop_weight`.
    """
    is_wanted = [
        ("scale", scale),
        ("beta", center),
        ("pop_mean", True),
        ("pop_var", True),
        ("pop_stddev", stddev),
        ("renorm_mean", renorm),
        ("renorm_stddev", renorm),
        ("pop_weight", weight),
    ]
    return [field for field, wanted in is_wanted if wanted]


def create_variables(
    fields,
    shape,
    dtype,
    trainable=True,
    initializers=None,
    regularizers=None,
    constraints=None,
    collections=None,
    names=None,
    get_variable=tf.get_variable,
):
    """Creates a layer's variables in the current variable scope, or finds them when it is reused.

    Args:
        fields: which variables, in the order they are made in, see `fields_of`.
        shape: of each variable but `pop_weight`, a scalar; see `parameter_shape`.
        dtype: of each variable, see `statistics_dtype`.
        trainable: whether `scale` and `beta` are.
        initializers, regularizers, constraints: dicts by field.
        collections: for all variables, the name of one or a list; or a dict of these by field.
            `pop_weight` goes to those of `pop_mean`.
        names: dict of the variables' names, by field, where they differ from it.
        get_variable: creates or finds a variable, with the keyword arguments of `tf.get_variable`.

    Returns:
        `Variables`.

    Raises:
        RuntimeError: there is no such variable yet, and none can be made in a function of TF2.
        TypeError: an initializer, regularizer or constraint is not a function.
        ValueError: collections are given for a field that there is not.
    """
    names = names or {}
    check_keys("initializers", initializers, ("scale", "beta", "pop_mean", "pop_var"))
    check_keys("regularizers", regularizers, ("scale", "beta"))
    _check_functions("initializer", initializers, names)
    _check_functions("regularizer", regularizers, names)
    _check_functions("constraint", constraints, names)
    if isinstance(collections, dict):
        fields_known = [field for field in Variables._fields if field != "pop_weight"]
        check_keys("variables_collections", collections, fields_known)
    initializers = _with_default_initializers(initializers or {})
    variables = dict.fromkeys(Variables._fields)
    for field in fields:
        options = {}
        extra = collections_of("pop_mean" if field == "pop_weight" else field, collections)
        if extra:
            options["collections"] = [tf.GraphKeys.GLOBAL_VARIABLES] + extra
        with _scope_for(field):
            variables[field] = _get_variable(
                get_variable,
                name=names.get(field, field),
                shape=[] if field == "pop_weight" else shape,
                dtype=dtype,
                initializer=initializers[field],
                regularizer=(regularizers or {}).get(field),
                constraint=(constraints or {}).get(field),
                trainable=trainable and field in ("scale", "beta"),
                **options,
            )
    return Variables(**variables)


def _check_functions(kind, functions, names):
    for field, function in sorted((functions or {}).items()):
        if function is not None and not callable(function):
            raise TypeError(
                "the %s of %s must be a function, not %r"
                % (kind, names.get(field, field), function)
            )


def _with_default_initializers(given):
    """Returns the initializers of all fields: those that are given, and TF1's for the others."""
    pop_mean = given.get("pop_mean", tf.zeros_initializer())
    pop_var = given.get("pop_var", tf.ones_initializer())
    if isinstance(pop_var, type):
        pop_var = pop_var()

    def square_root_of_pop_var(shape, dtype=None, partition_info=None):
        return tf.sqrt(pop_var(shape, dtype=dtype))

    defaults = {
        "scale": tf.ones_initializer(),
        "beta": tf.zeros_initializer(),
        "pop_mean": pop_mean,
        "pop_var": pop_var,
        "pop_stddev": square_root_of_pop_var,
        "renorm_mean": pop_mean,
        "renorm_stddev": square_root_of_pop_var,
        "pop_weight": tf.zeros_initializer(),
    }
    return dict(defaults, **given)


@contextlib.contextmanager
def _scope_for(field):
    """The current variable scope, with what a moving average needs."""
    if field in ("scale", "beta"):
        yield
        return
    # An inference layer of the same variables, which has no weight, may have come first.
    reuse = tf.AUTO_REUSE if field == "pop_weight" else None
    scope = tf.get_variable_scope()
    with tf.variable_scope(scope, reuse=reuse, auxiliary_name_scope=False) as scope:
        scope.set_partitioner(None)  # It is assigned to as a whole.
        yield


def _get_variable(get_variable, **options):
    try:
        return get_variable(**options)
    except (ValueError, AttributeError) as error:
        is_in_function = type(tf.get_default_graph()).__name__ == "FuncGraph"
        if not is_in_function or "Trying to share variable" in str(error):
            raise
        raise RuntimeError(
            "a batch norm of TF1 can't make its variables inside of a function, such as "
            "tf.function or a tf.data map: build the layer outside of it first, and with "
            "reuse=True inside (%s)" % str(error).splitlines()[0]
        ) from error


# What normalizing yields: the outputs; the mean and variance that go into the moving averages, of
# the shape of `pop_mean`; and the number of values behind them, a float scalar.
Normalized = collections.namedtuple("Normalized", "outputs mean var count")


def population_of(variables):
    """The averages of a layer that inference reads, by name."""
    return {"pop_mean": variables.pop_mean, "pop_var": variables.pop_var}


def _read(averages):
    """The values of variables, by name in the order of names."""
    return collections.OrderedDict(
        (name, variable.read_value()) for name, variable in sorted(averages.items())
    )


def _unchanged(average, population):
    return [population[name] for name in sorted(average.averages)]


def _assign(variable, value):
    return variable.assign(tf.cast(value, variable.dtype.base_dtype), read_value=False)


def _weight_of_data(weight, averages):
    """How much of the averages is data, a float64 scalar, before a batch is taken in."""
    if weight is None:
        return 1.0
    value = tf.cast(weight.read_value(), tf.float64)
    # Another worker may have taken in a batch since.
    are_given = tf.logical_and(_are_given(weight, averages), value <= 0.0)
    return tf.where(are_given, tf.ones_like(value), value)


def _are_given(weight, averages):
    """Whether the averages were set from outside, without the weight, and not learned.

    Such averages, from a checkpoint or from initializers, count as data. That is computed once in a
    step, outside of loops and branches, before any call of the layer updates them.
    """
    graph, name = weight.graph, weight.op.name + "/are_given"
    try:
        return graph.get_tensor_by_name(name + ":0")
    except KeyError:
        pass
    with graph.as_default(), tf.control_dependencies(None), tf.name_scope(None):
        is_initial_mean = tf.equal(averages["pop_mean"].read_value(), 0.0)
        is_initial_var = tf.equal(averages["pop_var"].read_value(), 1.0)
        are_initial = tf.reduce_all(tf.logical_and(is_initial_mean, is_initial_var))
        with tf.control_dependencies([are_initial]):
            has_data = weight.read_value() > 0.0
        return tf.logical_not(tf.logical_or(has_data, are_initial), name=name)


# Of a call, checked: the dimensions of the channels, counted from 0; the sizes of all dimensions,
# with 1 for the others; the dtype to compute in; and what `_checked_options` takes.
_Options = collections.namedtuple(
    "_Options",
    "axes sizes dtype epsilon is_fused unbiased batch_weights may_be_empty virtual_batch_size "
    "renorm_clipping renorm_decay adjustment moments has_closed_gradient",
)


def _checked_options(
    inputs,
    phase_train,
    variables,
    epsilon,
    axis,
    fused=None,
    unbiased=False,
    batch_weights=None,
    virtual_batch_size=None,
    renorm_clipping=None,
    renorm_decay=0.99,
    adjustment=None,
    moments=None,
):
    """Returns `_Options`.

    Args:
        fused, unbiased, batch_weights, virtual_batch_size, renorm_clipping, renorm_decay,
            adjustment: as of `batch_norm_wrapper`.
        moments: None, or a function that takes the place of `tf.nn.moments` where the fused kernel
            is not taken, such as one that averages over replicas: of the values, the dimensions to
            reduce, and whether to keep them, with the same results.
    """
    axes = positive_axes(axis, inputs.shape.ndims)
    dtype = variables.pop_mean.dtype.base_dtype
    _check_is_not_lost("epsilon", epsilon, dtype)
    check_keys("renorm_clipping", renorm_clipping, RENORM_CLIPPING)
    if virtual_batch_size is not None:
        _check_ghost_batches(virtual_batch_size, axes, batch_weights, adjustment)
        if is_training(phase_train):
            _check_divides(virtual_batch_size, inputs)
    is_fused = _takes_fused_kernel(
        fused,
        is_cheap=axes == [inputs.shape.ndims - 1],
        obstacles={
            "an epsilon that is a tensor": tf.is_tensor(epsilon),
            "%s inputs here" % inputs.dtype.name: not has_fused_kernel(inputs.dtype),
            "XLA": not has_fused_kernel(),
            "several axes": len(axes) > 1,
            "batch_weights": batch_weights is not None,
            "virtual_batch_size": virtual_batch_size is not None,
            "renorm": variables.renorm_mean is not None,
            "adjustment": adjustment is not None,
        },
    )
    return _Options(
        axes=axes,
        sizes=sizes_along(inputs.shape, axes),
        dtype=dtype,
        epsilon=epsilon,
        is_fused=is_fused,
        unbiased=unbiased,
        batch_weights=_one_weight_an_example(batch_weights, inputs),
        may_be_empty=batch_weights is not None or not inputs.shape.num_elements(),
        virtual_batch_size=virtual_batch_size,
        renorm_clipping=renorm_clipping,
        renorm_decay=renorm_decay,
        adjustment=adjustment,
        moments=moments,
        has_closed_gradient=batch_weights is None and adjustment is None and moments is None,
    )


def _outside_of_cond(inputs, phase_train, options):
    """Returns the inputs in a dtype that has a gradient in `tf.cond` before TensorFlow 2.3."""
    is_choice = tf.is_tensor(phase_train)
    return tf.cast(inputs, options.dtype) if is_choice and inputs.dtype == tf.bfloat16 else inputs


def _along_axes(parameter, options):
    """Gives a parameter, or None, the rank of the values, so that it meets them in their axes."""
    sizes = list(options.sizes)
    if options.virtual_batch_size is not None:
        sizes.insert(1, 1)
    return None if parameter is None else tf.reshape(parameter, sizes)


def _count(values, mean):
    """Returns how many values each element of `mean` is of, as a float scalar."""
    # Of an empty batch in ghost batches there are no means.
    return tf.cast(tf.size(values) // tf.maximum(tf.size(mean), 1), mean.dtype)


def _in_ghost_batches(values, options):
    """Splits the batch: example i goes to ghost batch i modulo their number, as in tf.layers."""
    sizes = tf.concat([[options.virtual_batch_size, -1], tf.shape(values)[1:]], axis=0)
    # TensorFlow names the op if the batch turns out not to be divisible.
    return tf.reshape(values, sizes, name="split_by_virtual_batch_size")


def _or_of_population(origin, mean, var, count, population, options):
    """Returns the mean and variance of a batch, or where no example counts the population's."""
    is_empty = count <= 0
    pop_mean, pop_var = [_along_axes(population[name], options) for name in ("pop_mean", "pop_var")]
    return tf.where_v2(is_empty, pop_mean - origin, mean), tf.where_v2(is_empty, pop_var, var)


def _given_moments(values, reduced, options):
    """`_batch_moments` by the function that is given."""
    keep_dims = options.virtual_batch_size is not None or len(options.axes) > 1
    mean, var = [
        moment if keep_dims else _along_axes(moment, options)
        for moment in options.moments(values, reduced, keep_dims)
    ]
    return values, 0.0, mean, var, _count(values, mean)


def _weighted_moments(values, reduced, batch_weights):
    """`_batch_moments` with a weight for each example.

    An example of weight 0 takes no part in it, however large its values are. Where all weights are
    0, so is the number of values, and the moments mean nothing.
    """
    found, expected = tf.shape(batch_weights), tf.shape(values)[:1]
    # Of different lengths, they can't be compared by TensorFlow.
    is_right = tf.equal(tf.size(found), 1) & tf.reduce_all(tf.equal(found[:1], expected))
    message = ["batch_weights must be one for each example, of the shape", expected, "not", found]
    with tf.control_dependencies([tf.Assert(is_right, message)]):
        weights = tf.cast(batch_weights, values.dtype)
        weights = tf.reshape(weights, [-1] + [1] * (values.shape.ndims - 1))
    is_left_out = tf.equal(weights, 0)
    of_batch = [0] if 0 in reduced else []
    total = tf.reduce_sum(weights, of_batch, keepdims=True)
    weights = tf.where_v2(total > 0, weights, tf.ones_like(weights))  # Not to divide by 0.

    counted = tf.where_v2(is_left_out, tf.zeros_like(values), values)
    origin, _ = tf.nn.weighted_moments(counted, reduced, weights, keepdims=True)
    origin = tf.stop_gradient(origin)
    centred = values - origin
    counted = tf.where_v2(is_left_out, tf.zeros_like(centred), centred)
    mean, var = tf.nn.weighted_moments(counted, reduced, weights, keepdims=True)
    values_an_example = tf.size(values) // tf.size(mean)
    if of_batch:
        values_an_example //= tf.maximum(tf.size(weights), 1)
    return centred, origin, mean, var, total * tf.cast(values_an_example, values.dtype)


def _seen_by_population(mean, var, count, options):
    """Returns the mean and variance that go into the moving averages: over ghosts, their mean."""
    if options.unbiased:
        var = var * _bessel(count)
    if options.virtual_batch_size is not None:
        mean = tf.reduce_mean(mean, axis=1, keepdims=True)
        var = tf.reduce_mean(var, axis=1, keepdims=True)
    return mean, var


def _bessel(count):
    """Returns m / (m - 1), which takes the bias from a variance of m values; 1 for one or none."""
    return tf.where_v2(count > 1, count / tf.maximum(count - 1, 1), tf.ones_like(count))


def _scale_and_beta(inputs, seen_mean, seen_var, variables, options):
    """Returns what the normalized values are multiplied by and what is added, or None and None.

    Those are the variables; before them comes renorm's correction, and before that `adjustment`.
    """
    scale, beta = [_along_axes(v, options) for v in (variables.scale, variables.beta)]
    if options.adjustment is not None:
        scale, beta = _compose(options.adjustment(tf.shape(inputs)), scale, beta)
    if variables.renorm_mean is not None:
        # Once the batch is known, as the averages are: what it waits for may have updated them.
        with tf.control_dependencies([tf.identity(seen_mean), tf.identity(seen_var)]):
            renorm_mean, renorm_stddev = [
                _along_axes(v.read_value(), options)
                for v in (variables.renorm_mean, variables.renorm_stddev)
            ]
        renorm_stddev = tf.maximum(renorm_stddev, options.epsilon**0.5)
        correction = _renorm_correction(
            tf.sqrt(seen_var + options.epsilon) / renorm_stddev,
            (seen_mean - renorm_mean) / renorm_stddev,
            options.renorm_clipping or {},
        )
        scale, beta = _compose(correction, scale, beta)
    return scale, beta


def _compose(first, then_scale, then_beta):
    """Returns the scale and offset of one affine function applied after another."""
    scale, beta = first
    if then_scale is not None:
        scale, beta = scale * then_scale, beta * then_scale
    return scale, beta if then_beta is None else beta + then_beta


def _renorm_correction(r, d, clipping):
    """Clips r and d of Batch Renormalization, which are constants to the gradient."""
    if "rmin" in clipping:
        r = tf.maximum(r, clipping["rmin"])
    if "rmax" in clipping:
        r = tf.minimum(r, clipping["rmax"])
    if "dmax" in clipping:
        d = tf.minimum(tf.maximum(d, -clipping["dmax"]), clipping["dmax"])
    return tf.stop_gradient(r), tf.stop_gradient(d)


def _update_renorm(outputs, normalized, variables, options):
    """Takes the batch into the averages that renorm corrects with."""
    averages = {"renorm_mean": variables.renorm_mean, "renorm_stddev": variables.renorm_stddev}
    # The outputs were corrected with these averages as they were before the batch.
    with tf.control_dependencies([outputs]):
        stddev = tf.sqrt(normalized.var + options.epsilon)
        statistics = {"renorm_mean": normalized.mean, "renorm_stddev": stddev}
        return MovingAverage(options.renorm_decay, averages).apply(statistics, normalized.count)


def _by_fused_kernel(inputs, _, variables, options):
    """Normalizes as `_by_moments` does, with TensorFlow's kernel."""
    outputs, mean, unbiased_var = _fused_batch_norm(inputs, variables, options)
    count = _count(inputs, mean)
    var = unbiased_var if options.unbiased else unbiased_var / _bessel(count)
    return Normalized(outputs, mean, var, count)


def _fused_batch_norm(inputs, variables, options, pop_mean=None, pop_var=None):
    """Returns outputs, mean and UNBIASED variance as TensorFlow's kernel computes them.

    With population statistics these normalize, and the returned statistics mean nothing.
    """
    (axis,) = options.axes
    rank, channels = inputs.shape.ndims, inputs.shape.as_list()[axis]
    others = [i for i in range(rank) if i != axis]
    # The kernel knows rank 4 with the channels last (and NCHW, but not on every processor).
    last = inputs if axis == rank - 1 else tf.transpose(inputs, others + [axis])
    images = last if rank == 4 else tf.reshape(last, [-1, 1, 1, channels])
    # Not `tf.nn.fused_batch_norm`, which silently raises an epsilon below 1.001e-5.
    kernel = tf.raw_ops.FusedBatchNormV3(
        x=images,
        scale=tf.ones([channels]) if variables.scale is None else variables.scale,
        offset=tf.zeros([channels]) if variables.beta is None else variables.beta,
        mean=tf.zeros([0]) if pop_mean is None else pop_mean,
        variance=tf.zeros([0]) if pop_var is None else pop_var,
        epsilon=options.epsilon,
        is_training=pop_mean is None,
    )
    outputs = kernel[0] if rank == 4 else tf.reshape(kernel[0], tf.shape(last))
    if axis != rank - 1:
        outputs = tf.transpose(
            outputs, [others.index(i) if i != axis else rank - 1 for i in range(rank)]
        )
    return outputs, kernel[1], kernel[2]


def has_fused_kernel(dtype=tf.float32):
    """Whether the kernel that is built here for inputs of this dtype is TensorFlow's fused one.

    XLA compiles another, whose variance is a difference of squares: far from zero it is below 0.
    """
    if _is_for_xla(tf.get_default_graph()):
        return False
    if dtype == tf.bfloat16:
        # Those before could with oneDNN only, and register it without.
        return tuple(map(int, tf.version.VERSION.split(".")[:2])) >= (2, 13)
    return dtype in (tf.float32, tf.float16)


def _is_for_xla(graph):
    """Whether what is built now is in `tf.xla.experimental.compile` or `jit_scope`."""
    while graph is not None:
        scope = graph._attr_scope_map.get("_XlaCompile")
        context = graph._get_control_flow_context()
        while context is not None and not context.IsXLAContext():
            context = context.outer_context
        if context is not None or callable(scope) or (scope is not None and scope.b):
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _takes_fused_kernel(fused, is_cheap, obstacles):
    """Decides `fused`: None takes the kernel where nothing is in its way and no copy is needed."""
    in_the_way = [name for name, is_there in obstacles.items() if is_there]
    if fused and in_the_way:
        raise ValueError("fused=True does not go with %s" % " and ".join(sorted(in_the_way)))
    return bool(fused) or (fused is None and is_cheap and not in_the_way)


def place_updates(outputs, updates, updates_collections=None):
    """Makes the updates part of the outputs, or puts them into collections; returns the outputs."""
    if updates_collections is not None:
        for update in updates:
            tf.add_to_collections(updates_collections, update)
        return outputs

    if not updates:
        return outputs
    return _with_gradient(_gradient_of_updated, _after(updates, outputs), updates)


def _after(updates, value):
    """Returns `value`, which cannot be had before the updates were made.

    Not by an Identity: Grappler bypasses it, and before TF 2.1 forgot what it waited for where an
    IdentityN came next. Nothing rewrites this op, and it copies nothing.
    """
    with tf.control_dependencies(updates):
        return tf.ensure_shape(value, value.shape)


def _choose(phase_train, training, inference, updated=None):
    """Adds the ops of one of two functions, or both and a `tf.cond`.

    `updated` is a variable that they assign to.
    """
    if not is_training(phase_train):
        return inference()
    if (
        updated is not None
        and not is_resource(updated)
        and updated.graph is not tf.get_default_graph()
    ):
        raise RuntimeError(
            "%s is a reference variable, as TF1's are by default, and can't be updated inside of a "
            "function, such as the body of a TF2 loop, of tf.recompute_grad or of a tf.data map: "
            "make the variables with tf.variable_scope(..., use_resource=True)" % updated.op.name
        )
    if phase_train is True:
        return training()
    if updated is None or is_resource(updated) or not tf.control_flow_v2_enabled():
        return tf.cond(phase_train, training, inference, strict=True)
    # Branches of TF2's kind are functions, in which a reference variable can't be assigned to.
    tf.disable_control_flow_v2()
    try:
        return tf.cond(phase_train, training, inference, strict=True)
    finally:
        tf.enable_control_flow_v2()


def is_resource(variable):
    """Whether this is not TF1's own kind of variable, a reference."""
    return variable.dtype == variable.dtype.base_dtype


def _with_closed_gradient(outputs, centred, mean, var, count, beta, scale, options):
    """Returns the outputs of `tf.nn.batch_normalization` with a gradient in closed form.

    It is that of the chain rule in section 3 of the paper, where `mean` and `var` are the moments
    of these very values. It passes over the batch about half as often as the derivatives of
    `tf.nn.moments`, op by op.
    """
    # To the full shape, which differs in ghost batches: the sum over them is left to TensorFlow.
    scale = tf.ones_like(mean) if scale is None else scale + tf.zeros_like(mean)
    beta = tf.zeros_like(mean) if beta is None else beta + tf.zeros_like(mean)
    inverse_stddev = tf.math.rsqrt(var + options.epsilon)
    others = [centred, mean, inverse_stddev, count, beta, scale]
    return _with_gradient(_gradient_of_normalized, outputs, others)


def _with_gradient(gradient, outputs, others):
    """Returns `outputs`, which were made from `others`, with a gradient of their own.

    `tf.custom_gradient` would number it, and it would read tensors of the graph that the layer was
    built in. This one has a name, and reads the inputs of its op: so it is right in copies of the
    graph too, such as `tf.train.import_meta_graph` makes, and in the graphs that loops and branches
    are in TF2.

    Args:
        gradient: one of the functions below.
        outputs: tensor.
        others: list of tensors; with `outputs` they are the inputs of the op.
    """
    with tf.get_default_graph().gradient_override_map({"IdentityN": _registered_name(gradient)}):
        return tf.identity_n([outputs] + others)[0]


def _registered_name(gradient):
    # The name is in graphs that were saved. So it can't be that of the module, which a copy of this
    # file in a package has another of.
    return "bn_wrapper.%s" % gradient.__name__


def _registered(gradient):
    """Makes a function of an op and of its outputs' gradients known to TensorFlow."""
    # The second name is in graphs that earlier versions saved from a package.
    for name in sorted({_registered_name(gradient), "%s.%s" % (__name__, gradient.__name__)}):
        try:
            tf.RegisterGradient(name)(gradient)
        except KeyError:
            pass  # This file was loaded before: TensorFlow knows the function, and can't forget it.
    return gradient


@_registered
def _gradient_of_updated(op, gradient, *_):
    """A step that asks for gradients alone may never compute the outputs, but has to update."""
    # What the gradient waits for must be in its own graph, which is another one in a TF2 loop.
    updates = [tf.identity(update) for update in op.inputs[1:]]
    return [_after(updates, gradient)] + [None] * len(updates)


@_registered
def _gradient_of_normalized(op, gradient, *_):
    _, values, mean, inverse_stddev, count, _, scale = op.inputs
    reduced = [i for i, size in enumerate(mean.shape.as_list()) if size == 1]
    beta_gradient = tf.reduce_sum(gradient, reduced, keepdims=True)
    products = tf.reduce_sum(gradient * values, reduced, keepdims=True)
    scale_gradient = inverse_stddev * (products - mean * beta_gradient)
    # scale / stddev * (gradient - its mean - normalized * mean of gradient * normalized)
    factor = scale * inverse_stddev
    slope = -factor * scale_gradient * inverse_stddev / count
    offset = -factor * beta_gradient / count - slope * mean
    values_gradient = factor * gradient + (slope * values + offset)
    # What `values` do by way of `mean` and the deviation is in the gradient of the formula already.
    return [None, values_gradient, None, None, None, beta_gradient, scale_gradient]


# The collection of what `layers_of` tells, a text for each call of a layer: TensorFlow exports
# these, and where it imports them into a scope, puts the scope's name before them.
_LAYERS = "batch_norm_layers"


def record_layer(inputs, outputs, variables, axis, epsilon):
    """Notes in the graph what `layers_of` tells of a call of a layer."""
    with tf.init_scope():
        is_outermost = not tf.executing_eagerly() and inputs.graph is tf.get_default_graph()
    if not is_outermost or inputs.graph._get_control_flow_context() is not None:
        return  # In a loop, a branch or a function, whose tensors can't be had outside of it.
    layer = {
        "inputs": inputs.name,
        "outputs": outputs.name,
        "variables": {
            field: variable.name
            for field, variable in variables._asdict().items()
            if variable is not None
        },
        "axis": positive_axes(axis, inputs.shape.ndims),
        "epsilon": None if tf.is_tensor(epsilon) else float(epsilon),
    }
    tf.add_to_collection(_LAYERS, json.dumps(layer, sort_keys=True))


def layers_of(graph):
    """Returns a list of `Layer`, one for each call of a batch norm, in the order they were built.

    Also those of a graph that was imported, by `tf.train.import_meta_graph`; but not those inside
    of loops, branches and functions, and not those of a part that was exported with `export_scope`.
    Of a `Layer`, `variables` has the variables that this call uses, and always `pop_weight` where
    the layer has one; variables that are partitioned are None.
    """
    variables = {v.name: v for v in graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)}
    layers = []
    for text in graph.get_collection(_LAYERS):
        scope, _, layer = tf.compat.as_str(text).partition("{")
        layer = json.loads("{" + layer)
        names = layer["variables"]
        # An inference call does not use it.
        names.setdefault("pop_weight", names["pop_mean"].rpartition("/")[0] + "/pop_weight:0")
        fields = dict.fromkeys(Variables._fields)
        fields.update({field: variables.get(scope + name) for field, name in names.items()})
        try:
            inputs, outputs = [
                graph.get_tensor_by_name(scope + layer[name]) for name in ("inputs", "outputs")
            ]
        except KeyError:
            continue  # It was not imported with what it is of.
        layers.append(Layer(inputs, outputs, Variables(**fields), layer["axis"], layer["epsilon"]))
    return layers


def population_moments(layers):
    """Adds the ops that `population_statistics` runs to the graph of the layers; returns them."""
    moments = []
    for layer in map(_as_layer, layers):
        inputs = layer.inputs
        others = [i for i in range(inputs.shape.ndims) if i not in layer.axis]
        with inputs.graph.as_default():
            mean_and_var = tf.nn.moments(tf.cast(inputs, tf.float64), others)
            moments.append((mean_and_var, tf.size(inputs) // tf.size(mean_and_var[0])))
    return moments


def _as_layer(layer):
    """Returns a `Layer`, of one or of a tuple (inputs, pop_mean, pop_var)."""
    if isinstance(layer, Layer):
        return layer
    inputs, pop_mean, pop_var = layer
    for known in layers_of(inputs.graph):
        if known.inputs is inputs and known.variables.pop_mean is pop_mean:
            return known
    channels = inputs.shape[-1:]
    if not pop_mean.shape.is_compatible_with(channels):
        raise ValueError(
            "the channels of %s are not known: layers_of(graph) does not have it, and its last "
            "dimension is %s, but there are statistics of %s" % (inputs, channels, pop_mean.shape)
        )
    fields = dict(dict.fromkeys(Variables._fields), pop_mean=pop_mean, pop_var=pop_var)
    return Layer(inputs, None, Variables(**fields), [inputs.shape.ndims - 1], None)


def population_statistics(session, layers, feeds, moments=None):
    """Computes the exact statistics of a whole data set for fixed weights.

    An alternative to the moving averages (the paper's Algorithm 2): afterwards `pop_mean` is the
    mean and `pop_var` the unbiased variance of what reaches the layer in inference over the data
    set, whatever the decay was, and whatever the weights were when the average was taken. If
    training goes on, it moves them by `1 - decay`, as data that counts in full.

    Layers are done one after the other, since what reaches one depends on the statistics of
    those before it: one pass through the data for each layer.

    Args:
        session: of an inference graph (`phase_train` None, or false in the feeds). A
            `tf.train.MonitoredSession` runs no hooks for it.
        layers: list of `Layer`, such as `layers_of(graph)`, in the order in which the data passes
            them; or of tuples (inputs of the layer, `pop_mean`, `pop_var`).
        feeds: function that returns an iterable of feed dicts, which together are the data set.
            Those without a value, such as an empty batch, add nothing.
        moments: what `population_moments(layers)` returned. To call this again and again, make
            them once; by default they are added to the graph at each call. They must be made
            before a `MonitoredSession` is, which allows no more ops.

    Raises:
        RuntimeError: `moments` are missing, and the graph takes no more ops.
        ValueError: a layer gets fewer than two values a channel; the dimension of its channels is
            not known.
    """
    layers = [_as_layer(layer) for layer in layers]
    if hasattr(session, "raw_session"):
        session = session.raw_session()
    if moments is None:
        if session.graph.finalized:
            raise RuntimeError(
                "the graph is finalized: call population_moments(layers) before the session is "
                "made, and pass the result as moments"
            )
        moments = population_moments(layers)
    with session.graph.as_default():
        for layer, of_layer in zip(layers, moments):
            count, mean, squares = 0, 0.0, 0.0
            for feed in feeds():
                (batch_mean, batch_var), batch_count = session.run(of_layer, feed)
                batch_count = int(batch_count)  # The sum may be too large for an int32.
                if not batch_count:
                    continue
                # Chan et al. (1979): merges sums of squared deviations without cancellation.
                delta, total = batch_mean - mean, count + batch_count
                mean = mean + delta * batch_count / total
                squares = squares + batch_count * (batch_var + delta**2 * count / total)
                count = total
            if count < 2:
                raise ValueError("a variance needs two values a channel or more, found %d" % count)
            _load_population(layer, mean, squares / (count - 1), session)


def _load_population(layer, mean, var, session):
    """Gives a layer statistics that count as data."""
    variables = layer.variables
    values = {"pop_mean": mean, "pop_var": var, "pop_weight": 1.0}
    if variables.pop_stddev is not None and layer.epsilon is not None:
        values["pop_stddev"] = (var + layer.epsilon) ** 0.5
    for field, value in sorted(values.items()):
        variable = getattr(variables, field)
        if variable is not None:
            dtype = variable.dtype.base_dtype.as_numpy_dtype
            shape = variable.shape.as_list()
            variable.load((value + dtype(0)).astype(dtype).reshape(shape), session)


def inference_graph_def(graph, phase_train, outputs):
    """Returns the GraphDef of a graph whose phase is a placeholder, without what only trains.

    Such a graph can't be frozen as it is, since the branch that updates `pop_mean` and `pop_var`
    would assign to constants. This one can, by `tf.graph_util.convert_variables_to_constants`.
    TensorFlow's graph optimizer takes out what is not reached where the phase is false.

    Args:
        graph: `tf.Graph`, which is left as it is.
        phase_train: the placeholder, which the result has no more.
        outputs: list of the tensors that the result is for.
    """
    from tensorflow.python.grappler import tf_optimizer

    names = [output.op.name for output in outputs]
    meta_graph = tf.MetaGraphDef()
    meta_graph.graph_def.CopyFrom(
        tf.graph_util.extract_sub_graph(graph.as_graph_def(add_shapes=True), names)
    )
    for node in meta_graph.graph_def.node:
        if node.name == phase_train.op.name:
            with tf.Graph().as_default():
                node.CopyFrom(tf.constant(False, name=node.name).op.node_def)
    meta_graph.collection_def["train_op"].node_list.value.extend(names)  # What is to be kept.
    config = tf.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.optimizers.extend(["pruning", "function", "loop", "constfold", "dependency"])
    rewrites.min_graph_nodes = -1
    rewrites.fail_on_optimizer_errors = True
    # The branches of TF2's kind are found only once the first pass has made them TF1's kind.
    for _ in range(2):
        meta_graph.graph_def.CopyFrom(tf_optimizer.OptimizeGraph(config, meta_graph))
    return meta_graph.graph_def


# What `fold_batch_norm` folds into, and which dimensions of the weights are the output channels.
_OUTPUT_CHANNELS = {
    "dense": [-1],
    "convolution": [-1],
    "separable_convolution": [-1],
    "transposed_convolution": [-2],
    "depthwise_convolution": [-2, -1],
}


def fold_batch_norm(
    weights, scale, beta, pop_mean, pop_var, epsilon, bias=None, layer="convolution"
):
    """Folds inference's batch norm into the linear layer before it.

    Population statistics are constants, so inference's batch norm is one affine function of each
    channel; and that after a linear layer is a linear layer with a bias.

    Args:
        weights: of the linear layer, with as many dimensions as it has.
        scale, beta: of the batch norm that follows, each [channels], or None.
        pop_mean, pop_var: likewise, but never None.
        epsilon: of that batch norm.
        bias: of the linear layer, [channels], or None.
        layer: what the linear layer is, which tells where in the weights the output channels are.
            "dense" and "convolution": the last dimension.
            "separable_convolution": that of the pointwise weights, the second part of the layer;
            the first, the depthwise weights, stay.
            "transposed_convolution": the last but one, as in `tf.nn.conv2d_transpose`.
            "depthwise_convolution": the last two together, as in `tf.nn.depthwise_conv2d`.

    All of them may be tensors, or all numpy arrays.

    Returns:
        Weights of the same shape, and a bias [channels]. With them the linear layer alone computes
        what the two layers did.

    Raises:
        ValueError: the kind of layer is unknown, or does not have as many channels as the batch
            norm.
    """
    if layer not in _OUTPUT_CHANNELS:
        raise ValueError(
            "layer must be one of %s, not %r" % (", ".join(sorted(_OUTPUT_CHANNELS)), layer)
        )
    shape = tf.TensorShape(weights.shape).as_list()
    dimensions = [len(shape) + i for i in _OUTPUT_CHANNELS[layer]]
    sizes = [size if i in dimensions else 1 for i, size in enumerate(shape)]
    channels = 1
    for size in sizes:
        channels *= size
    if tf.TensorShape(pop_var.shape).as_list() != [channels]:
        raise ValueError(
            "the weights %s of a %s have %d output channels, but the batch norm after it has "
            "statistics of the shape %s" % (shape, layer, channels, pop_var.shape)
        )
    factor = (pop_var + epsilon) ** -0.5
    if scale is not None:
        factor = factor * scale
    offset = -pop_mean if bias is None else bias - pop_mean
    offset = offset * factor
    reshape = tf.reshape if tf.is_tensor(factor) else lambda array, to: array.reshape(to)
    return weights * reshape(factor, sizes), offset if beta is None else offset + beta


def parameter_shape(shape, axis):
    """Returns the shape of the variables, given that of the inputs: [channels], or its rank."""
    axes = positive_axes(axis, shape.ndims)
    if len(axes) == 1:
        return [shape.as_list()[axes[0]]]
    return sizes_along(shape, axes)


def sizes_along(shape, axis):
    """Returns the sizes of the dimensions of a shape, with 1 for those that are not in `axis`."""
    sizes = shape.as_list()
    axes = positive_axes(axis, len(sizes))
    return [size if i in axes else 1 for i, size in enumerate(sizes)]


def positive_axes(axis, rank):
    """Returns `axis`, an int or several, as a sorted list of dimensions counted from 0.

    Raises:
        ValueError: there is no such dimension, or one is named twice, or none.
    """
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    for one in axes:
        if not _is_int(one) or not -rank <= one < rank:
            raise ValueError("axis must be from %d to %d, not %r" % (-rank, rank - 1, one))
    positive = sorted(int(one) % rank for one in axes)
    if not positive or len(set(positive)) < len(positive):
        raise ValueError("axis must name one dimension or several different ones, not %r" % (axis,))
    return positive


def statistics_dtype(dtype):
    """Returns the dtype of the variables: float32 also for float16 and bfloat16 inputs."""
    return tf.float64 if dtype.base_dtype == tf.float64 else tf.float32


def check_inputs(inputs, axis):
    """Raises TypeError or ValueError where `inputs` can't be normalized in `axis`.

    Also RuntimeError where there is no graph to do it in.
    """
    if tf.executing_eagerly():
        raise RuntimeError(
            "a batch norm of TF1 needs a graph: call tf.disable_v2_behavior() first, or build "
            "inside `with tf.Graph().as_default()`"
        )
    if not inputs.dtype.is_floating:
        raise TypeError(
            "inputs must be floating-point, not %s: cast them first" % inputs.dtype.name
        )
    rank = inputs.shape.ndims
    if rank is None:
        raise ValueError(
            "inputs have an undefined rank, but it must be known when the graph is built: call "
            "set_shape on them"
        )
    if not 2 <= rank <= 5:
        raise ValueError(
            "inputs must have a rank from 2 to 5, but their shape is %s" % inputs.shape
        )
    for dimension in positive_axes(axis, rank):
        if inputs.shape.as_list()[dimension] is None:
            raise ValueError(
                "the size of dimension %d of inputs, the channels, must be known when the graph "
                "is built, but is undefined in the shape %s: call set_shape on inputs"
                % (dimension, inputs.shape)
            )


def check_phase(phase_train, name="phase_train"):
    """Returns `phase_train` as None, a bool or a tensor; raises where it is something else.

    True, False, 1 and 0 are taken as Python's or numpy's. `name` is what the caller calls it.
    Raises RuntimeError where a function of TF2 is being made, in which nothing can be trained.
    """
    if phase_train is None:
        return None
    if not tf.is_tensor(phase_train):
        if getattr(phase_train, "shape", ()) or phase_train not in (0, 1):
            raise TypeError(
                "%s must be None, True, False or a bool tensor, not %r" % (name, phase_train)
            )
        phase_train = bool(phase_train)
    if phase_train is not False:
        with tf.init_scope():
            if tf.executing_eagerly():
                raise RuntimeError(
                    "a batch norm of TF1 can't be trained by tf.function or wrap_function, which "
                    "have no session: build inside `with tf.Graph().as_default()`"
                )
    if not tf.is_tensor(phase_train):
        return phase_train
    phase_train = tf.convert_to_tensor(phase_train)
    if phase_train.dtype.base_dtype != tf.bool:
        raise TypeError("%s must be bool, but its dtype is %s" % (name, phase_train.dtype.name))
    if phase_train.shape.ndims not in (0, None):
        raise ValueError("%s must be a scalar, but its shape is %s" % (name, phase_train.shape))
    return phase_train


def is_training(phase_train):
    """Whether a phase, as `check_phase` returns it, is or may turn out to be training."""
    return phase_train is not None and phase_train is not False


def check_number(name, value):
    """Raises TypeError where `value`, which the caller calls `name`, is not a number."""
    if not isinstance(value, numbers.Real):
        raise TypeError("%s must be a number, not %r" % (name, value))


def _check_positive(name, value, dtype):
    check_number(name, value)
    if not value > 0:
        raise ValueError("%s must be above 0, not %r" % (name, value))
    _check_is_not_lost(name, value, dtype)


def _check_is_not_lost(name, value, dtype):
    """Raises ValueError where a number above 0 is 0 in the `dtype` of the statistics."""
    if not tf.is_tensor(value) and value > 0 and dtype.as_numpy_dtype(value) == 0:
        raise ValueError("%s must not be 0 in %s, as %r is" % (name, dtype.name, value))


def collection_names(names):
    """Returns the name of one collection, a sequence of names, or None, as a list."""
    return [names] if isinstance(names, str) else list(names or [])


def collections_of(variable, given):
    """Returns the names of a variable's collections as a list.

    `given` are those of all variables, as `collection_names` takes them, or a dict by variable.
    """
    return collection_names(given.get(variable) if isinstance(given, dict) else given)


def check_keys(name, given, known):
    """Raises TypeError where `given`, which the caller calls `name`, is neither a dict nor None.

    Raises ValueError where a key of it is not one of `known`.
    """
    if given is not None and not isinstance(given, dict):
        raise TypeError("%s must be a dict of %s, not %r" % (name, ", ".join(known), given))
    unknown = sorted(set(given or ()) - set(known))
    if unknown:
        raise ValueError("%s knows %s, not %s" % (name, ", ".join(known), ", ".join(unknown)))


def _check_decays(**decays):
    for name, decay in sorted(decays.items()):
        check_number(name, decay)
        if not 0 <= decay < 1 or tf.float32.as_numpy_dtype(decay) == 1:
            raise ValueError("%s must be in [0, 1), in float32 as well, not %r" % (name, decay))


def _is_int(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _one_weight_an_example(batch_weights, inputs):
    """Returns `batch_weights` as a tensor [batch], or None; raises TypeError or ValueError."""
    if batch_weights is None:
        return None
    weights = tf.convert_to_tensor(batch_weights, name="batch_weights")
    if weights.dtype.base_dtype == tf.string:
        raise TypeError("batch_weights must be numbers, not %s" % weights.dtype.name)
    if not weights.shape.is_compatible_with(inputs.shape[:1]):
        raise ValueError(
            "batch_weights must have the shape %s, a weight for each example, not %s"
            % (inputs.shape[:1], weights.shape)
        )
    return weights


def _check_divides(virtual_batch_size, inputs):
    batch_size = inputs.shape.as_list()[0]
    if batch_size is not None and batch_size % virtual_batch_size:
        raise ValueError(
            "virtual_batch_size must divide the batch, but %d does not divide %d"
            % (virtual_batch_size, batch_size)
        )


def _check_ghost_batches(size, axes, batch_weights, adjustment):
    if not _is_int(size) or size < 1:
        raise ValueError("virtual_batch_size must be a positive integer, not %r" % (size,))
    if 0 in axes:
        raise ValueError("virtual_batch_size splits dimension 0, so axis can't have it")
    for name, other in (("batch_weights", batch_weights), ("adjustment", adjustment)):
        if other is not None:
            raise ValueError("virtual_batch_size does not go with %s" % name)
