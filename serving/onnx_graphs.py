"""What tf2onnx leaves to do in the graph that it makes of ours."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

# The name of the number of images.
BATCH = "n"


def tidy(model: onnx.ModelProto) -> None:
    """Takes out of a model what a network that was built for ONNX would not have.

    TensorFlow's images have the channels last, ONNX's first. tf2onnx moves the transpositions
    through the convolutions, but leaves one at either end.
    """
    graph = model.graph
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    for inner, reshape in _pairs(graph, "Unsqueeze", "Reshape"):
        reshape.input[0] = inner.input[0]
        graph.node.remove(inner)
    for transpose, reshape in _pairs(graph, "Transpose", "Reshape"):
        _flatten_with_channels_first(graph, transpose, reshape, sizes[transpose.output[0]])
    _remove_unused_constants(graph)
    _name_by_place(graph)
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH


def _pairs(
    graph: onnx.GraphProto, first: str, second: str
) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Yields pairs of nodes of these types, of which the second is the only one to use the first.

    A node may be removed meanwhile.
    """
    for node in [node for node in graph.node if node.op_type == first]:
        users = _users(graph, node)
        if [user.op_type for user in users] == [second]:
            yield node, users[0]


def _users(graph: onnx.GraphProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    return [other for other in graph.node if set(node.output) & set(other.input)]


def _flatten_with_channels_first(
    graph: onnx.GraphProto, transpose: onnx.NodeProto, reshape: onnx.NodeProto, sizes: list[int]
) -> None:
    """Moves a transposition, to channels last and these sizes, into the weights after it."""
    ((product,),) = [_users(graph, reshape)]
    weights = next(each for each in graph.initializer if each.name == product.input[1])
    _, height, width, channels = sizes
    values = numpy_helper.to_array(weights)
    by_place = values.reshape(height, width, channels, -1)
    by_channel = np.ascontiguousarray(by_place.transpose(2, 0, 1, 3)).reshape(values.shape)
    weights.CopyFrom(numpy_helper.from_array(by_channel, weights.name))
    reshape.input[0] = transpose.input[0]
    graph.node.remove(transpose)


def _name_by_place(graph: onnx.GraphProto) -> None:
    """Renames what is inside of the graph: tf2onnx counts in the order of a set, never the same."""
    fixed = {value.name for value in (*graph.input, *graph.output)}
    names: dict[str, str] = {}
    for place, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{place}"
        for name in (*node.input, *node.output):
            if name and name not in fixed:
                names.setdefault(name, f"{node.op_type}_{place}/{len(names)}")
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for constant in graph.initializer:
        constant.name = names[constant.name]
    graph.initializer.sort(key=lambda constant: constant.name)
    del graph.value_info[:]


def _remove_unused_constants(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    for constant in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(constant)
