"""Rules 401, 402, 404, 405 and 407: what a layer is meant to compute."""

from __future__ import annotations

from collections.abc import Iterator

from diagnosis import decays, roles, shapes
from diagnosis.evaluation import IDENTITIES, SWITCHES, VARIABLES
from diagnosis.facts import Facts
from diagnosis.findings import Finding, finding, several
from diagnosis.layers import Call, Layer
from diagnosis.tracing import ASSIGNMENTS
from diagnosis.view import CALL, Node, Tensor, ancestors

# tf.nn.fused_batch_norm raised smaller ones to this.
KERNELS_EPSILON = 1.001e-5
_CONVOLUTIONS = {"Conv2D", "DepthwiseConv2dNative", "Conv3D", "Conv2DBackpropInput"}


def findings(facts: Facts) -> Iterator[Finding]:
    """Yields where layers are built otherwise than they are meant."""
    for layer in facts.layers:
        yield from _half_frozen(facts, layer)
        yield from _wasted_bias(facts, layer)
        yield from _differing(facts, layer)
        yield from _wrong_axes(facts, layer)
        yield from _never_normalizing(facts, layer)
    yield from _wrongly_changed(facts)


# --- 401 ---


def _half_frozen(facts: Facts, layer: Layer) -> Iterator[Finding]:
    if not facts.train_ops or not facts.trainable:
        return
    parameters = [n for n in (layer.scale, layer.offset) if n is not None and n.op in VARIABLES]
    if not parameters:
        return
    learns = any(node in facts.trainable for node in parameters)
    if facts.updates_run(layer) and facts.trained_calls(layer) and not learns:
        names = several([node.name for node in parameters])
        yield finding(
            "BN401",
            "warning",
            layer.name,
            f"{names} are not trainable, but the statistics still move in training",
        )
    changed = [v for v in facts.appliers.values() if v in parameters]
    population = [
        call
        for call in layer.calls
        if call.node in facts.trained_by and facts.mode(call) == "population"
    ]
    # Where nothing updates the statistics at all, rule 407 asks whether they were ever computed.
    if population and not facts.trained_calls(layer) and changed and layer.updates:
        yield finding(
            "BN401",
            "warning",
            layer.name,
            "the statistics are frozen in training, while "
            f"{several([node.name for node in changed if node])} is trained",
        )


# --- 402 ---


def _wasted_bias(facts: Facts, layer: Layer) -> Iterator[Finding]:
    biases: dict[str, None] = {}
    for call in layer.calls:
        if roles.mode(call, facts.training) not in ("batch", "either"):
            continue
        bias = _bias_before(facts, call)
        if bias is not None:
            biases[bias.name] = None
    if biases:
        yield finding(
            "BN402", "note", layer.name, f"{several(list(biases))} is added just before it"
        )


def _bias_before(facts: Facts, call: Call) -> Node | None:
    node, port = call.inputs
    sizes = shapes.shape(call.inputs)
    steps = 0
    while steps < 12:
        steps += 1
        if node.op in (CALL, "IdentityN"):
            node, port = node.inputs[port]
        elif node.op in IDENTITIES or node.op in SWITCHES or node.op == "Cast":
            node, port = node.inputs[0]
        elif node.op in ("Reshape", "ExpandDims", "Squeeze") and _keeps_channels(node):
            node, port = node.inputs[0]
        else:
            break
    if node.op not in ("BiasAdd", "Add", "AddV2") or len(node.inputs) != 2:
        return None
    for other, bias in (node.inputs, node.inputs[::-1]):
        origins = facts.layers.static.origins(bias)
        if not origins.is_small or origins.batch or len(origins.variables) != 1:
            continue
        if facts.layers.static.origins(other).is_small:
            continue
        size, channels = shapes.channels(bias), _channels(call, sizes)
        (variable,) = origins.variables
        if size is None or channels is None or size != channels or variable == call.offset:
            continue
        if node.op != "BiasAdd" and (shapes.shape(bias) or [0])[-1] != size:
            continue
        # As beta of a layer before, it is that layer's.
        if any(variable is layer.offset for layer in facts.layers):
            continue
        return variable
    return None


def _keeps_channels(node: Node) -> bool:
    before, after = shapes.shape(node.inputs[0]), shapes.shape((node, 0))
    return before is not None and after is not None and before[-1:] == after[-1:] != [None]


def _channels(call: Call, sizes: shapes.Shape | None) -> int | None:
    for tensor in (call.scale, call.offset, call.mean):
        if tensor is not None:
            count = shapes.channels(tensor)
            if count is not None:
                return count
    return sizes[-1] if sizes else None


# --- 404 ---


def _differing(facts: Facts, layer: Layer) -> Iterator[Finding]:
    epsilons: dict[float, str] = {}
    for call in layer.calls:
        if call.epsilon is not None:
            value = call.epsilon
            if abs(value - KERNELS_EPSILON) < 2e-8:
                value = 1e-5
            value = float(f"{value:.4g}")
            epsilons.setdefault(value, call.node.name)
    if len(epsilons) > 1:
        what = ", ".join(f"{value:g} in {name}" for value, name in sorted(epsilons.items())[:3])
        yield finding("BN404", "warning", layer.name, f"epsilon is {what}")
    found: dict[Node, dict[float, str]] = {}
    for update in layer.updates:
        if roles.changes(update.node, facts.training):
            decay = decays.decay(update, facts.training)
            if decay is not None and 0 < decay < 1:
                of_variable = found.setdefault(update.variable, {})
                of_variable.setdefault(float(f"{decay:.4g}"), update.node.name)
    for of_variable in found.values():
        if len(of_variable) > 1:
            pairs = sorted(of_variable.items())[:3]
            what = ", ".join(f"{value:g} in {name}" for value, name in pairs)
            yield finding("BN404", "warning", layer.name, f"the decay is {what}")
            return


# --- 407 ---


def _wrong_axes(facts: Facts, layer: Layer) -> Iterator[Finding]:
    for call in layer.calls:
        sizes = shapes.shape(call.inputs)
        if call.axes is None or sizes is None or len(sizes) != 4:
            continue
        if roles.mode(call, facts.training) not in ("batch", "either"):
            continue
        layout = _layout_before(call.inputs)
        kept = sorted({0, 1, 2, 3} - call.axes)
        channel = {"NHWC": 3, "NCHW": 1}.get(layout or "")
        if len(kept) > 1 and call.axes == {0}:
            spatial = [sizes[i] for i in (1, 2, 3) if i != channel]
            if channel is not None and any(size != 1 for size in spatial):
                yield finding(
                    "BN407",
                    "error",
                    layer.name,
                    "its statistics run over the batch only, one for each position of a channel",
                )
                return
        elif len(kept) == 1 and channel is not None and kept[0] != channel:
            yield finding(
                "BN407",
                "error",
                layer.name,
                f"its inputs are {layout}, so channels are dimension {channel}, but it has "
                f"statistics for dimension {kept[0]}",
            )
            return


def _layout_before(tensor: Tensor) -> str | None:
    """Returns the layout of the convolution that activations come from, or None."""
    node, port = tensor
    for _ in range(30):
        if node.op in _CONVOLUTIONS:
            layout = node.attr["data_format"].s.decode() if node.has("data_format") else ""
            return (layout or "NHWC").replace("D", "")
        if node.op in (CALL, "IdentityN"):
            node, port = node.inputs[port]
        elif node.op in IDENTITIES | SWITCHES | {
            "BiasAdd", "Relu", "Relu6", "LeakyRelu", "Cast", "MaxPool", "AvgPool", "Add", "AddV2",
            "Elu", "Tanh", "Sigmoid", "Merge", "Pad", "PadV2", "MirrorPad",
        }:  # fmt: skip
            node, port = node.inputs[0]
        else:
            return None
        if not node.inputs:
            return None
    return None


def _never_normalizing(facts: Facts, layer: Layer) -> Iterator[Finding]:
    """Finds layers that train with statistics that nothing in the graph computes."""
    if not facts.train_ops or layer.updates:
        return
    trained = [call for call in layer.calls if call.node in facts.trained_by]
    if not trained or any(facts.mode(call) != "population" for call in trained):
        return
    if not layer.population or not _learns_before(facts, trained):
        return
    if any(_is_written(facts, node) for node in layer.population):
        return
    yield finding(
        "BN407",
        "warning",
        layer.name,
        f"training normalizes with {several([n.name for n in layer.population])}, which nothing in "
        "the graph computes: right only if they are loaded, and meant to be frozen",
    )


def _learns_before(facts: Facts, calls: list[Call]) -> bool:
    before = ancestors([call.node for call in calls], through_controls=False)
    return any(variable in before for variable in facts.appliers.values())


def _is_written(facts: Facts, node: Node) -> bool:
    """Whether anything but an initializer or a Saver assigns to a variable."""
    for consumer, number in node.consumers:
        if consumer.op in ASSIGNMENTS and number == 0 and len(consumer.inputs) == 2:
            behind = ancestors([consumer.inputs[1][0]], through_controls=False)
            ops = {source.op for source in behind}
            if ops & {"RestoreV2", "Restore", "RestoreSlice"}:
                continue
            if node in behind or any(op.startswith("Placeholder") for op in ops):
                return True
    return False


# --- 405 ---


def _wrongly_changed(facts: Facts) -> Iterator[Finding]:
    owners = {node: layer for layer in facts.layers for node in layer.population}
    offsets = {layer.offset: layer for layer in facts.layers if layer.offset is not None}
    for variable in facts.appliers.values():
        if variable in owners:
            yield finding(
                "BN405",
                "error",
                owners[variable].name,
                f"the optimizer changes {variable.name}, a population statistic",
            )
    if not facts.train_ops:
        return
    penalized: dict[Layer, dict[str, None]] = {}
    decayed: dict[str, None] = {}
    for node in facts.view.nodes:
        variable = _penalized(facts, node)
        if variable is None or not _is_added_up(node):
            continue
        if variable in owners:
            penalized.setdefault(owners[variable], {})[variable.name] = None
        elif variable in offsets:
            decayed[variable.name] = None
    for layer, names in penalized.items():
        yield finding(
            "BN405", "warning", layer.name, f"the loss has a penalty on {several(list(names))}"
        )
    if decayed:
        yield finding(
            "BN405",
            "warning",
            None,
            f"the loss has a penalty on beta, which needs none: {several(list(decayed))}",
        )


def _is_added_up(node: Node) -> bool:
    """Whether a value is part of a sum, as penalties are, and not only shown."""
    waiting, seen = [node], {node}
    while waiting:
        for consumer, _ in waiting.pop().consumers:
            if consumer.op in ("Add", "AddV2", "AddN", "Pack"):
                return True
            if consumer.op in ("Mul", "Identity", "Reshape") and consumer not in seen:
                seen.add(consumer)
                waiting.append(consumer)
    return False


def _penalized(facts: Facts, node: Node) -> Node | None:
    """Returns the variable whose size a node computes, if it does."""
    same = facts.training.evaluation.same
    if node.op == "L2Loss":
        return same(node.inputs[0])[0]
    if node.op in ("Sum", "Mean"):
        inner: Tensor = same(node.inputs[0])
        if inner[0].op in ("Square", "Abs"):
            return same(inner[0].inputs[0])[0]
        if inner[0].op == "Mul" and same(inner[0].inputs[0]) == same(inner[0].inputs[1]):
            return same(inner[0].inputs[0])[0]
    return None
