"""What is done with batch-norm layers after training: finding, exact statistics, folding, freezing.

For the layers of `bn_wrapper.py` and `bn_compat.py`, and graphs imported from files. Like
`bn_wrapper.py`, it runs on TF 1.15 (Python 3.7) and on current TensorFlow; copy it beside that one.

    Ioffe & Szegedy (2015), Batch Normalization, https://arxiv.org/abs/1502.03167
    Chan, Golub & LeVeque (1979), Updating formulae and a pairwise algorithm for computing sample
    variances, Stanford STAN-CS-79-773
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow.compat.v1 as tf

if TYPE_CHECKING or not __package__:
    import bn_wrapper
else:  # The files were copied into a package.
    from . import bn_wrapper

if TYPE_CHECKING:
    Array = Any  # a tensor or a numpy array

__all__ = [
    "Layer",
    "fold_batch_norm",
    "inference_graph_def",
    "layers_of",
    "population_moments",
    "population_statistics",
]


class Layer(NamedTuple):
    """One call of a layer, as found by `layers_of`."""

    inputs: tf.Tensor
    outputs: tf.Tensor | None  # None if only the inputs are known
    variables: bn_wrapper.Variables
    axis: list[int]  # the channel dimensions, non-negative
    epsilon: float | None  # None if it was a tensor


def layers_of(graph: tf.Graph) -> list[Layer]:
    """Returns a list of `Layer`, one for each call of a batch norm, in the order of their building.

    This includes graphs imported by `tf.train.import_meta_graph`, but not calls inside loops,
    branches and functions, nor those in a subgraph exported with `export_scope`. The `variables` of
    a `Layer` are those that the call uses, and always `pop_weight` if the layer has one;
    partitioned variables are None.
    """
    variables = {v.name: v for v in graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)}
    layers = []
    for text in graph.get_collection(bn_wrapper.LAYERS):
        scope, _, layer = tf.compat.as_str(text).partition("{")
        layer = json.loads("{" + layer)
        names = layer["variables"]
        # An inference call does not use `pop_weight`.
        names.setdefault("pop_weight", names["pop_mean"].rpartition("/")[0] + "/pop_weight:0")
        fields = dict.fromkeys(bn_wrapper.Variables._fields)
        fields.update({field: variables.get(scope + name) for field, name in names.items()})
        try:
            inputs, outputs = [
                graph.get_tensor_by_name(scope + layer[name]) for name in ("inputs", "outputs")
            ]
        except KeyError:
            continue  # Its tensors were not imported.
        layers.append(
            Layer(inputs, outputs, bn_wrapper.Variables(**fields), layer["axis"], layer["epsilon"])
        )
    return layers


def population_statistics(
    session: tf.Session,
    layers: Sequence[Layer | tuple],
    feeds: Callable[[], Iterable[dict]],
    moments: list | None = None,
) -> None:
    """Computes the exact statistics of a whole data set for fixed weights.

    An alternative to the moving averages (the paper's Algorithm 2): afterwards `pop_mean` is the
    mean and `pop_var` the unbiased variance of the layer's inputs in inference over the data set,
    whatever the decay was and whatever weights the averages saw. If training continues, each batch
    moves them by `1 - decay`, since they count fully as data.

    Layers are processed one at a time, since the inputs of each depend on the statistics of those
    before it. This takes one pass over the data for each layer.

    Args:
        session: for an inference graph (`phase_train` None, or false in the feeds). The hooks of a
            `tf.train.MonitoredSession` do not run.
        layers: list of `Layer`, such as `layers_of(graph)`, in the order in which the data passes
            through them; or of tuples (inputs of the layer, `pop_mean`, `pop_var`).
        feeds: function that returns an iterable of feed dicts that together cover the data set.
            Those without values, such as an empty batch, add nothing.
        moments: the result of `population_moments(layers)`. By default, every call adds these ops
            to the graph; to call this repeatedly, create them once. Create them before a
            `MonitoredSession`, which finalizes the graph.

    Raises:
        RuntimeError: the graph is finalized and `moments` is None.
        ValueError: a layer gets fewer than two values per channel, or its channel dimension is
            unknown.
    """
    known = [_as_layer(layer) for layer in layers]
    if hasattr(session, "raw_session"):
        session = session.raw_session()
    if moments is None:
        if session.graph.finalized:
            raise RuntimeError(
                "the graph is finalized: call population_moments(layers) before the session is "
                "made, and pass the result as moments"
            )
        moments = population_moments(known)
    with session.graph.as_default():
        for layer, of_layer in zip(known, moments):
            mean, var = _merged(session.run(of_layer, feed) for feed in feeds())
            _load_population(layer, mean, var, session)


def population_moments(layers: Sequence[Layer | tuple]) -> list:
    """Adds the ops that `population_statistics` runs to the layers' graph.

    Returns:
        A list with, for each layer, a pair of tensors, the float64 mean and biased variance of its
        inputs, and a third, int32 scalar: how many values each of them describes.

    Raises:
        ValueError: the channel dimension of a layer is unknown.
    """
    moments = []
    for layer in map(_as_layer, layers):
        inputs = layer.inputs
        others = [i for i in range(inputs.shape.ndims) if i not in layer.axis]
        with inputs.graph.as_default():
            mean_and_var = tf.nn.moments(tf.cast(inputs, tf.float64), others)
            moments.append((mean_and_var, tf.size(inputs) // tf.size(mean_and_var[0])))
    return moments


def _as_layer(layer: Layer | tuple) -> Layer:
    """Returns a `Layer`, given one or a tuple (inputs, pop_mean, pop_var)."""
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
    fields = dict(dict.fromkeys(bn_wrapper.Variables._fields), pop_mean=pop_mean, pop_var=pop_var)
    return Layer(inputs, None, bn_wrapper.Variables(**fields), [inputs.shape.ndims - 1], None)


def _merged(moments_of_batches: Iterable[tuple]) -> tuple[Any, Any]:
    """Returns the mean and the unbiased variance of all batches, given each one's moments."""
    count, mean, squares = 0, 0.0, 0.0
    for (batch_mean, batch_var), batch_count in moments_of_batches:
        batch_count = int(batch_count)  # The total may overflow an int32.
        if not batch_count:
            continue
        # Chan et al. (1979): merges sums of squared deviations without cancellation.
        delta, total = batch_mean - mean, count + batch_count
        mean = mean + delta * batch_count / total
        squares = squares + batch_count * (batch_var + delta**2 * count / total)
        count = total
    if count < 2:
        raise ValueError("a variance needs two values a channel or more, found %d" % count)
    return mean, squares / (count - 1)


def _load_population(layer: Layer, mean: Any, var: Any, session: tf.Session) -> None:
    """Loads statistics into a layer, where they count as data."""
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


# The layers that `fold_batch_norm` folds into, and the output-channel dimensions of their weights.
_OUTPUT_CHANNELS = {
    "dense": [-1],
    "convolution": [-1],
    "separable_convolution": [-1],
    "transposed_convolution": [-2],
    "depthwise_convolution": [-2, -1],
}


def fold_batch_norm(
    weights: Array,
    scale: Array | None,
    beta: Array | None,
    pop_mean: Array,
    pop_var: Array,
    epsilon: float,
    bias: Array | None = None,
    layer: str = "convolution",
) -> tuple[Array, Array]:
    """Folds an inference batch norm into the linear layer before it.

    Population statistics are constants, so batch norm in inference is an affine function of each
    channel; after a linear layer, the two are equivalent to one linear layer with a bias.

    Args:
        weights: of the linear layer, in their original shape.
        scale, beta: of the batch norm that follows, each [channels], or None.
        pop_mean, pop_var: likewise, but never None.
        epsilon: of that batch norm.
        bias: of the linear layer, [channels], or None.
        layer: kind of the linear layer, which determines the output-channel dimension of `weights`.
            "dense" and "convolution": the last.
            "separable_convolution": the last of the pointwise weights, the second part of the
            layer. The first part, the depthwise weights, does not change.
            "transposed_convolution": the second to last, as in `tf.nn.conv2d_transpose`.
            "depthwise_convolution": the last two together, as in `tf.nn.depthwise_conv2d`.

    These may all be tensors, or all numpy arrays.

    Returns:
        Weights of the same shape, and a bias [channels]. With these, the linear layer alone
        computes what the two layers did.

    Raises:
        ValueError: the kind of layer is unknown, or its number of channels is not the batch norm's.
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


def inference_graph_def(
    graph: tf.Graph, phase_train: tf.Tensor, outputs: list[tf.Tensor]
) -> tf.GraphDef:
    """Returns the GraphDef of a graph whose phase is a placeholder, without the training branch.

    Such a graph can't be frozen as it is, since the branch that updates `pop_mean` and `pop_var`
    would assign to constants. The result can, with `tf.graph_util.convert_variables_to_constants`.
    TensorFlow's graph optimizer removes everything unreachable when the phase is false.

    Args:
        graph: `tf.Graph`, which stays unchanged.
        phase_train: the placeholder, which the result no longer has.
        outputs: list of the tensors that the result must be able to compute.
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
    meta_graph.collection_def["train_op"].node_list.value.extend(names)  # Nodes to keep.
    config = tf.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.optimizers.extend(["pruning", "function", "loop", "constfold", "dependency"])
    rewrites.min_graph_nodes = -1
    rewrites.fail_on_optimizer_errors = True
    # TF2-style branches can be pruned only after a first pass has turned them into TF1-style ones.
    for _ in range(2):
        meta_graph.graph_def.CopyFrom(tf_optimizer.OptimizeGraph(config, meta_graph))
    return meta_graph.graph_def
