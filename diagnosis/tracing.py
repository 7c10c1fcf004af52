"""Where per-channel tensors come from: a batch, variables, or constants.

Means, variances, scales and their averages are vectors on which a graph does a little arithmetic.
Going back through it ends at reductions of a batch, at variables, or at something else.
"""

from __future__ import annotations

from typing import NamedTuple

from diagnosis import shapes
from diagnosis.evaluation import IDENTITIES, MERGES, SELECTS, SWITCHES, VARIABLES, Evaluation, array
from diagnosis.view import CALL, Node, Tensor

REDUCTIONS = {"Mean", "Sum"}
FUSED = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "_FusedBatchNormEx"}
ASSIGNMENTS = {
    "Assign",
    "AssignAdd",
    "AssignSub",
    "AssignVariableOp",
    "AssignAddVariableOp",
    "AssignSubVariableOp",
}
_ARITHMETIC = {
    "Add",
    "AddV2",
    "AddN",
    "Sub",
    "Mul",
    "MulNoNan",
    "RealDiv",
    "Div",
    "DivNoNan",
    "Square",
    "SquaredDifference",
    "Maximum",
    "Minimum",
    "Abs",
    "Neg",
    "Sqrt",
    "Rsqrt",
    "Pow",
    "Reciprocal",
    "Inv",
    "FloorDiv",
}
# The first input is the value, the others say how.
RESHAPING = {
    "Reshape",
    "ExpandDims",
    "Squeeze",
    "Cast",
    "Tile",
    "BroadcastTo",
    "Transpose",
    "Slice",
    "StridedSlice",
    "CollectiveReduce",
    "CollectiveReduceV2",
    "NcclAllReduce",
    "HorovodAllreduce",
    "GatherV2",
    "Gather",
    "Unpack",
}
_SEVERAL = {"Pack", "ConcatV2", "Concat", "Split", "SplitV"}
# How many values there are, and which of two, is not where they come from.
_COUNTS = {"Shape", "ShapeN", "Size", "Rank", "Prod", "ZerosLike", "OnesLike", "Fill", "Range"}
_COMPARISONS = {
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "Equal",
    "NotEqual",
    "LogicalAnd",
    "LogicalOr",
    "LogicalNot",
    "All",
    "Any",
    "IsVariableInitialized",
    "VarIsInitializedOp",
}
_MOST = 400


class Origins(NamedTuple):
    """Where a tensor comes from."""

    batch: frozenset[Tensor]  # reductions of a batch, and outputs of fused kernels in training
    variables: frozenset[Node]
    constants: frozenset[Node]
    others: frozenset[Node]  # anything else, such as activations
    is_chosen: bool  # whether there is a choice among them that is not known
    is_plain: bool  # whether there was no arithmetic

    @property
    def is_small(self) -> bool:
        """Whether it is a per-channel value, not an activation."""
        return not self.others


class Tracer:
    """Finds origins of tensors, in a graph of which some scalars may be known."""

    def __init__(self, evaluation: Evaluation):
        self.evaluation = evaluation
        self._found: dict[Tensor, Origins] = {}
        self._reductions: dict[Node, Origins | None] = {}

    def origins(self, tensor: Tensor) -> Origins:
        """Returns where a tensor comes from."""
        if tensor not in self._found:
            self._found[tensor] = self._search(tensor)
        return self._found[tensor]

    def _search(self, start: Tensor) -> Origins:
        batch: set[Tensor] = set()
        variables: set[Node] = set()
        constants: set[Node] = set()
        others: set[Node] = set()
        is_chosen, is_plain = False, True
        seen, waiting = {start}, [start]

        def go_on(tensors: list[Tensor]) -> None:
            for tensor in tensors:
                if tensor not in seen:
                    seen.add(tensor)
                    waiting.append(tensor)

        while waiting:
            node, port = waiting.pop()
            if len(seen) > _MOST or len(others) > 3:
                others.add(node)
                break
            if node.op in VARIABLES:
                (variables if shapes.is_vector((node, 0)) else others).add(node)
            elif node.op == "Const":
                (constants if shapes.is_vector((node, 0)) else others).add(node)
            elif node.op in FUSED and port in (1, 2):
                if node.flag("is_training", True):
                    batch.add((node, port))
                else:
                    go_on([node.inputs[port + 2]])
            elif node.op in _COUNTS or node.op in _COMPARISONS:
                continue
            elif node.op in REDUCTIONS:
                inner = self._inner(node)
                if inner is None:
                    if self._is_of_batch(node):
                        batch.add((node, 0))
                    else:
                        others.add(node)
                else:
                    batch |= inner.batch
                    variables |= inner.variables
                    constants |= inner.constants
                    is_plain = False
            elif node.op in MERGES or node.op in SELECTS:
                live = self.evaluation.live_inputs(node)
                values = live[1:] if node.op in SELECTS and len(live) == 3 else live
                is_loop = any(source.op.endswith("NextIteration") for source, _ in values)
                is_guard = node.op in SELECTS and _is_of_sizes(node.inputs[0])
                is_chosen |= len(values) > 1 and not is_loop and not is_guard
                go_on(values)
            elif node.op in SWITCHES:
                go_on(node.inputs[:1])
            elif node.op in (CALL, "IdentityN"):
                go_on(node.inputs[port : port + 1])
            elif (node.op in IDENTITIES or node.op in RESHAPING) and node.inputs:
                go_on(node.inputs[:1])
            elif node.op in ASSIGNMENTS:
                is_plain = False
                go_on(node.inputs[:2])
            elif node.op == "Relu" and shapes.is_vector((node, 0)):
                is_plain = False  # renorm keeps its variance from being negative
                go_on(node.inputs)
            elif node.op in _ARITHMETIC or node.op in _SEVERAL:
                is_plain = False
                go_on(self.evaluation.live_inputs(node))
            else:
                others.add(node)
        return Origins(
            frozenset(batch),
            frozenset(variables),
            frozenset(constants),
            frozenset(others),
            is_chosen,
            is_plain,
        )

    def _inner(self, node: Node) -> Origins | None:
        """Returns the origins of a reduction's input, if that is itself small; None if it is data.

        A mean over towers or over ghost batches is a mean of statistics.
        """
        if node not in self._reductions:
            self._reductions[node] = None  # A reduction inside a loop may lead to itself.
            inner = self.origins(node.inputs[0])
            self._reductions[node] = inner if inner.is_small and inner.batch else None
        return self._reductions[node]

    def _is_of_batch(self, node: Node) -> bool:
        """Whether a reduction runs over the batch, and leaves a value for each channel."""
        axes, rank = reduced(node)
        if axes is None or 0 not in axes:
            return False
        if rank is not None and len(axes) >= rank:
            return False
        # A mean over the dimensions of a kernel is not one of a batch.
        return not _is_of_weights(node.inputs[0])


def _is_of_sizes(tensor: Tensor) -> bool:
    """Whether a condition is about the size of a batch: it guards against an empty one."""
    seen, waiting = {tensor[0]}, [tensor[0]]
    while waiting and len(seen) < 20:
        node = waiting.pop()
        if node.op in ("Shape", "Size"):
            return True
        for source, _ in node.inputs:
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return False


def _is_of_weights(tensor: Tensor) -> bool:
    for _ in range(20):
        node, port = tensor
        if node.op in VARIABLES:
            return True
        arithmetic = {"Sub", "Mul", "Square", "SquaredDifference", "Add", "AddV2", "RealDiv"}
        if node.op in ("Gather", "GatherV2"):
            return False  # rows of a table, as chosen by the batch
        if node.op in arithmetic or node.op in IDENTITIES or node.op in RESHAPING:
            tensor = node.inputs[port if node.op in (CALL, "IdentityN") else 0]
        else:
            return False
    return False


def reduced(node: Node) -> tuple[set[int] | None, int | None]:
    """Returns the dimensions that a reduction runs over, and the rank of its input, if known."""
    sizes = shapes.shape(node.inputs[0])
    rank = None if sizes is None else len(sizes)
    if len(node.inputs) < 2:
        return None, rank
    source = node.inputs[1][0]
    while source.op in IDENTITIES and source.inputs:
        source = source.inputs[0][0]
    if source.op != "Const":
        return None, rank
    values = array(source)
    if values is None:
        return None, rank
    axes = {int(axis) for axis in values.reshape(-1)}
    if rank is not None:
        axes = {axis % rank if rank else axis for axis in axes}
    return axes, rank


def reduced_data(tensor: Tensor) -> set[Tensor]:
    """Returns the activations that a reduction's input is computed from, element by element."""
    found: set[Tensor] = set()
    waiting = [tensor]
    while waiting and len(found) < _MOST:
        node, port = waiting.pop()
        if (node, port) in found:
            continue
        found.add((node, port))
        if node.op in (CALL, "IdentityN"):
            waiting += node.inputs[port : port + 1]
        elif node.op in IDENTITIES or node.op in RESHAPING or node.op in SWITCHES:
            waiting += node.inputs[:1]
        elif node.op in ("Sub", "Square", "SquaredDifference", "Mul"):
            waiting += node.inputs[:2]
    return found
