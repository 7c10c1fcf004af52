"""Rules 1xx, and 403 and 406 which are about the same ops: which updates run, and when."""

from __future__ import annotations

import os
from collections.abc import Iterator

from diagnosis import roles, shapes
from diagnosis.facts import Facts
from diagnosis.findings import Finding, finding, several
from diagnosis.layers import Call, Layer, Update
from diagnosis.view import Node, ancestors, descendants


def findings(facts: Facts) -> Iterator[Finding]:
    """Yields what is wrong with the updates in training, and those that run in evaluation."""
    if facts.train_ops:
        yield from _useless_train_ops(facts)
        yield from _updates_in_training(facts)
        yield from _repeated(facts)
    yield from _updates_in_evaluation(facts)


# --- 101, 102, 104: updates that do not run ---


def _updates_in_training(facts: Facts) -> Iterator[Finding]:
    idle: list[Layer] = []
    partly: list[Layer] = []
    running: list[Layer] = []
    for layer in facts.layers:
        trained = facts.trained_calls(layer)
        if not trained:
            continue
        possible = [u for u in layer.updates if roles.changes(u.node, facts.training)]
        if not possible:
            yield from _without_updates(facts, layer, trained)
            continue
        run = {update.variable for update in facts.updates_run(layer)}
        if not run:
            idle.append(layer)
        elif {update.variable for update in possible} - run and _lacks_a_side(layer, run):
            partly.append(layer)
        else:
            running.append(layer)
    rule = "BN104" if running else "BN101"
    waiting = {layer: _waiting_loss(facts, layer.updates) for layer in idle}
    for layer in idle:
        yield _idle(facts, layer, rule, waiting[layer])
    if rule == "BN101":
        yield from _dead_dependencies(facts, waiting)
    for layer in partly:
        run = {update.variable for update in facts.updates_run(layer)}
        left = [node.name for node in layer.population if node not in run]
        yield finding("BN104", "error", layer.name, f"the train op does not update {several(left)}")


def _lacks_a_side(layer: Layer, run: set[Node]) -> bool:
    """Whether neither of the means, or neither of the variances, is updated."""
    return any(side and run.isdisjoint(side) for side in (layer.means, layer.variances))


def _idle(facts: Facts, layer: Layer, rule: str, waiting: Node | None) -> Finding:
    """Says that a layer's updates are not run; or that something else may run them."""
    names = [update.node.name for update in layer.updates]
    gathered = _gathered_in(layer.updates) or waiting
    runs = "the train op" if len(facts.train_ops) == 1 else "any train op"
    if gathered is not None:
        return finding(
            rule,
            "cannot_tell",
            layer.name,
            f"its updates are not run by {runs}, but {gathered.name} runs them: fine if the "
            "program fetches that with each step, as a hook does",
        )
    return finding(rule, "error", layer.name, f"{several(names)}: not run by {runs}")


def _gathered_in(updates: list[Update]) -> Node | None:
    """Returns an op that only gathers updates, and that a program may run besides the train op."""
    gathered: dict[Node, set[Node]] = {}
    for update in updates:
        for node in descendants([update.node]):
            if node.op == "NoOp" and not node.controlled and not node.consumers:
                gathered.setdefault(node, set()).add(update.variable)
    # Of several towers, the updates of one are enough.
    variables = {update.variable for update in updates}
    ends = [node for node, found in gathered.items() if found == variables]
    return min(ends, key=lambda node: node.position, default=None)


def _without_updates(facts: Facts, layer: Layer, trained: list[Call]) -> Iterator[Finding]:
    parameters = [node for node in (layer.scale, layer.offset) if node is not None]
    if parameters and not any(node in facts.trainable for node in parameters):
        yield finding(
            "BN401",
            "warning",
            layer.name,
            "scale and beta are frozen, the layer still normalizes with the batch, and its "
            "statistics are never updated",
        )
        return
    known = layer.population or _orphans(facts, layer, trained)
    if known:
        names = several([node.name for node in known])
        yield finding(
            "BN102",
            "error",
            layer.name,
            f"it normalizes with the batch, and nothing ever updates {names}",
        )
    else:
        yield finding(
            "BN102",
            "warning",
            layer.name,
            "it normalizes with the batch, and has no population statistics",
        )


def _orphans(facts: Facts, layer: Layer, trained: list[Call]) -> list[Node]:
    """Returns variables that look made for a layer's statistics, and that nothing uses."""
    parameters = [node for node in (layer.scale, layer.offset) if node is not None]
    if not parameters:
        return []
    size = shapes.channels((parameters[0], 0))
    used_by = {"Assign", "AssignVariableOp", "SaveV2", "Save", "VarIsInitializedOp"}
    found = []
    for node in facts.variables:
        if node in facts.trainable or shapes.channels((node, 0)) != size:
            continue
        if node in facts.appliers.values() or shapes.shape((node, 0)) == []:
            continue
        if all(_only_saves(consumer, used_by) for consumer, _ in node.consumers):
            found.append(node)
    # Those that were made with the layer are called like its scale or beta.
    nearness = {node: len(os.path.commonprefix([node.name, parameters[0].name])) for node in found}
    return sorted(found, key=lambda node: -nearness[node])[:2] if len(found) > 1 else []


def _only_saves(node: Node, used_by: set[str], steps: int = 4) -> bool:
    if node.op in used_by or node.op in ("IsVariableInitialized",):
        return True
    # An average that is computed, and assigned to nothing, is not used either.
    if node.op in ("Identity", "ReadVariableOp", "Mul", "Add", "AddV2", "Sub") and steps:
        return all(_only_saves(consumer, used_by, steps - 1) for consumer, _ in node.consumers)
    return False


# --- 103: updates that run too often ---


def _updates_in_evaluation(facts: Facts) -> Iterator[Finding]:
    for layer in facts.layers:
        run: dict[str, None] = {}
        for update in layer.updates:
            if update.node not in facts.run_by_outputs:
                continue
            if not roles.changes(update.node, facts.inference):
                continue
            if _is_only_training(facts, layer, update):
                continue
            run[update.node.name] = None
        if run:
            what = f"fetching {_outputs(facts)} runs {several(list(run))}"
            if facts.phases:
                what += f", also when {facts.phases[0].node.name} says inference"
            yield finding("BN103", "error", layer.name, what)


def _is_only_training(facts: Facts, layer: Layer, update: Update) -> bool:
    """Whether an update runs with outputs of a training graph that has no other phase."""
    if not facts.is_training_graph:
        return False
    if any(facts.has_phase(call) for call in layer.calls):
        return False
    for output in facts.outputs:
        if update.node not in facts.inference.evaluation.executed([output[0]]):
            continue
        calls = facts.calls_behind(output)
        if not any(facts.is_learned_from(call) for _, call in calls):
            return False
    return not (facts.phases and _phase_of(facts, update))


def _phase_of(facts: Facts, update: Update) -> bool:
    return roles.changes(update.node, facts.training) != roles.changes(update.node, facts.inference)


def _outputs(facts: Facts) -> str:
    return several([node.name for node, _ in facts.outputs])


# --- 403: several updates a step ---


def _repeated(facts: Facts) -> Iterator[Finding]:
    for layer in facts.layers:
        run = facts.updates_run(layer)
        for variable in layer.population:
            writing = [update for update in run if update.variable is variable]
            statistics = {update.batch for update in writing}
            if len(statistics) > 1 and _in_one_step(facts, writing):
                names = several([update.node.name for update in writing])
                yield finding(
                    "BN403",
                    "warning",
                    layer.name,
                    f"{variable.name} is updated {len(statistics)} times a step: {names}",
                )
                break


def _in_one_step(facts: Facts, updates: list[Update]) -> bool:
    for train_op in facts.train_ops:
        run = facts.training.evaluation.executed([train_op])
        if sum(update.node in run for update in updates) > 1:
            return True
    return False


# --- 406: train ops that do nothing ---


def _useless_train_ops(facts: Facts) -> Iterator[Finding]:
    for train_op in facts.train_ops:
        run = facts.training.evaluation.executed([train_op])
        writes = [node for node in run if node in facts.appliers or roles.is_write(node)]
        if not writes:
            severity = "error" if facts.are_train_ops_named else "cannot_tell"
            yield finding("BN406", severity, None, f"{train_op.name} changes no variable")
            continue
    if not facts.trained_by.isdisjoint(facts.appliers):
        yield from _tensors_for_updates(facts)


def _tensors_for_updates(facts: Facts) -> Iterator[Finding]:
    """Finds train ops that wait for statistics, where they should wait for updates."""
    owners: dict[Node, Layer] = {}
    for layer in facts.layers:
        if facts.trained_calls(layer) and not facts.updates_run(layer):
            of_batch = [node for update in layer.updates for node, _ in update.batch]
            owners.update(dict.fromkeys([*layer.population, *of_batch], layer))
    for node in facts.view.nodes if owners else ():
        if node not in facts.trained_by:
            continue
        for source in node.controls:
            owner = owners.get(facts.training.evaluation.same((source, 0))[0])
            if owner is not None:
                yield finding(
                    "BN406",
                    "error",
                    owner.name,
                    f"{node.name} waits for {source.name}, which reads the statistics, not "
                    "for the op that updates them",
                )
                return


def _dead_dependencies(facts: Facts, idle: dict[Layer, Node | None]) -> Iterator[Finding]:
    """Finds control dependencies for the updates of idle layers that do not reach the train op.

    Made around the constructor of an optimizer, or around a train op that is there already, they
    leave no op that waits.
    """
    for layer, waiting in idle.items():
        if waiting is not None:
            yield finding(
                "BN406",
                "warning",
                layer.name,
                f"{waiting.name} waits for its updates, but the train op does not run it: gradients"
                " are computed without a loss's value. Fine if each step fetches it",
            )
            return
    collected = set(facts.collection("update_ops"))
    if any(update.node in collected for layer in idle for update in layer.updates):
        yield finding(
            "BN406",
            "cannot_tell",
            None,
            "control dependencies made around an optimizer's constructor, or around a train op that"
            " is there already, leave no trace: if the program has such for the updates, they do "
            "nothing",
        )


def _waiting_loss(facts: Facts, updates: list[Update]) -> Node | None:
    """Returns a scalar that waits for all updates and depends on layers: a step may fetch it."""
    calls = {call.node for layer in facts.layers for call in layer.calls}
    found = set.intersection(*(descendants([update.node]) for update in updates))
    for node in sorted(found - facts.trained_by, key=lambda node: node.position):
        if node.op == "Identity" and shapes.shape((node, 0)) == []:
            if not calls.isdisjoint(ancestors([node], through_controls=False)):
                return node
    return None
