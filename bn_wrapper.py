"""Batch normalization for TF1-style graphs: this project's only implementation.

Depends only on TensorFlow and runs unchanged on TF 1.15 (Python 3.7) and on current TensorFlow
through ``tf.compat.v1``, so you can copy this file into a TF1 code base. Copy beside it what you
need besides: `bn_tools.py` for after training (exact statistics, folding, freezing), `bn_compat.py`
for TF1's own batch-norm functions and layers; `bn_revive.py` and `bn_launcher.py` bring up old
programs, edited or not.

It reads from the top: the layer, its statistics and the formula, the average; then the options,
the kernel, the gradient, the variables, and the checks.

    Ioffe & Szegedy (2015), Batch Normalization, https://arxiv.org/abs/1502.03167
    Ioffe (2017), Batch Renormalization, https://arxiv.org/abs/1702.03275
    Hoffer et al. (2017), Train longer, generalize better (ghost batches), arXiv 1705.08741
"""

from __future__ import annotations

import collections
import contextlib
import functools
import json
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import tensorflow.compat.v1 as tf

__version__ = "1.0.0"

# What to call. The other names without an underscore are for the files that are copied beside this
# one, and may change with it.
__all__ = ["MovingAverage", "Variables", "batch_norm_wrapper"]

if TYPE_CHECKING:
    # A name, several, or a dict of these by variable.
    Collections = Union[str, Sequence[str], dict[str, Union[str, Sequence[str]]], None]

RENORM_CLIPPING = ("rmin", "rmax", "dmax")

# The collection in which a graph records its layers, see `record_layer`.
LAYERS = "batch_norm_layers"


class Variables(NamedTuple):
    """A layer's variables; those that it does without are None.

    Each has one value per channel, in the shape [channels] or, for several channel dimensions, in
    the rank of the inputs.
    """

    scale: tf.Variable | None
    beta: tf.Variable | None
    pop_mean: tf.Variable
    pop_var: tf.Variable
    pop_weight: tf.Variable | None  # scalar: how much of `pop_mean` and `pop_var` is data
    pop_stddev: tf.Variable | None  # only layers of `bn_compat.py` have it
    renorm_mean: tf.Variable | None
    renorm_stddev: tf.Variable | None


# ---- The layer ----


def batch_norm_wrapper(
    inputs: tf.Tensor,
    phase_train: bool | tf.Tensor | None = None,
    decay: float = 0.99,
    *,
    epsilon: float = 1e-5,
    axis: int | Sequence[int] = -1,
    center: bool = True,
    scale: bool = True,
    initializers: dict[str, Callable] | None = None,
    regularizers: dict[str, Callable] | None = None,
    trainable: bool = True,
    fused: bool | None = None,
    updates_collections: str | Sequence[str] | None = None,
    zero_debias: bool = True,
    unbiased: bool = False,
    batch_weights: tf.Tensor | None = None,
    virtual_batch_size: int | None = None,
    renorm: bool = False,
    renorm_clipping: dict[str, float | tf.Tensor] | None = None,
    renorm_decay: float = 0.99,
    adjustment: Callable | None = None,
    cross_replica: Callable | None = None,
    variables_collections: Collections = None,
    outputs_collections: str | Sequence[str] | None = None,
    name: str | None = None,
    reuse: bool | None = None,
) -> tf.Tensor:
    """Normalizes each channel of `inputs` to mean `beta` and standard deviation `scale`.

    Training uses the mean and variance of the batch (Algorithm 1 of the paper) and keeps a moving
    average of them in `pop_mean` and `pop_var`. Inference uses these population statistics
    instead, so that an example's output does not depend on the rest of its batch (Algorithm 2).

    Computing the layer's output in training also updates `pop_mean` and `pop_var`: there is no
    `UPDATE_OPS` collection to remember. After every training step the averages include that step,
    so a checkpoint saved after any step is complete.

    Creates, in the layer's own variable scope, `scale` and `beta` (trainable) and `pop_mean` and
    `pop_var` (non-trainable), each of shape [channels]. A graph that can train, but not an
    inference graph, also has the scalar `pop_weight`, which tracks how much of the averages is
    data (unless `zero_debias` is False). Variables are float32, or float64 for float64 inputs.

    A training batch needs several values a channel: a single one is its own mean, so that the
    output would be `beta` for any input.

    Args:
        inputs: float tensor of rank 2 to 5, such as [batch, channels] or
            [batch, height, width, channels]. Statistics of float16 and bfloat16 are float32.
        phase_train: whether the graph trains.
            None: an inference graph. Uses only population statistics, never those of a batch.
            True or False (1 or 0): training or inference, fixed when the graph is built.
            A bool scalar tensor or placeholder: one graph for both, decided at every run. Only
            the selected branch is computed; when false, nothing is updated.
        decay: weight of the OLD value in the moving average, in [0, 1). Values near 1 average
            over more batches (about 1 / (1 - decay)) but lag further behind changing weights.
        epsilon: added to the variance before the square root, > 0, so that a constant channel
            is not divided by zero.
        axis: the channel dimension (-1 for NHWC, 1 for NCHW), or several. With (1, 3), each
            pair of positions along those dimensions has its own statistics, and the variables
            have the rank of the inputs. The sizes must be known when the graph is built.
        center: if False, there is no `beta`; use this when a bias follows.
        scale: if False, there is no `scale`; use this when a linear layer or ReLU follows.
        initializers: dict of initializers for `scale`, `beta`, `pop_mean`, `pop_var`.
        regularizers: dict of regularizers for `scale` and `beta`.
        trainable: False freezes only `scale` and `beta`; `phase_train` still controls the
            statistics. (In TF2's Keras it means inference; pass `phase_train=False` for that.)
        fused: None uses TensorFlow's fused kernel, which is faster, where it computes the same
            result without a copy. True requires it. False uses `tf.nn.moments`, which is more
            accurate far from zero: for means of thousands of standard deviations.
        updates_collections: None makes the update part of the output. A collection name, such as
            `tf.GraphKeys.UPDATE_OPS`, puts the update ops there instead; running them is then up
            to you, and a step that does not run them leaves its batch out of the averages.
        zero_debias: average only batches, newer ones weighing more, and never the initial values.
            Values other than 0 and 1, such as a checkpoint's, count as data, however. False
            averages the initial values too, as TF1's layers did, and takes hundreds of steps to
            forget them.
        unbiased: average the variance times m / (m - 1), with m values per channel, as in the
            paper's Algorithm 2. Matters for small batches of vectors, not for images.
        batch_weights: float tensor [batch], the weight of each example in the batch statistics.
            0 excludes an example, such as padding, whatever its (finite) values. If all are 0, the
            averages stay as they are, and the population statistics are used to normalize.
        virtual_batch_size: size of the ghost batches to normalize in; must divide the batch size.
        renorm: Batch Renormalization: normalize with nearly the moving averages in training too,
            so that small batches do less harm. Adds `renorm_mean` and `renorm_stddev`.
        renorm_clipping: dict of `rmin`, `rmax`, `dmax`, the bounds of its correction; numbers or
            scalar tensors. The paper starts with 1, 1, 0, which is batch norm, and widens them.
        renorm_decay: decay of `renorm_mean` and `renorm_stddev`.
        adjustment: function that takes the shape of the inputs (an int32 tensor) and returns a
            pair (factor, offset) to apply to the normalized values, in training only.
        cross_replica: function that exchanges data with the other replicas of data-parallel
            training, to normalize with the statistics of the whole batch: takes a vector [k] and
            returns the vectors of all replicas, [replicas, k], in the same order on each. It is
            called once in the forward and once in the backward pass. None normalizes with the
            replica's own part of the batch.
        variables_collections: collections for all variables in addition to the usual ones, a name
            or a list; or a dict of these by variable.
        outputs_collections: collections for the output.
        name: variable scope of the layer; by default a unique one starting with `batch_norm`.
        reuse: True or `tf.AUTO_REUSE` shares the variables of the layer called `name`.

    Returns:
        A tensor of the same shape and dtype as `inputs`.

    Raises:
        TypeError: `inputs` are not floating-point, `phase_train` is not a bool, or another
            argument has the wrong type.
        RuntimeError: eager execution is on, or a `tf.function` would train or create variables.
        ValueError: another argument has an invalid value, or options exclude each other.
    """
    inputs = check_inputs(inputs, axis)
    phase_train = check_phase(phase_train)
    _check_numbers(epsilon, statistics_dtype(inputs.dtype), decay=decay, renorm_decay=renorm_decay)
    with tf.variable_scope(name, "batch_norm", [inputs], reuse=reuse):
        variables = create_variables(
            fields_of(center, scale, renorm, weight=zero_debias and may_train(phase_train)),
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
            Options(
                fused=fused,
                unbiased=unbiased,
                batch_weights=batch_weights,
                virtual_batch_size=virtual_batch_size,
                renorm_clipping=renorm_clipping,
                renorm_decay=renorm_decay,
                adjustment=adjustment,
                cross_replica=cross_replica,
            ),
        )
        outputs = place_updates(outputs, updates, updates_collections)
        record_layer(inputs, outputs, variables, axis, epsilon)
        tf.add_to_collections(outputs_collections or [], outputs)
        return outputs


class Options(NamedTuple):
    """What a call may change of the statistics and the formula, as in `batch_norm_wrapper`."""

    fused: bool | None = None
    unbiased: bool = False
    batch_weights: tf.Tensor | None = None
    virtual_batch_size: int | None = None
    renorm_clipping: dict[str, float | tf.Tensor] | None = None
    renorm_decay: float | tf.Tensor = 0.99
    adjustment: Callable | None = None
    cross_replica: Callable | None = None
    # Only here: replaces `tf.nn.moments` where the fused kernel is not used. Takes the values, the
    # dimensions to reduce, and whether to keep them; returns what `tf.nn.moments` does.
    moments: Callable | None = None


def normalize(
    inputs: tf.Tensor,
    phase_train: bool | tf.Tensor | None,
    variables: Variables,
    moving_averages: list[MovingAverage],
    epsilon: float | tf.Tensor,
    axis: int | Sequence[int],
    options: Options,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Normalizes with the given variables: what every batch-norm API here comes down to.

    Args:
        inputs, phase_train: what `check_inputs` and `check_phase` return.
        variables: of the layer. If there is a `renorm_mean`, applies Batch Renormalization.
        moving_averages: list of one `MovingAverage` for both `pop_mean` and `pop_var`, which are
            then updated together, or of one for each.
        epsilon, axis: as in `batch_norm_wrapper`; `epsilon` may also be a tensor.
        options: the rarer arguments.

    Returns:
        The outputs, a tensor like the inputs; and a list of two tensors, which update `pop_mean`
        and `pop_var` and evaluate to their new values. In an inference graph the list is empty.

    Raises:
        TypeError, ValueError: an option has an invalid value, or some exclude each other.
        RuntimeError: a reference variable would have to be updated inside of a function.
    """
    call = _checked_call(inputs, phase_train, variables, epsilon, axis, options)
    values = _outside_of_cond(inputs, phase_train, call)
    with tf.name_scope("population"):
        population = _read(population_of(variables))
    # Both compute the same function; the kernel is faster.
    by_batch = _by_fused_kernel if call.is_fused else _by_moments
    normalized = _choose(
        phase_train,
        functools.partial(by_batch, values, population, variables, call),
        functools.partial(_by_population, values, population, variables, call),
    )
    outputs = tf.cast(normalized.outputs, inputs.dtype)
    outputs.set_shape(inputs.shape)
    if not may_train(phase_train):
        return outputs, []
    return outputs, [
        update
        for average in moving_averages
        for update in _choose_update(
            phase_train,
            variables.pop_mean,
            functools.partial(_update, average, outputs, normalized, variables, call),
            functools.partial(_unchanged, average, population),
        )
    ]


# ---- The batch's statistics, and the formula ----


class Normalized(NamedTuple):
    """Outputs, and the statistics that the averages take in: in inference, of 0 values."""

    outputs: tf.Tensor  # like the inputs
    mean: tf.Tensor  # for the moving averages, with the shape of `pop_mean`
    var: tf.Tensor  # likewise
    count: tf.Tensor  # float scalar: the number of values behind each of them


def _by_moments(
    inputs: tf.Tensor, population: dict[str, tf.Tensor], variables: Variables, call: _Call
) -> Normalized:
    """Normalizes with the batch's moments: Algorithm 1 of the paper. Returns `Normalized`."""
    values, kept = tf.cast(inputs, call.dtype), call.axes
    if call.options.virtual_batch_size is not None:
        values, kept = _in_ghost_batches(values, call), [1] + [i + 1 for i in kept]
    reduced = [i for i in range(values.shape.ndims) if i not in kept]

    with tf.name_scope("batch_statistics"):
        moments = _batch_moments(values, reduced, call)
        if call.may_be_empty:
            moments = _or_of_population(moments, population, call)
        seen_mean, seen_var = _seen_by_population(moments, call)

    with tf.name_scope("normalize"):
        scale, beta = _scale_and_beta(inputs, seen_mean, seen_var, variables, call)
        # scale * (centred - mean) / sqrt(var + epsilon) + beta
        outputs = tf.nn.batch_normalization(
            moments.centred, moments.mean, moments.var, beta, scale, call.epsilon
        )
        if call.has_closed_gradient:
            outputs = _with_closed_gradient(outputs, moments, beta, scale, call)
    return Normalized(
        outputs=tf.cast(tf.reshape(outputs, tf.shape(inputs)), inputs.dtype),
        mean=tf.reshape(seen_mean, variables.pop_mean.shape),
        var=tf.reshape(seen_var, variables.pop_mean.shape),
        count=tf.reduce_sum(moments.count),
    )


class _Moments(NamedTuple):
    """The moments of a batch, relative to a first estimate of its mean.

    A float32 sum of many values far from zero is off by more than their spread. So everything is
    computed relative to the estimate, `origin`, which the gradient treats as a constant.
    """

    centred: tf.Tensor  # the values minus `origin`
    origin: float | tf.Tensor  # like mean and var, of size 1 in the dimensions reduced
    mean: tf.Tensor  # of the centred values
    var: tf.Tensor  # biased
    count: tf.Tensor  # float scalar or one for each of the above: how many values they describe


def _batch_moments(values: tf.Tensor, reduced: list[int], call: _Call) -> _Moments:
    """Returns the `_Moments` of the values, over the dimensions `reduced`."""
    if call.options.moments is not None:
        return _given_moments(values, reduced, call.options.moments, call)
    if call.options.batch_weights is not None:
        return _weighted_moments(values, reduced, call.options.batch_weights)
    if call.options.cross_replica is not None:
        return _moments_over_replicas(values, reduced, call.options.cross_replica)
    total = tf.reduce_sum(values, reduced, keepdims=True)
    count = _count(values, total)
    origin = tf.stop_gradient(tf.div_no_nan(total, count))
    centred = values - origin
    mean, var = tf.nn.moments(centred, reduced, keepdims=True)
    return _Moments(centred, origin, mean, var, count)


def _by_population(
    inputs: tf.Tensor, population: dict[str, tf.Tensor], variables: Variables, call: _Call
) -> Normalized:
    """Normalizes with the population statistics: Algorithm 2. Returns `Normalized`."""
    mean, var = population["pop_mean"], population["pop_var"]
    nothing = tf.zeros([], call.dtype)
    if call.is_fused:
        outputs, _, _ = _fused_batch_norm(inputs, variables, call, mean, var)
        return Normalized(outputs, mean, var, count=nothing)
    mean_along, var_along, scale, beta = [
        None if parameter is None else tf.reshape(parameter, call.sizes)
        for parameter in (mean, var, variables.scale, variables.beta)
    ]
    # Subtracted first, as in training: inputs * factor + offset would lose what is left of values
    # far from zero.
    centred = tf.cast(inputs, call.dtype) - mean_along
    outputs = tf.nn.batch_normalization(centred, nothing, var_along, beta, scale, call.epsilon)
    return Normalized(tf.cast(outputs, inputs.dtype), mean, var, count=nothing)


# ---- The average ----


class MovingAverage(tf.train.ExponentialMovingAverage):
    """A `tf.train.ExponentialMovingAverage` of batch statistics instead of variables.

    What is the same: a batch moves an average to `decay * average + (1 - decay) * batch`, `apply`
    returns the op that does this, and `average` the variable that holds the average. Both take
    statistics by name.

    What differs: the averages live in the layer's own variables, and are the weighted mean of what
    they have seen, after every step, under any decay and from any starting values. For that,
    TensorFlow's arithmetic had to change in three places:

    - To remove the initial value, it divides by `1 - decay ** steps` (`zero_debias`; Kingma & Ba
      2015, section 3), which is wrong once the decay changes or statistics are loaded. Here
      `weight` is how much of the average is data, initially 0, and a batch gets the share
      `(1 - decay) / weight`: the whole average at first, and later `1 - decay`.
    - It subtracts a difference, and two concurrent calls of a layer subtract it twice. Here each
      average is assigned as a whole, and `weight` last. Concurrent calls may lose each other's
      batch, but any reader that sees a weight above 0 sees averages that hold only data.
    - It computes `1 - decay` in float32. Here everything is computed in float64.
    """

    def __init__(
        self,
        decay: float | tf.Tensor,
        averages: dict[str, tf.Variable],
        weight: tf.Variable | None = None,
    ) -> None:
        """Takes the variables, which the layer has made.

        Args:
            decay: weight of the OLD value, from 0 to 1; a number or scalar tensor.
            averages: dict of the variables that hold the averages, by name.
            weight: scalar variable, only for averages of `pop_mean` and `pop_var`. None if they
                count as data from the start, so that each batch gets the share `1 - decay`.
        """
        super().__init__(decay, name="MovingAverage")
        self.decay = decay
        self.averages = averages
        self.weight = weight

    def average(self, var: str) -> tf.Variable:
        """Returns the variable that holds an average, given the name of the statistic."""
        return self.averages[var]

    def apply(self, statistics: dict[str, tf.Tensor], count: int | tf.Tensor = 1) -> tf.Operation:
        """Returns an op that adds a batch's statistics to the averages.

        Args:
            statistics: dict of tensors by name, one per average, with its shape and dtype.
            count: number of values behind the statistics; if 0, the averages do not change.
        """
        with tf.name_scope("weight_of_batch"):
            # Casting a number would first make it a float32 tensor.
            is_tensor = tf.is_tensor(self.decay)
            decay = tf.cast(self.decay, tf.float64) if is_tensor else float(self.decay)
            new_data = tf.cast(count > 0, tf.float64) * (1.0 - decay)
            # Copied into the graph being built; inside a TF2 branch they come from the outer graph.
            batch = {name: tf.identity(statistics[name]) for name in sorted(self.averages)}
            # Read the weight and the averages only after the batch, which may depend on an earlier
            # call that updates them first. This also keeps Grappler from merging the reads of
            # several calls.
            with tf.control_dependencies(list(batch.values())):
                old_weight = _weight_of_data(self.weight, self.averages)
            new_weight = new_data + (1.0 - new_data) * old_weight
            share = tf.div_no_nan(new_data, new_weight)

        assigned = []
        for name, variable in sorted(self.averages.items()):
            with tf.name_scope("update_" + name):
                with tf.control_dependencies(list(batch.values()) + [new_weight]):
                    old = tf.cast(variable.read_value(), tf.float64)
                new = tf.math.multiply_no_nan(tf.cast(batch[name], tf.float64), share)
                assigned.append(_assign(variable, (1.0 - share) * old + new))
        if self.weight is None:
            return tf.group(*assigned)
        with tf.control_dependencies(assigned), tf.name_scope("update_pop_weight"):
            return tf.group(_assign(self.weight, new_weight))


def _weight_of_data(
    weight: tf.Variable | None, averages: dict[str, tf.Variable]
) -> float | tf.Tensor:
    """Returns how much of the averages is data before this batch, a float64 scalar."""
    if weight is None:
        return 1.0
    value = tf.cast(weight.read_value(), tf.float64)
    # Another worker may have added a batch since `_are_given` was computed.
    are_given = tf.logical_and(_are_given(weight, averages), value <= 0.0)
    return tf.where(are_given, tf.ones_like(value), value)


def _are_given(weight: tf.Variable, averages: dict[str, tf.Variable]) -> tf.Tensor:
    """Returns whether the averages, but not the weight, were set from outside and not learned.

    Such averages, from a checkpoint or initializers, count as data. This is computed once per step,
    outside loops and branches, before any call of the layer updates them.
    """
    graph, name = weight.graph, weight.op.name + "/are_given"
    try:
        return graph.get_tensor_by_name(name + ":0")
    except KeyError:
        pass
    with graph.as_default(), tf.control_dependencies(None), tf.name_scope(None):
        with tf.name_scope(name + "/"):
            is_initial_mean = tf.equal(averages["pop_mean"].read_value(), 0.0)
            is_initial_var = tf.equal(averages["pop_var"].read_value(), 1.0)
            are_initial = tf.reduce_all(tf.logical_and(is_initial_mean, is_initial_var))
            with tf.control_dependencies([are_initial]):
                has_data = weight.read_value() > 0.0
            are_known = tf.logical_or(has_data, are_initial)
        return tf.logical_not(are_known, name=name)


def _update(
    average: MovingAverage,
    outputs: tf.Tensor,
    normalized: Normalized,
    variables: Variables,
    call: _Call,
) -> list[tf.Tensor]:
    """Adds the batch's statistics to an average; returns a list of its new values."""
    statistics = {"pop_mean": normalized.mean, "pop_var": normalized.var}
    before = []
    if variables.renorm_mean is not None and "pop_mean" in average.averages:
        before = [_update_renorm(outputs, normalized, variables, call)]
    with tf.control_dependencies(before):
        updated = average.apply(statistics, normalized.count)
    with tf.control_dependencies([updated]), tf.name_scope("updated"):
        return list(_read(average.averages).values())


def _unchanged(average: MovingAverage, population: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    return [population[name] for name in sorted(average.averages)]


def _assign(variable: tf.Variable, value: tf.Tensor) -> tf.Operation:
    return variable.assign(tf.cast(value, variable.dtype.base_dtype), read_value=False)


def population_of(variables: Variables) -> dict[str, tf.Variable]:
    """Returns the averages of a layer that inference reads, by name."""
    return {"pop_mean": variables.pop_mean, "pop_var": variables.pop_var}


def _read(averages: dict[str, tf.Variable]) -> dict[str, tf.Tensor]:
    """Returns the values of variables by name, sorted by name."""
    return collections.OrderedDict(
        (name, variable.read_value()) for name, variable in sorted(averages.items())
    )


# ---- Options that change the statistics ----


def _along_axes(parameter: tf.Tensor | None, call: _Call) -> Any:
    """Reshapes a parameter, or None, to the rank of the values, so that it broadcasts over them."""
    sizes = list(call.sizes)
    if call.options.virtual_batch_size is not None:
        sizes.insert(1, 1)
    return None if parameter is None else tf.reshape(parameter, sizes)


def _count(values: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
    """Returns how many values each element of `mean` averages, as a float scalar."""
    # An empty batch split into ghost batches has no means.
    return tf.cast(tf.size(values) // tf.maximum(tf.size(mean), 1), mean.dtype)


def _in_ghost_batches(values: tf.Tensor, call: _Call) -> tf.Tensor:
    """Splits the batch: example i goes to ghost batch i modulo their number, as in tf.layers."""
    sizes = tf.concat([[call.options.virtual_batch_size, -1], tf.shape(values)[1:]], axis=0)
    # If the batch turns out not to be divisible, TensorFlow's error names this op.
    return tf.reshape(values, sizes, name="split_by_virtual_batch_size")


def _or_of_population(moments: _Moments, population: dict[str, tf.Tensor], call: _Call) -> _Moments:
    """Returns the batch's moments, or the population's where no example counts."""
    is_empty = moments.count <= 0
    pop_mean, pop_var = [_along_axes(population[name], call) for name in ("pop_mean", "pop_var")]
    return moments._replace(
        mean=tf.where_v2(is_empty, pop_mean - moments.origin, moments.mean),
        var=tf.where_v2(is_empty, pop_var, moments.var),
    )


def _given_moments(
    values: tf.Tensor, reduced: list[int], moments: Callable, call: _Call
) -> _Moments:
    """Computes `_batch_moments` with the given function."""
    keep_dims = call.options.virtual_batch_size is not None or len(call.axes) > 1
    mean, var = [
        moment if keep_dims else _along_axes(moment, call)
        for moment in moments(values, reduced, keep_dims)
    ]
    return _Moments(values, 0.0, mean, var, _count(values, mean))


def _weighted_moments(values: tf.Tensor, reduced: list[int], batch_weights: tf.Tensor) -> _Moments:
    """Computes `_batch_moments` with a weight for each example.

    An example of weight 0 has no effect, however large its values are. If all weights are 0, so is
    the count, and the moments are meaningless.
    """
    found, expected = tf.shape(batch_weights), tf.shape(values)[:1]
    # TensorFlow can't compare vectors of different lengths.
    is_right = tf.equal(tf.size(found), 1) & tf.reduce_all(tf.equal(found[:1], expected))
    message = ["batch_weights must be one for each example, of the shape", expected, "not", found]
    with tf.control_dependencies([tf.Assert(is_right, message)]):
        weights = tf.cast(batch_weights, values.dtype)
        weights = tf.reshape(weights, [-1] + [1] * (values.shape.ndims - 1))
    is_left_out = tf.equal(weights, 0)
    of_batch = [0] if 0 in reduced else []
    total = tf.reduce_sum(weights, of_batch, keepdims=True)
    weights = tf.where_v2(total > 0, weights, tf.ones_like(weights))  # Avoids dividing by 0.

    counted = tf.where_v2(is_left_out, tf.zeros_like(values), values)
    origin, _ = tf.nn.weighted_moments(counted, reduced, weights, keepdims=True)
    origin = tf.stop_gradient(origin)
    centred = values - origin
    counted = tf.where_v2(is_left_out, tf.zeros_like(centred), centred)
    mean, var = tf.nn.weighted_moments(counted, reduced, weights, keepdims=True)
    values_an_example = tf.size(values) // tf.size(mean)
    if of_batch:
        values_an_example //= tf.maximum(tf.size(weights), 1)
    count = total * tf.cast(values_an_example, values.dtype)
    return _Moments(centred, origin, mean, var, count)


def _moments_over_replicas(
    values: tf.Tensor, reduced: list[int], cross_replica: Callable
) -> _Moments:
    """Computes `_batch_moments` over all replicas (Chan, Golub & LeVeque 1979).

    Each replica's moments are relative to its own origin. Their differences from one origin for all
    are small, so no digits are lost far from zero; and every replica computes the same bits.

    Returns:
        The `_Moments` of the whole batch, but `centred` are only this replica's values.
    """
    origin = _near_mean(values, reduced)
    centred = values - origin
    count = _count(values, origin)
    ones = tf.ones_like(origin)
    total, squares, _ = _sums_in_one_pass(centred, centred, ones, reduced)
    # A replica without examples has no mean; what it sends instead must be finite.
    mean = tf.div_no_nan(total, count)
    deviations = tf.maximum(squares - mean * total, 0)  # Rounding may make it negative.
    sent = [tf.reshape(moment, [-1]) for moment in (count, origin, mean, deviations)]
    received = cross_replica(tf.concat(sent, axis=0))
    channels = tf.size(mean)
    counts, origins, means, deviations = tf.split(received, [1, channels, channels, channels], 1)
    total = tf.reduce_sum(counts)
    some_count = tf.maximum(total, 1)

    # The origin of a replica that has examples, and for all replicas the same one.
    common = tf.gather(origins, tf.argmax(counts[:, 0]))
    means += origins - common
    overall = tf.reduce_sum(counts * means, 0) / some_count
    between = tf.reduce_sum(counts * tf.math.squared_difference(means, overall), 0)
    overall_var = (tf.reduce_sum(deviations, 0) + between) / some_count
    common, overall, overall_var = [
        tf.stop_gradient(tf.reshape(moment, tf.shape(mean)))
        for moment in (common, overall, overall_var)
    ]
    for moment in (common, overall, overall_var):
        moment.set_shape(mean.shape)
    return _Moments(values - common, common, overall, overall_var, tf.stop_gradient(total))


def _near_mean(values: tf.Tensor, reduced: list[int]) -> tf.Tensor:
    """Returns the mean of the first eighth of the examples: an origin for exact sums of squares.

    It is at most sqrt(7) standard deviations from the mean of all, so a variance computed from the
    squares loses three bits at worst. A float32 sum of all values would be less exact far from
    zero: with a million, its mean is off by a thousandth.
    """
    if 0 in reduced:
        values = values[: (tf.shape(values)[0] + 7) // 8]
    total = tf.reduce_sum(values, reduced, keepdims=True)
    return tf.stop_gradient(tf.div_no_nan(total, _count(values, total)))


def _seen_by_population(moments: _Moments, call: _Call) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean and variance for the moving averages, averaged over ghost batches."""
    mean, var = moments.origin + moments.mean, moments.var
    if call.options.unbiased:
        var = var * _bessel(moments.count)
    if call.options.virtual_batch_size is not None:
        mean = tf.reduce_mean(mean, axis=1, keepdims=True)
        var = tf.reduce_mean(var, axis=1, keepdims=True)
    return mean, var


def _bessel(count: tf.Tensor) -> tf.Tensor:
    """Returns m / (m - 1), which removes the bias of a variance of m values; 1 for one or none."""
    return tf.where_v2(count > 1, count / tf.maximum(count - 1, 1), tf.ones_like(count))


# ---- Options that change the formula ----


def _scale_and_beta(
    inputs: tf.Tensor, seen_mean: tf.Tensor, seen_var: tf.Tensor, variables: Variables, call: _Call
) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """Returns the scale and offset to apply to the normalized values, either of which may be None.

    They compose, in order of application: renorm's correction, `adjustment`, the variables.
    """
    scale, beta = [_along_axes(v, call) for v in (variables.scale, variables.beta)]
    if call.options.adjustment is not None:
        scale, beta = _compose(call.options.adjustment(tf.shape(inputs)), scale, beta)
    if variables.renorm_mean is not None:
        # Read after the batch, like the averages: an earlier call it depends on may update them.
        with tf.control_dependencies([tf.identity(seen_mean), tf.identity(seen_var)]):
            renorm_mean, renorm_stddev = [
                _along_axes(average.read_value(), call)
                for average in _renorm_averages_of(variables).values()
            ]
        renorm_stddev = tf.maximum(renorm_stddev, call.epsilon**0.5)
        correction = _renorm_correction(
            tf.sqrt(seen_var + call.epsilon) / renorm_stddev,
            (seen_mean - renorm_mean) / renorm_stddev,
            call.options.renorm_clipping or {},
        )
        scale, beta = _compose(correction, scale, beta)
    return scale, beta


def _compose(
    first: tuple[tf.Tensor, tf.Tensor], then_scale: tf.Tensor | None, then_beta: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the scale and offset of one affine function applied after another."""
    scale, beta = first
    if then_scale is not None:
        scale, beta = scale * then_scale, beta * then_scale
    return scale, beta if then_beta is None else beta + then_beta


def _renorm_correction(
    r: tf.Tensor, d: tf.Tensor, clipping: dict[str, float | tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Clips Batch Renormalization's r and d, which the gradient treats as constants."""
    if "rmin" in clipping:
        r = tf.maximum(r, clipping["rmin"])
    if "rmax" in clipping:
        r = tf.minimum(r, clipping["rmax"])
    if "dmax" in clipping:
        d = tf.minimum(tf.maximum(d, -clipping["dmax"]), clipping["dmax"])
    return tf.stop_gradient(r), tf.stop_gradient(d)


def _renorm_averages_of(variables: Variables) -> dict[str, tf.Variable]:
    return {"renorm_mean": variables.renorm_mean, "renorm_stddev": variables.renorm_stddev}


def _update_renorm(
    outputs: tf.Tensor, normalized: Normalized, variables: Variables, call: _Call
) -> tf.Operation:
    """Adds the batch to the averages that renorm corrects with."""
    averages = _renorm_averages_of(variables)
    # The outputs are corrected with these averages as they were before the batch.
    with tf.control_dependencies([outputs]):
        stddev = tf.sqrt(normalized.var + call.epsilon)
        statistics = {"renorm_mean": normalized.mean, "renorm_stddev": stddev}
        return MovingAverage(call.options.renorm_decay, averages).apply(
            statistics, normalized.count
        )


# ---- TensorFlow's fused kernel ----


def _by_fused_kernel(inputs: tf.Tensor, _: object, variables: Variables, call: _Call) -> Normalized:
    """Normalizes like `_by_moments`, with TensorFlow's fused kernel."""
    with tf.name_scope("normalize"):
        outputs, mean, unbiased_var = _fused_batch_norm(inputs, variables, call)
    with tf.name_scope("batch_statistics"):
        count = _count(inputs, mean)
        var = unbiased_var if call.options.unbiased else unbiased_var / _bessel(count)
    return Normalized(outputs, mean, var, count)


def _fused_batch_norm(
    inputs: tf.Tensor,
    variables: Variables,
    call: _Call,
    pop_mean: tf.Tensor | None = None,
    pop_var: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns outputs, mean and UNBIASED variance as TensorFlow's kernel computes them.

    Population statistics, if given, are used to normalize; the returned ones are then meaningless.
    """
    (axis,) = call.axes
    rank, channels = inputs.shape.ndims, inputs.shape.as_list()[axis]
    others = [i for i in range(rank) if i != axis]
    # The kernel supports rank 4 with channels last (and NCHW, but not on every processor).
    last = inputs if axis == rank - 1 else tf.transpose(inputs, others + [axis])
    images = last if rank == 4 else tf.reshape(last, [-1, 1, 1, channels])
    # Not `tf.nn.fused_batch_norm`, which silently raises an epsilon below 1.001e-5.
    kernel = tf.raw_ops.FusedBatchNormV3(
        x=images,
        scale=tf.ones([channels]) if variables.scale is None else variables.scale,
        offset=tf.zeros([channels]) if variables.beta is None else variables.beta,
        mean=tf.zeros([0]) if pop_mean is None else pop_mean,
        variance=tf.zeros([0]) if pop_var is None else pop_var,
        epsilon=call.epsilon,
        is_training=pop_mean is None,
    )
    outputs = kernel[0] if rank == 4 else tf.reshape(kernel[0], tf.shape(last))
    if axis != rank - 1:
        outputs = tf.transpose(
            outputs, [others.index(i) if i != axis else rank - 1 for i in range(rank)]
        )
    return outputs, kernel[1], kernel[2]


def has_fused_kernel(dtype: tf.DType = tf.float32) -> bool:
    """Returns whether inputs of this dtype get TensorFlow's own fused kernel in this context.

    XLA compiles another, whose variance is a difference of squares and negative far from zero.
    """
    if _is_for_xla(tf.get_default_graph()):
        return False
    if dtype == tf.bfloat16:
        # Earlier versions support it only with oneDNN, but register it without oneDNN, too.
        return tuple(map(int, tf.version.VERSION.split(".")[:2])) >= (2, 13)
    return dtype in (tf.float32, tf.float16)


def _is_for_xla(graph: tf.Graph | None) -> bool:
    """Returns whether ops are being built in `tf.xla.experimental.compile` or `jit_scope`."""
    while graph is not None:
        scope = graph._attr_scope_map.get("_XlaCompile")
        context = graph._get_control_flow_context()
        while context is not None and not context.IsXLAContext():
            context = context.outer_context
        if context is not None or callable(scope) or (scope is not None and scope.b):
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _takes_fused_kernel(fused: bool | None, is_cheap: bool, obstacles: dict[str, bool]) -> bool:
    """Resolves `fused`: None uses the kernel if there is no obstacle and no copy is needed."""
    in_the_way = [name for name, is_there in obstacles.items() if is_there]
    if fused and in_the_way:
        raise ValueError("fused=True does not go with %s" % " and ".join(sorted(in_the_way)))
    return bool(fused) or (fused is None and is_cheap and not in_the_way)


# ---- Updates as part of the outputs, and two phases in a graph ----


def place_updates(
    outputs: tf.Tensor,
    updates: list[tf.Tensor],
    updates_collections: str | Sequence[str] | None = None,
) -> tf.Tensor:
    """Makes the updates part of the outputs, or puts them into collections; returns the outputs."""
    if updates_collections is not None:
        for update in updates:
            tf.add_to_collections(updates_collections, update)
        return outputs

    if not updates:
        return outputs
    return _with_gradient(_gradient_of_updated, _after(updates, outputs), updates)


def _after(updates: list[tf.Tensor], value: tf.Tensor) -> tf.Tensor:
    """Returns `value`, made to wait for the updates.

    Not by an Identity: Grappler bypasses it, and before TF 2.1 dropped its control inputs if an
    IdentityN came next. Nothing rewrites the op used here, and it copies nothing.
    """
    with tf.control_dependencies(updates):
        return tf.ensure_shape(value, value.shape)


def _outside_of_cond(
    inputs: tf.Tensor, phase_train: bool | tf.Tensor | None, call: _Call
) -> tf.Tensor:
    """Returns the inputs, cast if `tf.cond` had no gradient for them before TensorFlow 2.3."""
    is_choice = tf.is_tensor(phase_train)
    return tf.cast(inputs, call.dtype) if is_choice and inputs.dtype == tf.bfloat16 else inputs


def _choose(phase_train: bool | tf.Tensor | None, training: Callable, inference: Callable) -> Any:
    """Builds one of two branches, or both in a `tf.cond`."""
    if not may_train(phase_train):
        return inference()
    if phase_train is True:
        return training()
    return tf.cond(phase_train, training, inference, strict=True)


def _choose_update(
    phase_train: bool | tf.Tensor | None,
    variable: tf.Variable,
    training: Callable,
    inference: Callable,
) -> list[tf.Tensor]:
    """Builds branches like `_choose`, for lists of tensors; `training` assigns to `variable`."""
    if is_resource(variable):
        return _choose(phase_train, training, inference)
    if variable.graph is not tf.get_default_graph():
        raise RuntimeError(
            "%s is a reference variable, as TF1's are by default, and can't be updated inside of a "
            "function, such as the body of a TF2 loop, of tf.recompute_grad or of a tf.data map: "
            "make the variables with tf.variable_scope(..., use_resource=True)" % variable.op.name
        )
    if tf.is_tensor(phase_train) and tf.control_flow_v2_enabled():
        return _choose_without_functions(phase_train, training, inference)
    return _choose(phase_train, training, inference)


def _choose_without_functions(
    condition: tf.Tensor, if_true: Callable, if_false: Callable
) -> list[tf.Tensor]:
    """Builds lists of tensors in TF1-style branches, where `tf.cond` builds TF2-style ones.

    TF2-style branches are functions, which can't assign to a reference variable. Which style
    `tf.cond` builds is a setting of the whole process, and other threads may be building graphs. So
    this builds the ops that a TF1-style `tf.cond` consists of: whatever waits for an output of a
    Switch that the condition has not taken is not run.
    """
    with tf.name_scope("cond"):
        switch = tf.raw_ops.Switch(data=condition, pred=condition)
        # Control dependencies are on a whole op, hence one for each output.
        with tf.control_dependencies([tf.identity(switch.output_true, "switch_t")]):
            of_true = [tf.identity(tensor) for tensor in if_true()]
        with tf.control_dependencies([tf.identity(switch.output_false, "switch_f")]):
            of_false = [tf.identity(tensor) for tensor in if_false()]
        return [tf.raw_ops.Merge(inputs=pair).output for pair in zip(of_false, of_true)]


def is_resource(variable: tf.Variable) -> bool:
    """Returns whether this is a resource variable, not a reference variable, TF1's default."""
    return variable.dtype == variable.dtype.base_dtype


# ---- The gradient in closed form ----


def _with_closed_gradient(
    outputs: tf.Tensor,
    moments: _Moments,
    beta: tf.Tensor | None,
    scale: tf.Tensor | None,
    call: _Call,
) -> tf.Tensor:
    """Returns the outputs of `tf.nn.batch_normalization` with a closed-form gradient.

    It follows the chain rule in section 3 of the paper, where the moments are those of these very
    values. It makes about half as many passes over the batch as differentiating `tf.nn.moments` op
    by op.
    """
    centred, _, mean, var, count = moments
    # Broadcast to full shape, which differs in ghost batches; TensorFlow sums the gradients back.
    scale = tf.ones_like(mean) if scale is None else scale + tf.zeros_like(mean)
    beta = tf.zeros_like(mean) if beta is None else beta + tf.zeros_like(mean)
    inverse_stddev = tf.math.rsqrt(var + call.epsilon)
    others = [centred, mean, inverse_stddev, count, beta, scale]
    if call.options.cross_replica is not None:
        return _with_gradient_over_replicas(outputs, others, call.options.cross_replica)
    return _with_gradient(_gradient_of_normalized, outputs, others)


def _with_gradient_over_replicas(
    outputs: tf.Tensor, others: list[tf.Tensor], cross_replica: Callable
) -> tf.Tensor:
    """Returns `outputs` with the closed-form gradient of a batch that is spread over replicas.

    The gradients of scale and beta are those of this replica's loss; like other variables', they
    are for the training loop to add up. The exchange can't be saved with the graph, so an imported
    copy of the graph has no gradient here.
    """

    @tf.custom_gradient
    def with_gradient(outputs: tf.Tensor, *others: tf.Tensor) -> tuple:
        def gradient(outputs_gradient: tf.Tensor) -> list[tf.Tensor | None]:
            return [None] + _normalized_gradients(outputs_gradient, others, cross_replica)

        return tf.identity(outputs), gradient

    return with_gradient(outputs, *others)


def _with_gradient(gradient: Callable, outputs: tf.Tensor, others: list[tf.Tensor]) -> tf.Tensor:
    """Returns `outputs`, computed from `others`, with a custom gradient.

    `tf.custom_gradient` would give the gradient a number, and let it read tensors of the graph in
    which the layer was built. This gradient has a name and reads only the inputs of its op, so it
    is also correct in copies of the graph, such as those by `tf.train.import_meta_graph`, and in
    TF2's loops and branches, which are graphs themselves.

    Args:
        gradient: one of the functions below.
        outputs: tensor.
        others: list of tensors; together with `outputs`, the inputs of the op.
    """
    with tf.get_default_graph().gradient_override_map({"IdentityN": _registered_name(gradient)}):
        return tf.identity_n([outputs] + others)[0]


def _registered_name(gradient: Callable) -> str:
    # Saved graphs contain this name. So it can't include `__name__`, which differs for a copy of
    # this file in a package.
    return "bn_wrapper.%s" % gradient.__name__


def _registered(gradient: Callable) -> Callable:
    """Registers a gradient function, which takes an op and its outputs' gradients."""
    # The second name occurs in graphs that earlier versions saved from a package.
    for name in sorted({_registered_name(gradient), "%s.%s" % (__name__, gradient.__name__)}):
        try:
            tf.RegisterGradient(name)(gradient)
        except KeyError:
            pass  # This file was loaded before, and TensorFlow can't unregister a gradient.
    return gradient


@_registered
def _gradient_of_updated(
    op: tf.Operation, gradient: tf.Tensor, *_: tf.Tensor | None
) -> list[tf.Tensor | None]:
    """Waits for the updates: a step that fetches only gradients may never compute the outputs."""
    # The gradient can only wait for ops in its own graph, which is a different one in a TF2 loop.
    updates = [tf.identity(update) for update in op.inputs[1:]]
    return [_after(updates, gradient)] + [None] * len(updates)


@_registered
def _gradient_of_normalized(
    op: tf.Operation, gradient: tf.Tensor, *_: tf.Tensor | None
) -> list[tf.Tensor | None]:
    return [None] + _normalized_gradients(gradient, op.inputs[1:])


def _normalized_gradients(
    gradient: tf.Tensor, others: Sequence[tf.Tensor], cross_replica: Callable | None = None
) -> list[tf.Tensor | None]:
    """Returns the gradients of `others`; see `_with_closed_gradient`."""
    values, mean, inverse_stddev, count, _, scale = others
    reduced = [i for i, size in enumerate(mean.shape.as_list()) if size == 1]
    factor = scale * inverse_stddev
    # The kernel's gradient has no gradient of its own, but neither has an exchange.
    sums = _sums if cross_replica is None else _sums_in_one_pass
    beta_gradient, products, scaled = sums(gradient, values, factor, reduced)
    scale_gradient = inverse_stddev * (products - mean * beta_gradient)
    of_batch = [beta_gradient, scale_gradient]
    if cross_replica is not None:
        of_batch = _sum_over_replicas(of_batch, cross_replica)
    # scale / stddev * (gradient - its mean - normalized * mean of gradient * normalized)
    slope = -factor * of_batch[1] * inverse_stddev / count
    offset = -factor * of_batch[0] / count - slope * mean
    values_gradient = scaled + (slope * values + offset)
    # `values_gradient` already includes what `values` do through `mean` and the deviation.
    return [values_gradient, None, None, None, beta_gradient, scale_gradient]


def _sums(
    gradient: tf.Tensor, values: tf.Tensor, factor: tf.Tensor, reduced: list[int]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the sums of `gradient` and of `gradient * values`; and `factor * gradient`."""
    total = tf.reduce_sum(gradient, reduced, keepdims=True)
    products = tf.reduce_sum(gradient * values, reduced, keepdims=True)
    return total, products, factor * gradient


def _sums_in_one_pass(
    gradient: tf.Tensor, values: tf.Tensor, factor: tf.Tensor, reduced: list[int]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes `_sums` by a kernel, where there is one, in a third of the time.

    It is the fused kernel for the gradient of an inference, whose mean is 0 here and whose standard
    deviation is 1.
    """
    rank, channels = values.shape.ndims, values.shape.as_list()[-1]
    if reduced != list(range(rank - 1)) or not has_fused_kernel(values.dtype):
        return _sums(gradient, values, factor, reduced)
    images = [-1, 1, 1, channels]
    kernel = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=gradient if rank == 4 else tf.reshape(gradient, images),
        x=values if rank == 4 else tf.reshape(values, images),
        scale=tf.reshape(factor, [channels]),
        reserve_space_1=tf.zeros([channels]),
        reserve_space_2=tf.ones([channels]),
        reserve_space_3=tf.zeros([0]),
        epsilon=0.0,
        is_training=False,
    )
    scaled = kernel.x_backprop
    return (
        tf.reshape(kernel.offset_backprop, tf.shape(factor)),
        tf.reshape(kernel.scale_backprop, tf.shape(factor)),
        scaled if rank == 4 else tf.reshape(scaled, tf.shape(values)),
    )


def _sum_over_replicas(values: list[tf.Tensor], cross_replica: Callable) -> list[tf.Tensor]:
    """Returns the sums over all replicas of two tensors of one shape, in a single exchange."""
    flat = tf.concat([tf.reshape(value, [-1]) for value in values], axis=0)
    sums = tf.split(tf.reduce_sum(cross_replica(flat), 0), 2)
    return [tf.reshape(total, tf.shape(value)) for total, value in zip(sums, values)]


# ---- The layer's variables ----


def fields_of(
    center: bool = True,
    scale: bool = True,
    renorm: bool = False,
    stddev: bool = False,
    weight: bool = False,
) -> list[str]:
    """Returns the fields of `Variables` that a layer has, in the order of their creation.

    Args:
        center, scale, renorm: as in `batch_norm_wrapper`.
        stddev, weight: whether the layer has `pop_stddev`, `pop_weight`.
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
    fields: list[str],
    shape: list[int],
    dtype: tf.DType,
    trainable: bool = True,
    initializers: dict[str, Callable] | None = None,
    regularizers: dict[str, Callable] | None = None,
    constraints: dict[str, Callable] | None = None,
    collections: Collections = None,
    names: dict[str, str] | None = None,
    get_variable: Callable = tf.get_variable,
) -> Variables:
    """Creates a layer's variables in the current variable scope, or gets existing ones on reuse.

    Args:
        fields: the variables to create, in order; see `fields_of`.
        shape: of each variable except the scalar `pop_weight`; see `parameter_shape`.
        dtype: of each variable; see `statistics_dtype`.
        trainable: whether `scale` and `beta` are trainable.
        initializers, regularizers, constraints: dicts by field.
        collections: for all variables, a name or a list; or a dict of these by field.
            `pop_weight` joins the collections of `pop_mean`.
        names: dict by field of the variable names that differ from the field's.
        get_variable: creates or gets a variable, with the keyword arguments of `tf.get_variable`.

    Returns:
        `Variables`.

    Raises:
        RuntimeError: a variable does not exist yet, and can't be created in a TF2 function.
        TypeError: an initializer, regularizer or constraint is not a function.
        ValueError: collections are given for an unknown field.
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


def _check_functions(
    kind: str, functions: dict[str, Callable] | None, names: dict[str, str]
) -> None:
    for field, function in sorted((functions or {}).items()):
        if function is not None and not callable(function):
            raise TypeError(
                "the %s of %s must be a function, not %r"
                % (kind, names.get(field, field), function)
            )


def _with_default_initializers(given: dict[str, Callable]) -> dict[str, Callable]:
    """Returns initializers for all fields: the given ones, and TF1's defaults for the others."""
    pop_mean = given.get("pop_mean", tf.zeros_initializer())
    pop_var = given.get("pop_var", tf.ones_initializer())
    if isinstance(pop_var, type):
        pop_var = pop_var()

    def square_root_of_pop_var(
        shape: Any, dtype: Any = None, partition_info: Any = None
    ) -> tf.Tensor:
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
def _scope_for(field: str) -> Iterator[None]:
    """Enters the current variable scope, adjusted if `field` is a moving average."""
    if field in ("scale", "beta"):
        yield
        return
    # The layer may have been built for inference first, which creates no weight.
    reuse = tf.AUTO_REUSE if field == "pop_weight" else None
    scope = tf.get_variable_scope()
    with tf.variable_scope(scope, reuse=reuse, auxiliary_name_scope=False) as scope:
        scope.set_partitioner(None)  # It is assigned as a whole.
        yield


def _get_variable(get_variable: Callable, **options: Any) -> tf.Variable:
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


def parameter_shape(shape: tf.TensorShape, axis: int | Sequence[int]) -> list[int]:
    """Returns the shape of the variables: [channels], or for several axes, the rank of `shape`."""
    axes = positive_axes(axis, shape.ndims)
    if len(axes) == 1:
        return [shape.as_list()[axes[0]]]
    return sizes_along(shape, axes)


def sizes_along(shape: tf.TensorShape, axis: int | Sequence[int]) -> list[int]:
    """Returns the sizes of a shape's dimensions, with 1 for those not in `axis`."""
    sizes = shape.as_list()
    axes = positive_axes(axis, len(sizes))
    return [size if i in axes else 1 for i, size in enumerate(sizes)]


def positive_axes(axis: int | Sequence[int], rank: int) -> list[int]:
    """Returns `axis`, an int or several, as a sorted list of non-negative dimensions.

    Raises:
        ValueError: a dimension does not exist or is named twice, or none is named.
    """
    axes: list[Any] = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    for one in axes:
        if not _is_int(one) or not -rank <= one < rank:
            raise ValueError("axis must be from %d to %d, not %r" % (-rank, rank - 1, one))
    positive = sorted(int(one) % rank for one in axes)
    if not positive or len(set(positive)) < len(positive):
        raise ValueError("axis must name one dimension or several different ones, not %r" % (axis,))
    return positive


def statistics_dtype(dtype: tf.DType) -> tf.DType:
    """Returns the dtype of the variables: float32 even for float16 and bfloat16 inputs."""
    return tf.float64 if dtype.base_dtype == tf.float64 else tf.float32


# ---- The record of a call ----


def record_layer(
    inputs: tf.Tensor,
    outputs: tf.Tensor,
    variables: Variables,
    axis: int | Sequence[int],
    epsilon: float | tf.Tensor,
) -> None:
    """Records a call of a layer in the graph, where `bn_tools.layers_of` finds it.

    As a string in JSON: TensorFlow exports strings, and prefixes them with the scope's name when it
    imports them into a scope.
    """
    with tf.init_scope():
        is_outermost = not tf.executing_eagerly() and inputs.graph is tf.get_default_graph()
    if not is_outermost or inputs.graph._get_control_flow_context() is not None:
        return  # Tensors of a loop, branch or function can't be used outside it.
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
    tf.add_to_collection(LAYERS, json.dumps(layer, sort_keys=True))


# ---- Checks of arguments ----


class _Call(NamedTuple):
    """What is known of a call when its arguments have been checked."""

    axes: list[int]  # the channel dimensions, non-negative
    sizes: list[int]  # of all dimensions, with 1 for those without channels
    dtype: tf.DType  # to compute in
    epsilon: float | tf.Tensor
    options: Options
    is_fused: bool
    may_be_empty: bool  # whether a channel may have no values
    has_closed_gradient: bool


def _checked_call(
    inputs: tf.Tensor,
    phase_train: bool | tf.Tensor | None,
    variables: Variables,
    epsilon: float | tf.Tensor,
    axis: int | Sequence[int],
    options: Options,
) -> _Call:
    """Returns a `_Call`; see `normalize` for the arguments. Raises TypeError or ValueError."""
    axes = positive_axes(axis, inputs.shape.ndims)
    dtype = variables.pop_mean.dtype.base_dtype
    _check_is_not_lost("epsilon", epsilon, dtype)
    check_keys("renorm_clipping", options.renorm_clipping, RENORM_CLIPPING)
    if options.virtual_batch_size is not None:
        _check_ghost_batches(options, axes)
        if may_train(phase_train):
            _check_divides(options.virtual_batch_size, inputs)
    if options.cross_replica is not None:
        _check_cross_replica(options)
    is_weighted = options.batch_weights is not None
    is_fused = _takes_fused_kernel(
        options.fused,
        is_cheap=axes == [inputs.shape.ndims - 1],
        obstacles={
            "an epsilon that is a tensor": tf.is_tensor(epsilon),
            "%s inputs here" % inputs.dtype.name: not has_fused_kernel(inputs.dtype),
            "XLA": not has_fused_kernel(),
            "several axes": len(axes) > 1,
            "batch_weights": is_weighted,
            "virtual_batch_size": options.virtual_batch_size is not None,
            "renorm": variables.renorm_mean is not None,
            "adjustment": options.adjustment is not None,
            "cross_replica": options.cross_replica is not None,
        },
    )
    has_own_formula = is_weighted or options.adjustment is not None or options.moments is not None
    return _Call(
        axes=axes,
        sizes=sizes_along(inputs.shape, axes),
        dtype=dtype,
        epsilon=epsilon,
        options=options._replace(batch_weights=_one_weight_an_example(inputs, options)),
        is_fused=is_fused,
        may_be_empty=is_weighted or not inputs.shape.num_elements(),
        has_closed_gradient=not has_own_formula,
    )


def check_inputs(inputs: Any, axis: int | Sequence[int]) -> tf.Tensor:
    """Returns `inputs` as a tensor.

    Raises:
        TypeError, ValueError: they can't be normalized along `axis`.
        RuntimeError: there is no graph to build in.
    """
    if tf.executing_eagerly():
        raise RuntimeError(
            "a batch norm of TF1 needs a graph: call tf.disable_v2_behavior() first, or build "
            "inside `with tf.Graph().as_default()`"
        )
    inputs = tf.convert_to_tensor(inputs, name="inputs")
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
    return inputs


def check_phase(phase_train: Any, name: str = "phase_train") -> bool | tf.Tensor | None:
    """Returns `phase_train` as None, a bool or a tensor; raises if it is something else.

    Accepts True, False, 1 and 0 from Python or numpy. `name` is the caller's name for it.
    Raises RuntimeError if a TF2 function is being built, in which nothing can be trained.
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


def may_train(phase_train: bool | tf.Tensor | None) -> bool:
    """Returns whether a phase from `check_phase` is, or may turn out to be, training."""
    return phase_train is not None and phase_train is not False


def check_number(name: str, value: Any) -> None:
    """Raises TypeError if `value`, the caller's argument `name`, is not a number."""
    if not isinstance(value, numbers.Real):
        raise TypeError("%s must be a number, not %r" % (name, value))


def _check_is_not_lost(name: str, value: float | tf.Tensor, dtype: tf.DType) -> None:
    """Raises ValueError if a number above 0 becomes 0 in the `dtype` of the statistics."""
    if not tf.is_tensor(value) and value > 0 and dtype.as_numpy_dtype(value) == 0:
        raise ValueError("%s must not be 0 in %s, as %r is" % (name, dtype.name, value))


def collection_names(names: str | Sequence[str] | None) -> list[str]:
    """Returns a list of collection names, given one name, a sequence of names, or None."""
    return [names] if isinstance(names, str) else list(names or [])


def collections_of(variable: str, given: Collections) -> list[str]:
    """Returns a list of the names of a variable's collections.

    `given` is for all variables, as in `collection_names`, or a dict of these by variable.
    """
    return collection_names(given.get(variable) if isinstance(given, dict) else given)


def check_keys(name: str, given: dict | None, known: Sequence[str]) -> None:
    """Raises TypeError if `given`, the caller's argument `name`, is neither a dict nor None.

    Raises ValueError if one of its keys is not in `known`.
    """
    if given is not None and not isinstance(given, dict):
        raise TypeError("%s must be a dict of %s, not %r" % (name, ", ".join(known), given))
    unknown = sorted(set(given or ()) - set(known))
    if unknown:
        raise ValueError("%s knows %s, not %s" % (name, ", ".join(known), ", ".join(unknown)))


def _check_numbers(epsilon: float, dtype: tf.DType, **decays: float) -> None:
    for name, decay in sorted(decays.items()):
        check_number(name, decay)
        if not 0 <= decay < 1 or tf.float32.as_numpy_dtype(decay) == 1:
            raise ValueError("%s must be in [0, 1), in float32 as well, not %r" % (name, decay))
    check_number("epsilon", epsilon)
    if not epsilon > 0:
        raise ValueError("epsilon must be above 0, not %r" % (epsilon,))
    _check_is_not_lost("epsilon", epsilon, dtype)


def _is_int(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _one_weight_an_example(inputs: tf.Tensor, options: Options) -> tf.Tensor | None:
    """Returns `batch_weights` as a tensor [batch], or None; raises TypeError or ValueError."""
    if options.batch_weights is None:
        return None
    weights = tf.convert_to_tensor(options.batch_weights, name="batch_weights")
    if weights.dtype.base_dtype == tf.string:
        raise TypeError("batch_weights must be numbers, not %s" % weights.dtype.name)
    if not weights.shape.is_compatible_with(inputs.shape[:1]):
        raise ValueError(
            "batch_weights must have the shape %s, a weight for each example, not %s"
            % (inputs.shape[:1], weights.shape)
        )
    return weights


def _check_divides(virtual_batch_size: int, inputs: tf.Tensor) -> None:
    batch_size = inputs.shape.as_list()[0]
    if batch_size is not None and batch_size % virtual_batch_size:
        raise ValueError(
            "virtual_batch_size must divide the batch, but %d does not divide %d"
            % (virtual_batch_size, batch_size)
        )


def _check_cross_replica(options: Options) -> None:
    if not callable(options.cross_replica):
        raise TypeError("cross_replica must be a function, not %r" % (options.cross_replica,))
    for name in ("batch_weights", "virtual_batch_size", "adjustment"):
        if getattr(options, name) is not None:
            raise ValueError("cross_replica does not go with %s" % name)


def _check_ghost_batches(options: Options, axes: list[int]) -> None:
    size: Any = options.virtual_batch_size
    if not _is_int(size) or size < 1:
        raise ValueError("virtual_batch_size must be a positive integer, not %r" % (size,))
    if 0 in axes:
        raise ValueError("virtual_batch_size splits dimension 0, so axis can't have it")
    for name in ("batch_weights", "adjustment"):
        if getattr(options, name) is not None:
            raise ValueError("virtual_batch_size does not go with %s" % name)
