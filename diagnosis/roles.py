"""What ops of a graph are for: which train, which are outputs, which tensor is the phase."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from diagnosis import shapes
from diagnosis.evaluation import IDENTITIES, MERGES, SELECTS, SWITCHES, VARIABLES, Evaluation
from diagnosis.layers import Layers
from diagnosis.tracing import ASSIGNMENTS, Tracer
from diagnosis.view import CALL, Node, Tensor, View, ancestors, descendants

PLACEHOLDERS = {"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"}
_APPLIES = re.compile(r"(Resource)?(Sparse)?Apply[A-Z]|(Resource|Sparse)?AccumulatorApplyGradient")
_BOOL, _RESOURCE = 10, 20
_DEAD_ENDS = re.compile(
    r".*Summary.*|Assert|Save.*|MergeV2Checkpoints|Restore.*|ShardedFilename|NoOp|Const|Print.*"
    r"|VarHandleOp|Variable.*|Placeholder.*|IsVariableInitialized|VarIsInitializedOp|.*Dataset.*"
    r"|Queue.*|Shape|Size|Rank|ZerosLike|OnesLike|BroadcastGradientArgs|.*Apply.*|Assign.*|_Join|Write.*|Timestamp"
)
_LOSSES = {
    "SoftmaxCrossEntropyWithLogits",
    "SparseSoftmaxCrossEntropyWithLogits",
}
_PROBABILITIES = {"Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "TopKV2", "InTopK", "InTopKV2"}


# --- Training ---


def appliers(view: View, tracer: Tracer) -> dict[Node, Node | None]:
    """Returns the ops that apply gradients, with the variables that they change."""
    found: dict[Node, Node | None] = {}
    for node in view.nodes:
        if _APPLIES.match(node.op) and node.inputs:
            variable = tracer.evaluation.same(node.inputs[0])[0]
            found[node] = variable if variable.op in VARIABLES else None
    if not found:  # Optimizers that are written in the graph's own ops, or as scatters.
        for node in view.nodes:
            if node.op in ASSIGNMENTS and len(node.inputs) == 2:
                variable = tracer.evaluation.same(node.inputs[0])[0]
                if variable.op in VARIABLES and _depends_on_gradient(node.inputs[1], variable):
                    found[node] = variable
    return found


def _depends_on_gradient(value: Tensor, variable: Node) -> bool:
    """Whether a value is computed by back-propagation through the variable's use."""
    behind = ancestors([value[0]], through_controls=False)
    if variable not in behind or len(behind) < 8:
        return False
    return any(
        node.op.endswith(("Grad", "BackpropFilter", "BackpropInput", "GradV3", "GradV2"))
        or node.op in ("Conv2DBackpropFilter", "SymbolicGradient")
        for node in behind
    )


def train_ops(view: View, applying: Iterable[Node], collected: Sequence[str]) -> list[Node]:
    """Finds the train ops: what is run last after the gradients are applied.

    Optimizers put their own op into the collection, which a program may group with others; so the
    collection is only asked where no gradients are found.
    """
    named = [view.by_name[name] for name in collected if name in view.by_name]
    return _last_of(applying) or named


def _last_of(starts: Iterable[Node]) -> list[Node]:
    """Returns the ops at the ends of what waits for the given ones."""
    found = set(starts)
    waiting = list(found)
    ends = []
    while waiting:
        node = waiting.pop()
        # A step of a counter, a result that waits for the step; not what it is then used for.
        following = set(node.controlled) | {
            consumer
            for consumer, _ in node.consumers
            if consumer.op in IDENTITIES or consumer.op in MERGES or consumer.op in ASSIGNMENTS
        }
        if not following:
            ends.append(node)
        for consumer in following - found:
            found.add(consumer)
            waiting.append(consumer)
    # Reading a counter after the step is not the step.
    steps = [node for node in ends if node.op != "ReadVariableOp"] or ends
    return sorted(steps, key=lambda node: node.position)


# --- Outputs ---


def outputs(view: View, layers: Layers, trained_by: set[Node]) -> list[Tensor]:
    """Finds the outputs that depend on layers: logits and probabilities, or the last tensors.

    `trained_by` are the nodes that the train ops run. Gradients are not outputs.
    """
    calls = [call.node for layer in layers for call in layer.calls]
    beyond = descendants(calls, through_controls=False)
    gradients = _gradients(view, beyond)
    looped = _in_loops(view)
    forward = [
        node
        for node in view.nodes
        if node in beyond and node not in gradients and node not in looped
    ]
    found: dict[Tensor, None] = {}
    inside = _before_others(beyond)
    for node in forward:
        if node.op in _LOSSES or (node.op in _PROBABILITIES and node not in inside):
            logits = layers.static.evaluation.same(node.inputs[0])
            source = logits[0]
            while source.op == "Reshape" and source.inputs:
                logits = layers.static.evaluation.same(source.inputs[0])
                source = logits[0]
            if source in beyond:
                found[logits] = None
    ends = [
        node
        for node in forward
        if not any(True for c, _ in node.consumers if not _DEAD_ENDS.match(c.op))
        and not _DEAD_ENDS.match(node.op)
        and node not in trained_by
    ]
    if trained_by:
        # Of a training graph, only the ends of what is not trained: an evaluation of its own.
        apart = [node for node in calls if node not in trained_by]
        evaluated = descendants(apart, through_controls=False)
        covered = descendants([node for node, _ in found], through_controls=False)
        ends = [node for node in ends if node in evaluated and node not in covered]
    for node in ends:
        found[node, 0] = None
    if not found and trained_by:
        losses = [
            node
            for node in forward
            if shapes.shape((node, 0)) == [] and not _DEAD_ENDS.fullmatch(node.op)
        ]
        found.update(dict.fromkeys((node, 0) for node in losses[:1]))
    return list(found)


def _in_loops(view: View) -> set[Node]:
    """Returns the nodes inside of loops, which nobody can fetch."""
    found = {node for node in view.nodes if node.op in ("Enter", "RefEnter")}
    waiting = list(found)
    while waiting:
        for consumer, _ in waiting.pop().consumers:
            if consumer not in found and consumer.op not in ("Exit", "RefExit", CALL):
                found.add(consumer)
                waiting.append(consumer)
    return found


def _before_others(beyond: set[Node]) -> set[Node]:
    """Returns the nodes with more of the network after them: gates and attention, not outputs."""
    heavy = {"Conv2D", "MatMul", "BatchMatMul", "BatchMatMulV2", "Conv2DBackpropInput"}
    return ancestors([node for node in beyond if node.op in heavy], through_controls=False)


def _gradients(view: View, beyond: set[Node]) -> set[Node]:
    """Returns the nodes that only serve to change variables."""
    writers = {n for n in view.nodes if _APPLIES.match(n.op) or n.op in ASSIGNMENTS}
    only = set(writers)
    for node in reversed(view.nodes):
        if node in beyond and node not in only:
            following = [consumer for consumer, _ in node.consumers]
            if following and all(consumer in only for consumer in following):
                only.add(node)
    return only


# --- Phases ---


class Phase:
    """A scalar that decides between statistics of the batch and of the population.

    Attributes:
        node: a placeholder or a variable.
        training, inference: its values in both.
        default: the value of a placeholder that is not fed, or None.
    """

    def __init__(self, node: Node, training: float, default: float | None):
        self.node = node
        self.training = training
        self.inference = 1.0 - training
        self.default = default


def phases(view: View, layers: Layers) -> list[Phase]:
    """Finds the phases of a graph."""
    found = []
    for node in _candidates(view, layers)[:8]:
        sides = [_training_score(layers, Evaluation(view, {node: value})) for value in (0.0, 1.0)]
        if sides[0] != sides[1]:
            default = None
            if node.op == "PlaceholderWithDefault":
                default = layers.static.evaluation.value(node.inputs[0])
            found.append(Phase(node, float(sides[1] > sides[0]), default))
    return found


def _training_score(layers: Layers, evaluation: Evaluation) -> tuple[int, int]:
    """Says how much a graph trains: by the batch and not by the population, and with updates."""
    tracer = Tracer(evaluation)
    batch = updates = 0
    for layer in layers:
        batch += sum(
            {"batch": 2, "either": 1, "population": -1}.get(mode(call, tracer) or "", 0)
            for call in layer.calls
        )
        updates += sum(changes(update.node, tracer) for update in layer.updates)
    return batch, updates


def _candidates(view: View, layers: Layers) -> list[Node]:
    """Returns the scalars that conditions around the layers depend on."""
    calls = [call.node for layer in layers for call in layer.calls]
    updates = [update.node for layer in layers for update in layer.updates]
    around = ancestors([*calls, *updates])
    around |= descendants(calls, through_controls=False)
    # A loop's condition is no phase, and a predicate is a scalar of few ops.
    conditions = set()
    for node in view.nodes:
        if node not in around:
            continue
        if node.op in SWITCHES and len(node.inputs) == 2:
            conditions.add(node.inputs[1])
        elif node.op in SELECTS and len(node.inputs) == 3:
            conditions.add(node.inputs[0])
        elif node.op == "Mul" and node in around:
            conditions |= {t for t in node.inputs if t[0].op in ("Cast", "ToFloat", "Sub")}
    found: dict[Node, None] = {}
    for start in sorted(conditions, key=lambda tensor: tensor[0].position):
        seen, waiting = {start[0]}, [start[0]]
        while waiting and len(seen) < 40:
            node = waiting.pop()
            if node.op in PLACEHOLDERS or node.op in VARIABLES:
                if _may_be_phase(node):
                    found[node] = None
                continue
            if shapes.shape((node, 0)) not in ([], None):
                continue
            for source, _ in node.inputs:
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)
    return sorted(found, key=lambda node: not _is_bool(node))


def _is_bool(node: Node) -> bool:
    return node.has("dtype") and node.attr["dtype"].type in (_BOOL, _BOOL + 100)


def _may_be_phase(node: Node) -> bool:
    sizes = shapes.shape((node, 0))
    if _is_bool(node):
        return True
    if sizes is None and node.op == "PlaceholderWithDefault":
        sizes = shapes.shape(node.inputs[0])
    return sizes == [] and not (node.has("dtype") and node.attr["dtype"].type == 7)


# --- Modes ---


def mode(call: object, tracer: Tracer) -> str | None:
    """Returns what a call normalizes with: "batch", "population", "either", or None if not run."""
    from diagnosis.layers import Call

    assert isinstance(call, Call)
    if call.node in tracer.evaluation.dead:
        return None
    if call.mean is None and call.var is None:
        return "batch"
    origins = [tracer.origins(tensor) for tensor in (call.mean, call.var) if tensor is not None]
    if any(one.batch for one in origins):
        has_other = any(one.variables or one.constants for one in origins)
        return "either" if has_other and any(one.is_chosen for one in origins) else "batch"
    return "population"


def changes(update: Node, tracer: Tracer) -> bool:
    """Whether an assignment is run, and changes its variable."""
    evaluation = tracer.evaluation
    if update in evaluation.dead:
        return False
    value = update.inputs[1]
    if update.op.startswith(("AssignAdd", "AssignSub")):
        return evaluation.value(value) != 0
    if evaluation.same(value)[0] is evaluation.same(update.inputs[0])[0]:
        return False
    return True


def is_write(node: Node) -> bool:
    """Whether an op changes a variable."""
    return node.op in ASSIGNMENTS or _APPLIES.match(node.op) is not None or "Scatter" in node.op


def is_output_of(tensor: Tensor, calls: set[Node], evaluation: Evaluation) -> bool:
    """Whether a tensor depends on one of the calls."""
    return any(node in calls for node, _ in evaluation.behind([tensor]))
