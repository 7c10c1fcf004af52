"""The weight of the old value in a moving average, read off its formula."""

from __future__ import annotations

from diagnosis.evaluation import IDENTITIES, MERGES, SELECTS
from diagnosis.layers import Update
from diagnosis.tracing import RESHAPING, Tracer
from diagnosis.view import CALL, Node, Tensor

_DEEPEST = 40


def decay(update: Update, tracer: Tracer) -> float | None:
    """Returns the decay of an update, or None if it varies or is not a plain average."""
    share = _share(update.node.inputs[1], update.variable, update.batch, tracer, _DEEPEST)
    if share is None:
        return None
    if update.node.op.startswith("AssignSub"):
        return 1 - share
    if update.node.op.startswith("AssignAdd"):
        return 1 + share
    return share


def _share(
    tensor: Tensor, variable: Node, batch: frozenset[Tensor], tracer: Tracer, steps: int
) -> float | None:
    """Returns the factor of the variable in a linear expression of it and of a batch."""
    evaluation = tracer.evaluation
    node, port = evaluation.same(tensor)
    if evaluation.value((node, port)) is not None or (node, port) in batch:
        return 0.0
    if node is variable:
        return 1.0
    if not steps or node.op == "":
        return None

    def of(source: Tensor) -> float | None:
        return _share(source, variable, batch, tracer, steps - 1)

    if node.op in (CALL, "IdentityN"):
        return of(node.inputs[port])
    if node.op in IDENTITIES or node.op in RESHAPING:
        return of(node.inputs[0]) if node.inputs else None
    if node.op in MERGES or node.op in SELECTS:
        live = evaluation.live_inputs(node)
        live = live[1:] if node.op in SELECTS and len(live) == 3 else live
        shares = {of(source) for source in live}
        shares.discard(0.0)
        return shares.pop() if len(shares) == 1 else None
    if node.op in ("Add", "AddV2", "Sub") and len(node.inputs) == 2:
        one, other = of(node.inputs[0]), of(node.inputs[1])
        if one is None or other is None:
            return None
        return one - other if node.op == "Sub" else one + other
    if node.op == "Neg":
        inner = of(node.inputs[0])
        return None if inner is None else -inner
    if node.op in ("Mul", "RealDiv") and len(node.inputs) == 2:
        for term, by in (node.inputs, node.inputs[::-1]):
            factor = evaluation.value(by)
            if factor is not None and (node.op == "Mul" or by == node.inputs[1]):
                inner = of(term)
                if inner is None:
                    return None
                return inner * factor if node.op == "Mul" else inner / factor if factor else None
        return 0.0 if _depends_only_on_batch(node, variable, tracer) else None
    return 0.0 if _depends_only_on_batch(node, variable, tracer) else None


def _depends_only_on_batch(node: Node, variable: Node, tracer: Tracer) -> bool:
    return not tracer.origins((node, 0)).variables
