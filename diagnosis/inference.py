"""Rules 2xx: what the outputs depend on in inference."""

from __future__ import annotations

from collections.abc import Iterator

from diagnosis import roles
from diagnosis.evaluation import MERGES
from diagnosis.facts import Facts
from diagnosis.findings import Finding, finding, several
from diagnosis.layers import Call, Layer
from diagnosis.view import Node, descendants


def findings(facts: Facts) -> Iterator[Finding]:
    """Yields what is wrong with the outputs, where they are those of inference."""
    yield from _outputs_of_batch(facts)
    yield from _phases(facts)


def _outputs_of_batch(facts: Facts) -> Iterator[Finding]:
    using: dict[Layer, dict[str, None]] = {}
    unsure: dict[Layer, dict[str, None]] = {}
    for output in facts.outputs:
        behind = facts.calls_behind(output)
        modes = {call.node: roles.mode(call, facts.inference) for _, call in behind}
        for layer, call in behind:
            found = modes[call.node]
            if found == "either":
                unsure.setdefault(layer, {})[output[0].name] = None
            elif found == "batch":
                kind = using if _is_certain(facts, call) else unsure
                kind.setdefault(layer, {})[output[0].name] = None
    for layer in facts.layers:
        choice = None if layer in using else _unused_choice(facts, layer)
        if choice is not None:
            yield finding(
                "BN201",
                "error",
                layer.name,
                f"{choice.name} chooses between statistics of the batch and of the population, "
                "but nothing uses it: the layer normalizes with the batch in either phase",
            )
    for layer, names in using.items():
        yield finding(
            "BN201",
            "error",
            layer.name,
            f"{several(list(names))} depends on statistics of the batch"
            + (f", also when {_phase(facts)} says inference" if facts.phases else ""),
        )
    # Beside an evaluation of its own, what is trained is not what is evaluated.
    evaluated = {
        layer
        for output in facts.outputs
        for layer, call in facts.calls_behind(output)
        if facts.is_training_graph and not facts.is_learned_from(call)
    }
    left = [layer for layer in unsure if layer not in using and layer not in evaluated]
    if left:
        layer = left[0]
        shown = several(list(unsure[layer]))
        yield finding(
            "BN201",
            "cannot_tell",
            layer.name if len(left) == 1 else None,
            f"{shown} depends on statistics of the batch in {len(left)} layers: right in training, "
            "wrong if the program also evaluates with it",
        )


def _is_certain(facts: Facts, call: Call) -> bool:
    """Whether a call that uses the batch in inference is known to be one of inference.

    A training graph without a phase shows how the network trains, and may have a graph for
    inference beside it. But where others that are trained have a phase, or nothing is learned from
    the call, it was meant to be used.
    """
    if not facts.is_training_graph:
        return True
    if not facts.is_learned_from(call):
        return True
    if not facts.is_phase_trained:
        return False
    # Of several networks that train each other, one may have no inference: a discriminator.
    return facts.are_outputs_named or len(facts.train_ops) == 1


def _unused_choice(facts: Facts, layer: Layer) -> Node | None:
    """Returns a choice between a layer's statistics that does not lead to any of its calls."""
    static = facts.layers.static
    batch = {statistic for update in layer.updates for statistic in update.batch}
    if not batch or any(facts.mode(call) != "batch" for call in layer.calls):
        return None
    if any(facts.has_phase(call) for call in layer.calls):
        return None
    calls = {call.node for call in layer.calls}
    for node in descendants([node for node, _ in batch], through_controls=False):
        if node.op in MERGES and calls.isdisjoint(descendants([node])):
            origins = static.origins((node, 0))
            is_of_both = origins.batch & batch and origins.variables & set(layer.population)
            if origins.is_small and origins.is_chosen and is_of_both and origins.is_plain:
                return node
    return None


def _phase(facts: Facts) -> str:
    return facts.phases[0].node.name


def _phases(facts: Facts) -> Iterator[Finding]:
    if facts.is_training_graph:
        return
    needed: set[Node] = set()
    for output in facts.outputs:
        needed |= {node for node, _ in facts.layers.static.evaluation.behind([output])}
    reached = {node for node, _ in facts.outputs} | needed
    run = facts.layers.static.evaluation.executed(reached)
    for phase in facts.phases:
        if phase.node not in run or phase.node.op not in roles.PLACEHOLDERS:
            continue
        if phase.default is None:
            yield finding(
                "BN202",
                "warning",
                None,
                f"{phase.node.name} has no default, so each run has to feed "
                f"{bool(phase.inference)}",
            )
        elif phase.default == phase.training:
            yield finding(
                "BN202",
                "error",
                None,
                f"{phase.node.name} means training unless it is fed {bool(phase.inference)}",
            )
