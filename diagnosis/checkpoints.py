"""Rules 301, 302, 304 and 305: the population statistics in a checkpoint, and what is saved."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from console.errors import InputError, reason
from diagnosis import decays
from diagnosis.evaluation import VARIABLES, array
from diagnosis.facts import Facts
from diagnosis.findings import Finding, finding, several
from diagnosis.layers import Layer
from diagnosis.view import Node, Tensor

# Variances below this are those of a constant channel, in float32.
DEAD = 1e-12
# Shares of the initial value that an average still holds: of less, nobody sees an effect.
SLOW = 0.05


class Checkpoint:
    """The values of a checkpoint, by the names of a graph's variables."""

    def __init__(self, prefix: str, keys: dict[str, str] | None = None):
        """Raises InputError if there is none, or if it is damaged.

        `keys` are those under which a graph's own Saver keeps variables, by their names.
        """
        import tensorflow.compat.v1 as tf

        self.prefix = prefix
        self._own_keys = keys or {}
        if not (pathlib.Path(f"{prefix}.index").exists() or pathlib.Path(prefix).is_file()):
            there = sorted(
                path.with_suffix("") for path in pathlib.Path(prefix).parent.glob("*.index")
            )
            hint = f"; did you mean {there[-1]}?" if there else ""
            raise InputError(f"--checkpoint: expected a checkpoint's prefix, found {prefix}{hint}")
        try:
            self._reader = tf.train.load_checkpoint(prefix)
            self.shapes = dict(self._reader.get_variable_to_shape_map())
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{prefix}: expected a checkpoint, found a damaged file: {reason(error)}"
            ) from error

    @functools.cached_property
    def keys(self) -> dict[str, str]:
        """The key of each variable, by its name: in checkpoints of TF2 they differ."""
        from tensorflow.core.protobuf import trackable_object_graph_pb2

        names = {name: name for name in self.shapes}
        if "_CHECKPOINTABLE_OBJECT_GRAPH" in self.shapes:
            objects = trackable_object_graph_pb2.TrackableObjectGraph()
            objects.ParseFromString(self._reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
            for node in objects.nodes:
                for attribute in node.attributes:
                    if attribute.full_name:
                        names[attribute.full_name] = attribute.checkpoint_key
        own = {name: key for name, key in self._own_keys.items() if key in self.shapes}
        return {**names, **own}

    @property
    def is_of_objects(self) -> bool:
        """Whether keys are paths of objects, so that names may say nothing."""
        return "_CHECKPOINTABLE_OBJECT_GRAPH" in self.shapes

    def has(self, name: str) -> bool:
        """Whether it has a value for a variable."""
        return self.keys.get(name) in self.shapes

    def value(self, name: str) -> Any:
        """Returns a value as a numpy array, or None; raises InputError if it is damaged."""
        import tensorflow.compat.v1 as tf

        if not self.has(name):
            return None
        try:
            return self._reader.get_tensor(self.keys[name])
        except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
            raise InputError(f"{self.prefix}: {name} can't be read: {reason(error)}") from error


def keys_of(facts: Facts) -> dict[str, str]:
    """Returns the keys under which the Savers in a graph keep variables, by these names."""
    found: dict[str, str] = {}
    same = facts.layers.static.evaluation.same
    for node in facts.view.nodes:
        if node.op == "SaveV2" and len(node.inputs) > 3:
            for key, tensor in zip(_strings(facts, node.inputs[1]), node.inputs[3:], strict=False):
                variable = same(tensor)[0]
                if variable.op in VARIABLES:
                    found.setdefault(variable.name, key)
        elif node.op in ("Assign", "AssignVariableOp") and len(node.inputs) == 2:
            reader, port = same(node.inputs[1])
            if reader.op == "RestoreV2":
                keys = _strings(facts, reader.inputs[1])
                if port < len(keys):
                    found.setdefault(same(node.inputs[0])[0].name, keys[port])
    return found


def _strings(facts: Facts, tensor: Tensor) -> list[str]:
    node = facts.layers.static.evaluation.same(tensor)[0]
    values = array(node) if node.op == "Const" else None
    return [] if values is None else [value.decode() for value in values.reshape(-1)]


def findings(facts: Facts, checkpoint: Checkpoint | None) -> Iterator[Finding]:
    """Yields what is wrong with what is saved, and with the values in a checkpoint."""
    yield from _savers(facts)
    if checkpoint is None:
        yield from _frozen_values(facts)
        return
    variables = [node.name for node in facts.variables]
    if checkpoint.is_of_objects and not all(map(checkpoint.has, _statistics(facts))):
        yield finding(
            "BN301",
            "cannot_tell",
            None,
            "the checkpoint is one of objects, and does not say which of them are the statistics",
            "checkpoint",
        )
        return
    if facts.variables and not any(map(checkpoint.has, variables)):
        raise InputError(
            f"{checkpoint.prefix}: expected a checkpoint of this graph, found none of its "
            f"{len(variables)} variables, such as {variables[0]}"
        )
    steps = _steps(facts, checkpoint)
    is_trained = _is_trained(facts, checkpoint, steps)
    for layer in facts.layers:
        missing = [node.name for node in layer.population if not checkpoint.has(node.name)]
        lacks_all = missing and len(missing) == len(layer.population)
        if lacks_all or (missing and _is_needed(layer, missing)):
            yield finding(
                "BN301",
                "error",
                layer.name,
                f"the checkpoint lacks {several(missing)}",
                "checkpoint",
            )
        if lacks_all:
            continue
        means = [v for v in (checkpoint.value(n.name) for n in layer.means) if v is not None]
        variances = [
            v for v in (checkpoint.value(n.name) for n in layer.variances) if v is not None
        ]
        scale = checkpoint.value(layer.scale.name) if layer.scale is not None else None
        if _is_used(facts, layer):
            yield from _initial(facts, layer, checkpoint, is_trained)
        yield from _impossible(layer, means, variances, scale, "checkpoint")
        if steps:
            yield from _slow(facts, layer, steps)


def _is_used(facts: Facts, layer: Layer) -> bool:
    """Whether training or inference runs a layer: others have no statistics to learn."""
    return any(call.node in facts.trained_by | facts.run_by_outputs for call in layer.calls)


def _statistics(facts: Facts) -> list[str]:
    return [node.name for layer in facts.layers for node in layer.population]


def _is_needed(layer: Layer, missing: list[str]) -> bool:
    """Whether no mean, or no variance, is left."""
    return any(
        side and all(node.name in missing for node in side)
        for side in (layer.means, layer.variances)
    )


# --- 301 in the graph: a Saver that leaves them out ---


def _savers(facts: Facts) -> Iterator[Finding]:
    savers = [n for n in facts.view.nodes if n.op in ("SaveV2", "Save", "SaveSlices")]
    if not savers:
        return
    saved: set[Node] = set()
    for saver in savers:
        for tensor in saver.inputs:
            saved.add(facts.layers.static.evaluation.same(tensor)[0])
    saved = {node for node in saved if node.op in VARIABLES}
    trainable = {node for node in facts.trainable if node.op in VARIABLES}
    lacking = [
        layer
        for layer in facts.layers
        if layer.population and not saved.intersection(layer.population)
    ]
    if not lacking or not saved:
        return
    for layer in lacking:
        names = several([node.name for node in layer.population])
        parameters = {node for node in (layer.scale, layer.offset) if node is not None}
        if not (parameters & saved if parameters else saved):
            continue  # Nothing of this layer is saved here: it belongs to another Saver.
        is_main = trainable <= saved or len(savers) == 1
        # Statistics that training never moves are restored by initializing them.
        is_constant = facts.is_training_graph and not layer.updates
        yield finding(
            "BN301",
            "warning" if is_constant else "error" if is_main else "cannot_tell",
            layer.name,
            f"the Saver in the graph does not save {names}",
        )


# --- 302 ---


def _steps(facts: Facts, checkpoint: Checkpoint) -> int | None:
    """Returns how many steps were trained, or None if the checkpoint does not tell."""
    for node in facts.collection("global_step"):
        value = checkpoint.value(node.name)
        if value is not None and np.size(value) == 1:
            return int(value)
    counters = [
        name
        for name in (node.name for node in facts.variables if _is_counter(node))
        if checkpoint.has(name)
    ]
    # A graph for inference does not have the counter; the checkpoint may.
    counters += [name for name in ("global_step",) if checkpoint.has(name)]
    values = [int(checkpoint.value(name)) for name in counters]
    return max(values) if values else None


def _is_counter(node: Node) -> bool:
    return node.has("dtype") and node.attr["dtype"].type in (3, 9) and _is_scalar(node)


def _is_scalar(node: Node) -> bool:
    return node.has("shape") and not node.attr["shape"].shape.dim


def _is_trained(facts: Facts, checkpoint: Checkpoint, steps: int | None) -> bool | None:
    """Whether the network was trained; None if nothing tells."""
    if steps:
        return True
    for layer in facts.layers:
        for node in (layer.offset, layer.scale):
            value = None if node is None else checkpoint.value(node.name)
            initial = None if node is None else initial_value(facts, node)
            if value is not None and initial is not None and not np.allclose(value, initial):
                return True
    return False if steps == 0 else None


def initial_value(facts: Facts, node: Node) -> float | None:
    """Returns the constant that a variable is initialized with, or None."""
    name = facts.source.initializers.get(node.name)
    writers = [facts.view.by_name[name]] if name in facts.view.by_name else []
    writers += [c for c, number in node.consumers if number == 0 and c.op.startswith("Assign")]
    for writer in writers:
        if writer.op in ("Assign", "AssignVariableOp") and len(writer.inputs) == 2:
            value = facts.layers.static.evaluation.value(writer.inputs[1])
            if value is not None:
                return value
    return None


def _initial(
    facts: Facts, layer: Layer, checkpoint: Checkpoint, is_trained: bool | None
) -> Iterator[Finding]:
    unmoved = []
    for node, usual in [
        *((node, 0.0) for node in layer.means),
        *((node, 1.0) for node in layer.variances),
    ]:
        value = checkpoint.value(node.name)
        if value is None or np.size(value) == 0:
            continue
        unmoved.append(bool(np.all(value == _initial_of(facts, node, usual))))
    if not unmoved or not all(unmoved):
        return
    what = f"{several([node.name for node in layer.population])} still at the initial values"
    if is_trained:
        yield finding("BN302", "error", layer.name, what, "checkpoint")
    elif is_trained is None:
        yield finding(
            "BN302",
            "cannot_tell",
            layer.name,
            f"{what}, and the checkpoint does not say how long it was trained",
            "checkpoint",
        )


def moved(facts: Facts, checkpoint: Checkpoint) -> set[str]:
    """Returns the names of the layers of which all statistics have left their initial values."""
    found = set()
    for layer in facts.layers:
        sides = [(node, 0.0) for node in layer.means] + [(node, 1.0) for node in layer.variances]
        values = [(checkpoint.value(node.name), node, usual) for node, usual in sides]
        if values and all(
            value is not None and not np.all(value == _initial_of(facts, node, usual))
            for value, node, usual in values
        ):
            found.add(layer.name)
    return found


def _initial_of(facts: Facts, node: Node, usual: float) -> float:
    initial = initial_value(facts, node)
    return usual if initial is None else initial


# --- 304 ---


def _slow(facts: Facts, layer: Layer, steps: int) -> Iterator[Finding]:
    slowest: tuple[float, float, Node] | None = None
    for update in layer.updates:
        decay = decays.decay(update, facts.training)
        if decay is not None and 0 < decay < 1:
            share = decay**steps
            if slowest is None or share > slowest[0]:
                slowest = share, decay, update.variable
    if slowest is not None and slowest[0] > SLOW:
        share, decay, variable = slowest
        yield finding(
            "BN304",
            "warning",
            layer.name,
            f"after {steps} steps with a decay of {decay:.6g}, {share:.0%} of {variable.name} is "
            "its initial value",
            "checkpoint",
        )


# --- 305 ---


def _impossible(
    layer: Layer, means: list[Any], variances: list[Any], scale: Any, evidence: str
) -> Iterator[Finding]:
    for what, values in (("mean", means), ("variance", variances), ("scale", [scale])):
        for value in values:
            if value is None or np.asarray(value).dtype.kind not in "fV":
                continue
            broken = int(np.sum(~np.isfinite(np.asarray(value, np.float64))))
            if broken:
                yield finding(
                    "BN305",
                    "error",
                    layer.name,
                    f"the {what} of {broken} of {np.size(value)} channels is not finite",
                    evidence,
                )
    for value in variances:
        value = np.asarray(value, np.float64)
        negative, dead = int(np.sum(value < 0)), int(np.sum((value >= 0) & (value < DEAD)))
        if negative:
            yield finding(
                "BN305",
                "error",
                layer.name,
                f"the variance of {negative} of {value.size} channels is negative",
                evidence,
            )
        elif dead:
            yield finding(
                "BN305",
                "note" if dead < value.size else "warning",
                layer.name,
                f"{dead} of {value.size} channels never change: their variance is 0",
                evidence,
            )
    if scale is not None:
        size = np.abs(np.asarray(scale, np.float64))
        vanished = int(np.sum(size < 1e-6))
        if vanished:
            yield finding(
                "BN305",
                "note",
                layer.name,
                f"the scale of {vanished} of {size.size} channels is about 0",
                evidence,
            )


def _frozen_values(facts: Facts) -> Iterator[Finding]:
    """Applies 302 and 305 to the constants of a frozen graph."""
    for layer in facts.layers:
        sides = [
            [array(node) for node in side if node.op == "Const"]
            for side in (layer.means, layer.variances)
        ]
        means, variances = ([v for v in side if v is not None] for side in sides)
        if not means and not variances:
            continue
        yield from _impossible(layer, means, variances, None, "graph")
        if means and variances and not any(map(np.any, means)):
            if all(np.all(v == 1) for v in variances):
                yield finding(
                    "BN302",
                    "error",
                    layer.name,
                    "the frozen statistics are the initial mean 0 and variance 1",
                )
