"""Batch normalization for TF1-style graphs: the one implementation of this project.

It imports nothing but TensorFlow and runs unchanged on TF 1.15 (Python 3.7) and on current
TensorFlow through ``tf.compat.v1``, so you can copy this file into a TF1 code base. The names
that TF1 code calls batch norm by are in `bn_compat.py`, on top of this file.

    Ioffe & Szegedy (2015), Batch Normalization, https://arxiv.org/abs/1502.03167
    Ioffe (2017), Batch Renormalization, https://arxiv.org/abs/1702.03275
    Hoffer et al. (2017), Train longer, generalize better (ghost batches), arXiv 1705.08741
"""

import collections
import numbers

import tensorflow.compat.v1 as tf

RENORM_CLIPPING = ("rmin", "rmax", "dmax")

# The variables of a layer. `scale`, `beta` and those that only renorm needs may be None.
Variables = collections.namedtuple(
    "Variables", "scale beta pop_mean pop_var pop_stddev renorm_mean renorm_stddev"
)


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
    `pop_var` (not trainable), each a vector [channels]; in training also what the moving averages
    need to be zero-debiased (`pop_mean/biased` and the like), which inference never reads.
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
        zero_debias: start the averages at the first batch. False starts them at `pop_mean` 0
            and `pop_var` 1, as TF1's layers did, and takes hundreds of steps to forget that. Take
            it where towers share the layer and update it at the same time, which a debiased
            average, having several variables, can't take in one piece.
        unbiased: average the variance times m / (m - 1), m values a channel, as the paper's
            Algorithm 2 does. Matters for small batches of vectors, not for images.
        batch_weights: float tensor [batch], the weight of each example in the batch's
            statistics; 0 leaves an example out, such as padding.
        virtual_batch_size: normalize in ghost batches of this size, which must divide the batch.
        renorm: Batch Renormalization: normalize, in training too, with nearly the moving
            averages, so that small batches hurt less. Adds `pop_stddev`, `renorm_mean` and
            `renorm_stddev`.
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
        RuntimeError: TensorFlow executes eagerly, or compiles a `tf.function`.
        ValueError: another argument is outside what is described here; options are given that
            exclude each other.
    """
    inputs = tf.convert_to_tensor(inputs, name="inputs")
    check_inputs(inputs, axis)
    phase_train = check_phase(phase_train)
    check_keys("initializers", initializers, ("scale", "beta", "pop_mean", "pop_var"))
    check_keys("regularizers", regularizers, ("scale", "beta"))
    _check_decay("decay", decay)
    if renorm:
        _check_decay("renorm_decay", renorm_decay)
    check_number("epsilon", epsilon)
    if not epsilon > 0:
        raise ValueError("epsilon must be above 0, not %r" % (epsilon,))

    with tf.variable_scope(name, "batch_norm", [inputs], reuse=reuse):
        variables = create_variables(
            parameter_shape(inputs.shape, axis),
            statistics_dtype(inputs.dtype),
            center=center,
            scale=scale,
            renorm=renorm,
            trainable=trainable,
            initializers=initializers,
            regularizers=regularizers,
            collections=variables_collections,
        )
        outputs, updates = normalize(
            inputs,
            phase_train,
            variables,
            decay=decay,
            epsilon=epsilon,
            axis=axis,
            fused=fused,
            zero_debiased=("pop_mean", "pop_var") if zero_debias else (),
            unbiased=unbiased,
            batch_weights=batch_weights,
            virtual_batch_size=virtual_batch_size,
            renorm_clipping=renorm_clipping,
            renorm_decay=renorm_decay,
            adjustment=adjustment,
        )
        outputs = place_updates(outputs, updates, updates_collections)
        if outputs_collections:
            tf.add_to_collections(outputs_collections, outputs)
        return outputs


def create_variables(
    shape,
    dtype,
    center=True,
    scale=True,
    renorm=False,
    trainable=True,
    initializers=None,
    regularizers=None,
    constraints=None,
    collections=None,
    names=None,
    beta_first=False,
    get_variable=tf.get_variable,
):
    """Creates a layer's variables in the current variable scope, or finds them when it is reused.

    Args:
        shape: of each variable, see `parameter_shape`.
        dtype: of each variable, see `statistics_dtype`.
        center, scale, renorm, trainable: as of `batch_norm_wrapper`.
        initializers, regularizers, constraints: dicts by the fields of `Variables`.
        collections: for all variables, the name of one or a list; or a dict of these by field.
        names: dict of the variables' names, by field, where they differ from it.
        beta_first: whether `beta` is created before `scale`, and so comes first in collections.
        get_variable: creates or finds a variable, with the keyword arguments of `tf.get_variable`.

    Returns:
        `Variables`.

    Raises:
        TypeError: an initializer, regularizer or constraint is not a function.
        ValueError: collections are given for a field that there is not.
    """
    initializers = initializers or {}
    names = names or {}
    for kind, functions in (
        ("initializer", initializers),
        ("regularizer", regularizers),
        ("constraint", constraints),
    ):
        for field, function in sorted((functions or {}).items()):
            if function is not None and not callable(function):
                raise TypeError(
                    "the %s of %s must be a function, not %r"
                    % (kind, names.get(field, field), function)
                )
    if isinstance(collections, dict):
        check_keys("variables_collections", collections, Variables._fields)
    pop_var_initializer = initializers.get("pop_var", tf.ones_initializer())
    if isinstance(pop_var_initializer, type):
        pop_var_initializer = pop_var_initializer()

    def square_root_of_pop_var(shape, dtype=None, partition_info=None):
        return tf.sqrt(pop_var_initializer(shape, dtype=dtype))

    pop_mean_initializer = initializers.get("pop_mean", tf.zeros_initializer())
    defaults = {
        "scale": tf.ones_initializer(),
        "beta": tf.zeros_initializer(),
        "pop_stddev": square_root_of_pop_var,
        "renorm_mean": pop_mean_initializer,
        "renorm_stddev": square_root_of_pop_var,
        "pop_mean": pop_mean_initializer,
        "pop_var": pop_var_initializer,
    }

    def variable(field, is_trained=False):
        options = {}
        extra = collections_of(field, collections)
        if extra:
            options["collections"] = [tf.GraphKeys.GLOBAL_VARIABLES] + extra
        return get_variable(
            name=names.get(field, field),
            shape=shape,
            dtype=dtype,
            initializer=initializers.get(field, defaults[field]),
            regularizer=(regularizers or {}).get(field),
            constraint=(constraints or {}).get(field),
            trainable=is_trained,
            **options,
        )

    wanted = [field for field, is_wanted in (("scale", scale), ("beta", center)) if is_wanted]
    trained = {
        field: variable(field, is_trained=trainable)
        for field in (reversed(wanted) if beta_first else wanted)
    }
    fields = ["pop_mean", "pop_var"]
    if renorm:
        fields += ["pop_stddev", "renorm_mean", "renorm_stddev"]
    # A moving average is assigned to as a whole, so it is not partitioned.
    with tf.variable_scope(tf.get_variable_scope(), auxiliary_name_scope=False) as scope:
        scope.set_partitioner(None)
        averaged = {field: variable(field) for field in fields}
    return Variables(**dict(dict.fromkeys(Variables._fields), **trained, **averaged))


def normalize(
    inputs,
    phase_train,
    variables,
    decay,
    epsilon,
    axis=-1,
    fused=None,
    zero_debiased=(),
    unbiased=False,
    batch_weights=None,
    virtual_batch_size=None,
    renorm_clipping=None,
    renorm_decay=0.99,
    adjustment=None,
    moments=None,
    debias_scope="",
):
    """Normalizes with given variables: what is the same under every name of batch norm.

    Args:
        inputs, phase_train and the others: as of `batch_norm_wrapper`.
        variables: `Variables`. With `pop_stddev`, renorm is meant.
        zero_debiased: which of the averages `pop_mean` and `pop_var` are zero-debiased.
        moments: None, or a function that takes the place of `tf.nn.moments` where the fused kernel
            is not taken, such as one that averages over replicas: of the values, the dimensions to
            reduce, and whether to keep them, with the same results.
        debias_scope: prefix of the names of the variables that this takes.

    Returns:
        The outputs, and a list of the two tensors that update `pop_mean` and `pop_var` and are
        their new values. In an inference graph the list is empty.
    """
    axes = positive_axes(axis, inputs.shape.ndims)
    dtype, given_dtype = variables.pop_mean.dtype.base_dtype, inputs.dtype
    if tf.is_tensor(phase_train) and inputs.dtype == tf.bfloat16:
        # Outside of `tf.cond`, which before TensorFlow 2.3 has no gradient for bfloat16.
        inputs = tf.cast(inputs, dtype)
    is_renorm = variables.pop_stddev is not None
    is_ghost = virtual_batch_size is not None
    check_keys("renorm_clipping", renorm_clipping, RENORM_CLIPPING)
    if is_ghost:
        _check_ghost_batches(virtual_batch_size, axes, batch_weights, adjustment)
        if phase_train is not None and phase_train is not False:
            _check_divides(virtual_batch_size, inputs)
    if batch_weights is not None:
        batch_weights = _one_weight_an_example(batch_weights, inputs)
    is_fused = _takes_fused_kernel(
        fused,
        is_cheap=axes == [inputs.shape.ndims - 1],
        obstacles={
            "%s inputs on this TensorFlow" % inputs.dtype.name: not has_fused_kernel(inputs.dtype),
            "several axes": len(axes) > 1,
            "batch_weights": batch_weights is not None,
            "virtual_batch_size": is_ghost,
            "renorm": is_renorm,
            "adjustment": adjustment is not None,
        },
    )

    def along_axes(parameter, in_ghost_batches=False):
        """Gives a parameter the rank of the values, so that it meets them in `axis`."""
        sizes = sizes_along(inputs.shape, axes)
        if in_ghost_batches:
            sizes.insert(1, 1)
        return None if parameter is None else tf.reshape(parameter, sizes)

    def with_fused_kernel():
        outputs, mean, unbiased_var = _fused_batch_norm(inputs, axes[0], variables, epsilon)
        count = tf.cast(tf.size(inputs) // tf.size(mean), dtype)
        return outputs, mean, unbiased_var if unbiased else unbiased_var / _bessel(count)

    def with_moments():
        values, kept = tf.cast(inputs, dtype), axes
        if is_ghost:
            # Example i goes to ghost batch i modulo their number, as in tf.layers.
            ghosts = tf.concat([[virtual_batch_size, -1], tf.shape(values)[1:]], axis=0)
            # TensorFlow names the op if the batch turns out not to be divisible.
            values = tf.reshape(values, ghosts, name="split_by_virtual_batch_size")
            kept = [1] + [i + 1 for i in axes]
        if moments is None:
            # Float32 sums of many values far from zero are off by more than the values' spread. So
            # the moments are those of the distances to a first estimate of the mean.
            origin = tf.stop_gradient(tf.reduce_mean(values, _all_but(kept, values), keepdims=True))
            distance, var, count = _moments(values - origin, kept, batch_weights)
            mean = origin + distance
        else:
            keep_dims = is_ghost or len(axes) > 1
            mean, var = [
                moment if keep_dims else along_axes(moment)
                for moment in moments(values, _all_but(kept, values), keep_dims)
            ]
            count = tf.cast(tf.size(values) // tf.size(mean), dtype)

        # What the population is told: of several ghost batches, the mean.
        seen_mean, seen_var = mean, var * _bessel(count) if unbiased else var
        if is_ghost:
            seen_mean = tf.reduce_mean(mean, axis=1, keepdims=True)
            seen_var = tf.reduce_mean(seen_var, axis=1, keepdims=True)

        scale, beta, renorm_mean, renorm_stddev = [
            along_axes(parameter, in_ghost_batches=is_ghost)
            for parameter in (
                variables.scale,
                variables.beta,
                variables.renorm_mean,
                variables.renorm_stddev,
            )
        ]
        if adjustment is not None:
            scale, beta = _compose(adjustment(tf.shape(inputs)), scale, beta)
        if is_renorm:
            stddev = tf.sqrt(seen_var + epsilon)
            renorm_stddev = tf.maximum(renorm_stddev, epsilon**0.5)
            correction = _renorm_correction(
                stddev / renorm_stddev,
                (seen_mean - renorm_mean) / renorm_stddev,
                renorm_clipping or {},
            )
            scale, beta = _compose(correction, scale, beta)
        if batch_weights is None and adjustment is None and moments is None:
            outputs = _normalize_with_own_moments(values, mean, var, count, beta, scale, epsilon)
        else:
            outputs = tf.nn.batch_normalization(values, mean, var, beta, scale, epsilon)
        shape = variables.pop_mean.shape
        return (
            tf.cast(tf.reshape(outputs, tf.shape(inputs)), inputs.dtype),
            tf.reshape(seen_mean, shape),
            tf.reshape(seen_var, shape),
        )

    def with_population():
        mean, var = tf.identity(variables.pop_mean), tf.identity(variables.pop_var)
        if is_fused:
            outputs, _, _ = _fused_batch_norm(inputs, axes[0], variables, epsilon, mean, var)
            return outputs, mean, var
        outputs = tf.nn.batch_normalization(
            tf.cast(inputs, dtype),
            *[along_axes(p) for p in (mean, var, variables.beta, variables.scale)],
            variance_epsilon=epsilon,
        )
        return tf.cast(outputs, inputs.dtype), mean, var

    outputs, mean, var = _choose(
        phase_train, with_fused_kernel if is_fused else with_moments, with_population
    )
    outputs = tf.cast(outputs, given_dtype)
    outputs.set_shape(inputs.shape)
    if phase_train is None or phase_train is False:
        return outputs, []

    def update(population, batch, rate, is_debiased=False):
        return _update_average(population, batch, rate, is_debiased, debias_scope)

    def update_renorm():
        # The outputs were corrected with the averages as they were before this batch.
        with tf.control_dependencies([outputs]):
            stddev = tf.sqrt(var + epsilon)
            return [
                update(variables.renorm_mean, mean, renorm_decay),
                update(variables.renorm_stddev, stddev, renorm_decay),
            ]

    def update_mean():
        with tf.control_dependencies(update_renorm() if is_renorm else []):
            return update(variables.pop_mean, mean, decay, "pop_mean" in zero_debiased)

    def update_var():
        is_debiased = "pop_var" in zero_debiased
        if not is_renorm:
            return update(variables.pop_var, var, decay, is_debiased)
        stddev = update(variables.pop_stddev, tf.sqrt(var + epsilon), decay, is_debiased)
        # Rounding may take a variance of 0 below 0.
        assigned = variables.pop_var.assign(tf.nn.relu(tf.square(stddev) - epsilon))
        with tf.control_dependencies([assigned]):
            return variables.pop_var.read_value()

    return outputs, [
        _choose(phase_train, update_mean, variables.pop_mean.read_value, variables.pop_mean),
        _choose(phase_train, update_var, variables.pop_var.read_value, variables.pop_var),
    ]


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


def population_moments(layers):
    """Adds the ops that `population_statistics` runs to the graph of the layers; returns them."""
    moments = []
    for inputs, _, _ in layers:
        all_but_channels = list(range(inputs.shape.ndims - 1))
        with inputs.graph.as_default():
            mean_and_var = tf.nn.moments(tf.cast(inputs, tf.float64), all_but_channels)
            moments.append((mean_and_var, tf.size(inputs) // inputs.shape.as_list()[-1]))
    return moments


def population_statistics(session, layers, feeds, moments=None):
    """Computes the exact statistics of a whole data set for fixed weights.

    An alternative to the moving averages (the paper's Algorithm 2): afterwards `pop_mean` is the
    mean and `pop_var` the unbiased variance of what reaches the layer in inference over the data
    set, whatever the decay was, and whatever the weights were when the average was taken.

    Layers are done one after the other, since what reaches one depends on the statistics of
    those before it: one pass through the data for each layer.

    Args:
        session: of an inference graph (`phase_train` None, or false in the feeds).
        layers: list of (inputs of the layer, `pop_mean`, `pop_var`), in the order in which the
            data passes them; channels are the last dimension of the inputs.
        feeds: function that returns an iterable of feed dicts, which together are the data set.
        moments: what `population_moments(layers)` returned. To call this again and again, make
            them once; by default they are added to the graph at each call.

    Raises:
        ValueError: a layer gets fewer than two values a channel.
    """
    if moments is None:
        moments = population_moments(layers)
    with session.graph.as_default():
        for (_, pop_mean, pop_var), of_layer in zip(layers, moments):
            count, mean, squares = 0, 0.0, 0.0
            for feed in feeds():
                (batch_mean, batch_var), batch_count = session.run(of_layer, feed)
                # Chan et al. (1979): merges sums of squared deviations without cancellation.
                delta, total = batch_mean - mean, count + batch_count
                mean = mean + delta * batch_count / total
                squares = squares + batch_count * (batch_var + delta**2 * count / total)
                count = total
            if count < 2:
                raise ValueError("a variance needs two values a channel or more, found %d" % count)
            pop_mean.load(mean, session)
            pop_var.load(squares / (count - 1), session)


def fold_batch_norm(weights, scale, beta, pop_mean, pop_var, epsilon):
    """Folds inference's batch norm into the layer before it, a product or a convolution.

    Population statistics are constants, so inference's batch norm is one affine function of each
    channel; and that after a linear layer is a linear layer with a bias.

    Args:
        weights: of the linear layer, which has no bias; output channels are the last dimension.
        scale, beta, pop_mean, pop_var: of the batch norm that follows, each [channels].
        epsilon: of that batch norm.

    All of them may be tensors, or all numpy arrays.

    Returns:
        Weights of the same shape, and a bias [channels]. With them the linear layer alone computes
        what the two layers did.
    """
    factor = scale * (pop_var + epsilon) ** -0.5
    return weights * factor, beta - pop_mean * factor


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
    """
    if phase_train is None:
        return None
    if not tf.is_tensor(phase_train):
        if getattr(phase_train, "shape", ()) or phase_train not in (0, 1):
            raise TypeError(
                "%s must be None, True, False or a bool tensor, not %r" % (name, phase_train)
            )
        return bool(phase_train)
    phase_train = tf.convert_to_tensor(phase_train)
    if phase_train.dtype.base_dtype != tf.bool:
        raise TypeError("%s must be bool, but its dtype is %s" % (name, phase_train.dtype.name))
    if phase_train.shape.ndims not in (0, None):
        raise ValueError("%s must be a scalar, but its shape is %s" % (name, phase_train.shape))
    return phase_train


def check_number(name, value):
    """Raises TypeError where `value`, which the caller calls `name`, is not a number."""
    if not isinstance(value, numbers.Real):
        raise TypeError("%s must be a number, not %r" % (name, value))


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


def _choose(phase_train, training, inference, updated=None):
    """Adds the ops of one of two functions, or both and a `tf.cond`.

    `updated` is a variable that they assign to.
    """
    if phase_train is None or phase_train is False:
        return inference()
    if phase_train is True:
        return training()
    if not _is_reference(updated) or not tf.control_flow_v2_enabled():
        return tf.cond(phase_train, training, inference)
    # Branches of TF2's kind are functions, in which a reference variable can't be assigned to.
    tf.disable_control_flow_v2()
    try:
        return tf.cond(phase_train, training, inference)
    finally:
        tf.enable_control_flow_v2()


def _is_reference(variable):
    """Whether this is TF1's own kind of variable, and not a resource."""
    return variable is not None and variable.dtype != variable.dtype.base_dtype


def _moments(values, kept, batch_weights):
    """Returns mean, variance (biased) and number of values behind each, over all but `kept`."""
    reduced = _all_but(kept, values)
    if batch_weights is None:
        mean, var = tf.nn.moments(values, reduced, keepdims=True)
        return mean, var, tf.cast(tf.size(values) // tf.size(mean), values.dtype)
    each = [-1] + [1] * (values.shape.ndims - 1)
    weights = tf.reshape(tf.cast(batch_weights, values.dtype), each)
    mean, var = tf.nn.weighted_moments(values, reduced, weights, keepdims=True)
    values_an_example = tf.size(values) // tf.size(mean) // tf.size(weights)
    return mean, var, tf.reduce_sum(weights) * tf.cast(values_an_example, values.dtype)


def _all_but(kept, values):
    return [i for i in range(values.shape.ndims) if i not in kept]


def _normalize_with_own_moments(values, mean, var, count, beta, scale, epsilon):
    """`tf.nn.batch_normalization` where `mean` and `var` are the moments of these very values.

    The gradient is the closed form of the chain rule in section 3 of the paper, which passes over
    the batch about half as often as the derivatives of `tf.nn.moments`, op by op.

    Args:
        values: float32 or float64 tensor.
        mean, var: of the rank of `values`, with size 1 in the dimensions they were taken over.
        count: how many values each of them was taken over, a float scalar.
        beta, scale: None, or broadcastable to the shape of `mean`.
    """
    # To the full shape, which differs in ghost batches: the sum over them is left to TensorFlow.
    scale = tf.ones_like(mean) if scale is None else scale + tf.zeros_like(mean)
    beta = tf.zeros_like(mean) if beta is None else beta + tf.zeros_like(mean)
    outputs = tf.nn.batch_normalization(values, mean, var, beta, scale, epsilon)
    inverse_stddev = tf.math.rsqrt(var + epsilon)
    others = [values, mean, inverse_stddev, count, beta, scale]
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
    return "%s.%s" % (__name__, gradient.__name__)


def _registered(gradient):
    """Makes a function of an op and of its outputs' gradients known to TensorFlow."""
    try:
        tf.RegisterGradient(_registered_name(gradient))(gradient)
    except KeyError:
        pass  # This file is being reloaded: TensorFlow knows the function, and can't forget it.
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
    # Far from zero the difference loses digits, and rounds as the originals did.
    scale_gradient = inverse_stddev * (products - mean * beta_gradient)
    # scale / stddev * (gradient - its mean - normalized * mean of gradient * normalized)
    factor = scale * inverse_stddev
    slope = -factor * scale_gradient * inverse_stddev / count
    offset = -factor * beta_gradient / count - slope * mean
    values_gradient = factor * gradient + (slope * values + offset)
    # What `values` do by way of `mean` and the deviation is in the gradient of the formula already.
    return [None, values_gradient, None, None, None, beta_gradient, scale_gradient]


def _bessel(count):
    """Returns m / (m - 1), which takes the bias from a variance of m values; 1 for one value."""
    return count / tf.maximum(count - 1, tf.minimum(count, 1))


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


def _fused_batch_norm(inputs, axis, variables, epsilon, pop_mean=None, pop_var=None):
    """Returns outputs, mean and UNBIASED variance as TensorFlow's kernel computes them.

    With population statistics these normalize, and the returned statistics mean nothing.
    """
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
        epsilon=epsilon,
        is_training=pop_mean is None,
    )
    outputs = kernel[0] if rank == 4 else tf.reshape(kernel[0], tf.shape(last))
    if axis != rank - 1:
        outputs = tf.transpose(
            outputs, [others.index(i) if i != axis else rank - 1 for i in range(rank)]
        )
    return outputs, kernel[1], kernel[2]


def _update_average(population, batch, decay, is_debiased, debias_scope):
    """Takes one batch's statistic into its moving average, `population`; returns the new average.

    Zero-debiased (Kingma & Ba 2015, section 3), it is right from the first step: after that step
    it is the batch's statistic, not a hundredth of it.
    """
    with tf.init_scope():
        is_function = tf.executing_eagerly()
    if is_function:
        raise RuntimeError(
            "tf.train.ExponentialMovingAverage can't train a batch norm inside tf.function or "
            "wrap_function: build inside `with tf.Graph().as_default()`"
        )
    if not tf.is_tensor(decay):
        decay = float(decay)  # Before TensorFlow 2.5 it could not be an integer.
    average = tf.train.ExponentialMovingAverage(decay, zero_debias=is_debiased)

    def keep_in_population(getter, name, *args, **kwargs):
        # The average asks for a variable called after the tensor that it averages. It is given
        # `population`: so there is no copy of the average that could be behind, and the names of
        # the variables are the same whether or not a `tf.cond` surrounds them.
        if name.rstrip("/").endswith(average.name):
            return population
        return getter(name, *args, **kwargs)

    scope = tf.VariableScope(
        name=debias_scope,
        reuse=tf.AUTO_REUSE,
        custom_getter=keep_in_population,
        # As the others of the layer are.
        use_resource=not _is_reference(population),
    )
    with tf.variable_scope(scope, auxiliary_name_scope=False):
        # Not before the batch is known: what the batch waits for may update the average, too.
        with tf.control_dependencies([batch]):
            updated = average.apply([batch])
    with tf.control_dependencies([updated]):
        return population.read_value()


def has_fused_kernel(dtype):
    """Whether TensorFlow can compute the fused kernel for inputs of this dtype."""
    if dtype == tf.bfloat16:
        # Those before could with oneDNN only, and register it without.
        return tuple(map(int, tf.version.VERSION.split(".")[:2])) >= (2, 13)
    return dtype in (tf.float32, tf.float16)


def _takes_fused_kernel(fused, is_cheap, obstacles):
    """Decides `fused`: None takes the kernel where nothing is in its way and no copy is needed."""
    in_the_way = [name for name, is_there in obstacles.items() if is_there]
    if fused and in_the_way:
        raise ValueError("fused=True does not go with %s" % " and ".join(sorted(in_the_way)))
    return bool(fused) or (fused is None and is_cheap and not in_the_way)


def _check_decay(name, decay):
    check_number(name, decay)
    if not 0 <= decay < 1 or tf.float32.as_numpy_dtype(decay) == 1:
        raise ValueError("%s must be in [0, 1), in float32 as well, not %r" % (name, decay))


def _is_int(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _one_weight_an_example(batch_weights, inputs):
    """Returns `batch_weights` as a tensor [batch]; raises TypeError or ValueError."""
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
