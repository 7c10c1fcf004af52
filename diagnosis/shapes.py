"""Shapes of tensors, as far as a graph tells without being imported."""

from __future__ import annotations

from diagnosis.evaluation import IDENTITIES, MERGES, SWITCHES, VARIABLES, array
from diagnosis.view import CALL, Node, Tensor

# A dimension of unknown size is None; a shape of unknown rank is None.
Shape = list[int | None]

# Output like the first input.
_LIKE_INPUT = {
    "BiasAdd",
    "Relu",
    "Relu6",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Sigmoid",
    "Tanh",
    "Cast",
    "Softmax",
    "Square",
    "Neg",
    "Softplus",
    "LRN",
    "FusedBatchNorm",
    "FusedBatchNormV2",
    "FusedBatchNormV3",
}
_RANKS = {
    "Conv2D": 4,
    "DepthwiseConv2dNative": 4,
    "Conv2DBackpropInput": 4,
    "MaxPool": 4,
    "AvgPool": 4,
    "ResizeBilinear": 4,
    "ResizeNearestNeighbor": 4,
    "Conv3D": 5,
    "MaxPool3D": 5,
    "AvgPool3D": 5,
    "MatMul": 2,
}
_BROADCASTING = {"Add", "AddV2", "Sub", "Mul", "RealDiv", "SquaredDifference", "Maximum", "Minimum"}
_FARTHEST = 60


def shape(tensor: Tensor, steps: int = _FARTHEST) -> Shape | None:
    """Returns the shape of a tensor, or None if not even its rank is known."""
    node, port = tensor
    if node.op in VARIABLES:  # Not what is recorded, which may be the shape of the handle.
        return _declared(node)
    recorded = node.attr["_output_shapes"].list.shape if node.has("_output_shapes") else ()
    if port < len(recorded) and not recorded[port].unknown_rank:
        return _sizes(recorded[port])
    if node.op in ("Placeholder", "PlaceholderV2"):
        return _declared(node)
    if node.op == "Const":
        return [dim.size for dim in node.attr["value"].tensor.tensor_shape.dim]
    if not steps or not node.inputs:
        return None
    if node.op in (CALL, "IdentityN"):
        return shape(node.inputs[port], steps - 1) if port < len(node.inputs) else None
    if node.op in IDENTITIES | SWITCHES | _LIKE_INPUT | MERGES and not port:
        return shape(node.inputs[0], steps - 1)
    if node.op in SWITCHES:
        return shape(node.inputs[0], steps - 1)
    if node.op == "Reshape" and len(node.inputs) > 1 and node.inputs[1][0].op == "Const":
        sizes = array(node.inputs[1][0])
        return None if sizes is None else [int(s) if s >= 0 else None for s in sizes.reshape(-1)]
    if node.op in _RANKS:
        return [None] * _RANKS[node.op]
    if node.op in _BROADCASTING:
        shapes = [shape(source, steps // 2) for source in node.inputs]
        if None not in shapes:
            return max(shapes, key=lambda sizes: len(sizes or ()))
    return None


def _declared(node: Node) -> Shape | None:
    proto = node.attr["shape"].shape if node.has("shape") else None
    return None if proto is None or proto.unknown_rank else _sizes(proto)


def _sizes(proto: object) -> Shape:
    return [dim.size if dim.size >= 0 else None for dim in proto.dim]  # type: ignore[attr-defined]


def is_vector(tensor: Tensor) -> bool:
    """Whether a tensor may hold one value a channel: at most one dimension is larger than 1."""
    sizes = shape(tensor)
    return sizes is not None and sum(size != 1 for size in sizes) <= 1


def channels(tensor: Tensor) -> int | None:
    """Returns the number of elements of a tensor of known shape."""
    sizes = shape(tensor)
    if sizes is None or None in sizes:
        return None
    count = 1
    for size in sizes:
        count *= size or 0
    return count
