"""What of a graph is computed, and from what, once some of its scalars are known.

The scalar is usually the phase, a placeholder. In one pass over the graph an `Evaluation` finds out
which branches are then dead, which tensors are the same as others, and which have a known value: an
update whose decay is 1 in evaluation, or that assigns what is there, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from diagnosis.view import CALL, JOIN, Node, Tensor, View, sources

IDENTITIES = {
    "Identity",
    "RefIdentity",
    "IdentityN",
    "StopGradient",
    "PreventGradient",
    "EnsureShape",
    "Snapshot",
    "CheckNumerics",
    "ReadVariableOp",
    "Enter",
    "RefEnter",
    "Exit",
    "NextIteration",
    "LoopCond",
    "Print",
    "PrintV2",
    "ShapeN",
    CALL,
}
MERGES = {"Merge", "RefMerge", "_CaseMerge"}
SWITCHES = {"Switch", "RefSwitch"}
SELECTS = {"Select", "SelectV2", "Where"}
VARIABLES = {"VariableV2", "Variable", "VarHandleOp", "AutoReloadVariable", "TemporaryVariable"}
# These change the shape of a value that is the same everywhere, but not the value.
_RESHAPES = {
    "Reshape",
    "ExpandDims",
    "Squeeze",
    "Tile",
    "BroadcastTo",
    "Cast",
    "Transpose",
    "Slice",
    "StridedSlice",
    "Mean",
    "Max",
    "Min",
}
_ARITHMETIC: dict[str, Any] = {
    "Add": lambda a, b: a + b,
    "AddV2": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "RealDiv": lambda a, b: a / b if b else None,
    "Div": lambda a, b: a / b if b else None,
    "Pow": lambda a, b: a**b if a > 0 else None,
    "Maximum": max,
    "Minimum": min,
    "Equal": lambda a, b: float(a == b),
    "NotEqual": lambda a, b: float(a != b),
    "Greater": lambda a, b: float(a > b),
    "GreaterEqual": lambda a, b: float(a >= b),
    "Less": lambda a, b: float(a < b),
    "LessEqual": lambda a, b: float(a <= b),
    "LogicalAnd": lambda a, b: float(bool(a) and bool(b)),
    "LogicalOr": lambda a, b: float(bool(a) or bool(b)),
}
_FUNCTIONS: dict[str, Any] = {
    "Neg": lambda a: -a,
    "LogicalNot": lambda a: float(not a),
    "Square": lambda a: a * a,
    "Sqrt": lambda a: a**0.5 if a >= 0 else None,
    "Rsqrt": lambda a: a**-0.5 if a > 0 else None,
    "OnesLike": lambda a: 1.0,
    "Reciprocal": lambda a: 1 / a if a else None,
}


class Evaluation:
    """A graph in which some scalars are known.

    Attributes:
        known: dict of values by node: placeholders, or variables.
        dead: set of the nodes that are then not run, whatever is fetched.
    """

    def __init__(self, view: View, known: Mapping[Node, float] | None = None):
        """Passes over the graph once."""
        self.view = view
        self.known = dict(known or {})
        self.dead: set[Node] = set()
        self._dead_ports: set[Tensor] = set()
        self._same: dict[Tensor, Tensor] = {}
        self._values: dict[Tensor, float] = {}
        for node in view.nodes:
            self._pass(node)

    # --- What is asked of it ---

    def value(self, tensor: Tensor) -> float | None:
        """Returns the value that every element of a tensor has, or None if it is not known."""
        return self._values.get(tensor)

    def same(self, tensor: Tensor) -> Tensor:
        """Returns the tensor that this one only passes on: of a variable, the variable."""
        return self._same.get(tensor, tensor)

    def is_dead(self, tensor: Tensor) -> bool:
        """Whether a tensor is on a branch that is not taken."""
        return tensor in self._dead_ports or tensor[0] in self.dead

    def live_inputs(self, node: Node) -> list[Tensor]:
        """Returns the inputs that may decide a node's value: of a choice that is known, one."""
        if node.op in MERGES:
            return [tensor for tensor in node.inputs if not self.is_dead(tensor)]
        if node.op in SELECTS and len(node.inputs) == 3:
            choice = self.value(node.inputs[0])
            if choice is not None:
                return [node.inputs[1 if choice else 2]]
        if node.op == "Mul" or node.op == "MulNoNan":
            if 0 in (self.value(node.inputs[0]), self.value(node.inputs[1])):
                return []
        return node.inputs

    def executed(self, fetches: Iterable[Node]) -> set[Node]:
        """Returns the nodes that are run if these are fetched."""
        found = set(fetches)
        waiting = list(found)
        while waiting:
            for source in sources(waiting.pop()):
                if source not in found:
                    found.add(source)
                    waiting.append(source)
        return found - self.dead

    def behind(self, tensors: Iterable[Tensor]) -> set[Tensor]:
        """Returns the tensors that the values of these depend on, with themselves."""
        found = set(tensors)
        waiting = list(found)
        while waiting:
            tensor = waiting.pop()
            if tensor in self._values or self.is_dead(tensor):
                continue
            node, port = tensor
            inputs = self.live_inputs(node)
            if node.op in SWITCHES:
                inputs = node.inputs[:1]
            elif node.op in (CALL, "IdentityN") and port < len(node.inputs):
                inputs = [node.inputs[port]]
            for source in inputs:
                if source not in found:
                    found.add(source)
                    waiting.append(source)
        return found

    # --- The pass ---

    def _pass(self, node: Node) -> None:
        if self._is_not_run(node):
            self.dead.add(node)
            return
        if node in self.known:
            self._values[node, 0] = self.known[node]
        elif node.op == "Const":
            value = constant(node)
            if value is not None:
                self._values[node, 0] = value
        elif node.op in SWITCHES and len(node.inputs) == 2:
            choice = self.value(node.inputs[1])
            if choice is not None:
                self._dead_ports.add((node, 0 if choice else 1))
            for port in (0, 1):
                self._pass_on((node, port), node.inputs[0])
        elif node.op in MERGES:
            live = self.live_inputs(node)
            if len(live) == 1:
                self._pass_on((node, 0), live[0])
            else:
                self._pass_on_common((node, 0), live)
        elif node.op in (CALL, "IdentityN"):
            for port, tensor in enumerate(node.inputs):
                if self.is_dead(tensor):
                    self._dead_ports.add((node, port))
                self._pass_on((node, port), tensor)
        elif node.op in IDENTITIES and node.inputs:
            self._pass_on((node, 0), node.inputs[0])
        elif node.op in SELECTS and len(node.inputs) == 3:
            chosen = self.live_inputs(node)
            if len(chosen) == 1:
                self._pass_on((node, 0), chosen[0])
            else:
                self._pass_on_common((node, 0), chosen[1:])
        else:
            self._compute(node)

    def _is_not_run(self, node: Node) -> bool:
        if node.op in MERGES:
            forward = [t for t in node.inputs if not t[0].op.endswith("NextIteration")]
            return bool(forward) and all(map(self.is_dead, forward))
        if node.op == JOIN:  # Each branch's ops are dead by themselves.
            return False
        if node.op == CALL:  # Its outputs may be dead one by one.
            return any(source in self.dead for source in node.controls)
        return any(map(self.is_dead, node.inputs)) or any(n in self.dead for n in node.controls)

    def _pass_on(self, tensor: Tensor, source: Tensor) -> None:
        self._same[tensor] = self.same(source)
        if source in self._values:
            self._values[tensor] = self._values[source]

    def _pass_on_common(self, tensor: Tensor, sources: list[Tensor]) -> None:
        values = {self.value(source) for source in sources}
        if len(values) == 1 and None not in values:
            self._values[tensor] = values.pop()  # type: ignore[assignment]
        same = {self.same(source) for source in sources}
        if len(same) == 1:
            self._same[tensor] = same.pop()

    def _compute(self, node: Node) -> None:
        values = [self._values.get(tensor) for tensor in node.inputs]
        tensor = (node, 0)
        result = None
        if node.op in _RESHAPES and values:
            result = values[0]
        elif node.op in _FUNCTIONS and len(values) == 1 and values[0] is not None:
            result = _FUNCTIONS[node.op](values[0])
        elif node.op == "ZerosLike":
            result = 0.0
        elif node.op == "OnesLike":
            result = 1.0
        elif node.op == "Fill" and len(values) == 2:
            result = values[1]
        elif node.op in ("Mul", "MulNoNan") and 0.0 in values:
            result = 0.0
        elif node.op == "LogicalAnd" and 0.0 in values:
            result = 0.0
        elif node.op == "LogicalOr" and any(values):
            result = 1.0
        elif node.op in _ARITHMETIC and len(values) == 2 and None not in values:
            result = _arithmetic(node.op, values)
        elif node.op in ("Add", "AddV2", "Sub", "Mul") and len(values) == 2:
            self._simplify(node, values)
            return
        if result is not None:
            self._values[tensor] = result

    def _simplify(self, node: Node, values: list[float | None]) -> None:
        """Sees that a + 0, a - 0 and 1 * a are a, and that a - a is 0."""
        first, second = node.inputs
        neutral = 1.0 if node.op == "Mul" else 0.0
        if values[1] == neutral:
            self._pass_on((node, 0), first)
        elif values[0] == neutral and node.op != "Sub":
            self._pass_on((node, 0), second)
        elif node.op == "Sub" and self.same(first) == self.same(second):
            self._values[node, 0] = 0.0


def _arithmetic(op: str, values: list[Any]) -> float | None:
    try:
        return _ARITHMETIC[op](*values)
    except (OverflowError, ZeroDivisionError):
        return None


def constant(node: Node) -> float | None:
    """Returns the value that all elements of a Const have, or None."""
    proto = node.attr["value"].tensor
    if len(proto.string_val) or proto.dtype in (7, 20, 21):  # strings, resources, variants
        return None
    dims = [dim.size for dim in proto.tensor_shape.dim]
    count = 1
    for size in dims:
        count *= size
    if not count:
        return None
    for field in ("float_val", "int_val", "bool_val", "double_val", "int64_val"):
        values = getattr(proto, field)
        if len(values):
            return float(values[0]) if len(values) == 1 or len(set(values)) == 1 else None
    if proto.half_val or proto.tensor_content:
        values = array(node)
        if values is None or values.dtype.kind not in "fiub":
            return None
        flat = values.reshape(-1)
        return float(flat[0]) if (flat == flat[0]).all() else None
    return 0.0  # TensorFlow writes nothing for a tensor of zeros.


def array(node: Node) -> Any:
    """Returns the value of a Const as a numpy array, or None if it can't be read."""
    from tensorflow.python.framework import tensor_util

    try:
        return tensor_util.MakeNdarray(node.attr["value"].tensor)
    except (ValueError, TypeError):
        return None
