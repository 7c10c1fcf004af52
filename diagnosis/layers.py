"""Finding batch-norm layers in a graph by what they compute, not by their names.

A call of a layer is a fused kernel, or activations that are divided by the square root of a
variance: one over a batch, or one in a variable or constant. An update is an assignment whose value
comes from the statistics of a call. Calls and updates of the same statistics are one layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from diagnosis import shapes
from diagnosis.evaluation import IDENTITIES, MERGES, SWITCHES, VARIABLES, Evaluation
from diagnosis.tracing import (
    ASSIGNMENTS,
    FUSED,
    RESHAPING,
    Origins,
    Tracer,
    reduced,
    reduced_data,
)
from diagnosis.view import CALL, Node, Tensor, View


@dataclasses.dataclass(eq=False)
class Call:
    """One place where a graph normalizes."""

    node: Node  # the kernel, or the multiplication or division that normalizes
    kind: str  # "fused" or "moments"
    inputs: Tensor
    mean: Tensor | None  # None if it is the kernel's own
    var: Tensor | None
    scale: Tensor | None
    offset: Tensor | None
    epsilon: float | None
    axes: set[int] | None = None  # reduced in training, of inputs of rank 4, if known


@dataclasses.dataclass(eq=False)
class Update:
    """An assignment to an average of statistics."""

    node: Node
    variable: Node
    batch: frozenset[Tensor]  # the statistics of a batch that it adds


@dataclasses.dataclass(eq=False)
class Layer:
    """The calls that share population statistics, and what updates these."""

    name: str
    calls: list[Call]
    updates: list[Update]
    means: list[Node]  # variables, or constants of a frozen graph
    variances: list[Node]
    scale: Node | None
    offset: Node | None

    @property
    def population(self) -> list[Node]:
        """The variables of the population statistics."""
        return [node for node in [*self.means, *self.variances] if node.op in VARIABLES]

    @property
    def kind(self) -> str:
        """How it normalizes: "fused", "moments" or both."""
        return "+".join(sorted({call.kind for call in self.calls}))


class Layers:
    """The layers of a graph, and how their tensors were traced without knowing any phase."""

    def __init__(self, view: View):
        self.view = view
        self.static = Tracer(Evaluation(view))
        calls = [*self._fused_calls(), *self._other_calls()]
        calls.sort(key=lambda call: call.node.position)
        updates = list(self._updates())
        is_frozen = not any(node.op in VARIABLES for node in view.nodes)
        self.all = _grouped(calls, updates, self.static, is_frozen)
        self.updates = [update for layer in self.all for update in layer.updates]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.all)

    # --- Calls ---

    def _fused_calls(self) -> Iterator[Call]:
        for node in self.view.nodes:
            if node.op in FUSED and len(node.inputs) >= 3:
                is_training = node.flag("is_training", True)
                has_population = not is_training and len(node.inputs) >= 5
                layout = node.attr["data_format"].s if node.has("data_format") else b"NHWC"
                yield Call(
                    node=node,
                    kind="fused",
                    inputs=node.inputs[0],
                    mean=node.inputs[3] if has_population else None,
                    var=node.inputs[4] if has_population else None,
                    scale=node.inputs[1],
                    offset=node.inputs[2],
                    epsilon=node.attr["epsilon"].f if node.has("epsilon") else 1e-4,
                    axes={0, 2, 3} if layout == b"NCHW" else {0, 1, 2},
                )
            elif node.op == "BatchNormWithGlobalNormalization" and len(node.inputs) == 5:
                inputs, mean, var, offset, scale = node.inputs
                yield Call(
                    node, "moments", inputs, mean, var, scale, offset,
                    node.attr["variance_epsilon"].f, {0, 1, 2},
                )  # fmt: skip

    def _other_calls(self) -> Iterator[Call]:
        for node in self.view.nodes:
            if node.op in ("Rsqrt", "Sqrt") and node.inputs:
                var, epsilon = self._without_epsilon(node.inputs[0])
            elif node.op == "Pow" and self.static.evaluation.value(node.inputs[1]) in (0.5, -0.5):
                var, epsilon = self._without_epsilon(node.inputs[0])
            else:
                continue
            origins = self.static.origins(var)
            if origins.is_small and self._is_variance(var, origins):
                call = self._call_around(node, var, origins, epsilon)
                if call is not None:
                    yield call

    def _is_variance(self, var: Tensor, origins: Origins) -> bool:
        if origins.batch:
            return True
        known = origins.variables | origins.constants
        if not known or shapes.shape(var) == []:
            return False
        return origins.is_plain

    def _without_epsilon(self, tensor: Tensor) -> tuple[Tensor, float | None]:
        """Splits variance + epsilon; epsilon is None if nothing is added."""
        node, port = tensor
        while node.op in ("Identity", "Cast") and node.inputs:
            node, port = node.inputs[0]
        if node.op in ("Add", "AddV2", "Maximum") and len(node.inputs) == 2:
            for one, other in (node.inputs, node.inputs[::-1]):
                value = self.static.evaluation.value(other)
                if value is not None:
                    return one, value
                # Epsilon may be a tensor.
                origins = self.static.origins(other)
                if not (origins.batch or origins.others or origins.variables):
                    sizes = shapes.shape(other)
                    if sizes == []:
                        return one, None
        return (node, port), None

    def _call_around(
        self, root: Node, var: Tensor, origins: Origins, epsilon: float | None
    ) -> Call | None:
        """Finds what is divided by the standard deviation that `root` computes or inverts."""
        found: list[tuple[Node, Tensor]] = []
        factors: list[tuple[Tensor, Node]] = []
        seen, waiting = {(root, 0)}, [(root, 0)]

        def go_on(node: Node, port: int = 0) -> None:
            if (node, port) not in seen:
                seen.add((node, port))
                waiting.append((node, port))

        while waiting and len(seen) < 200:
            tensor = waiting.pop()
            node, port = tensor
            for consumer, number in node.consumers:
                source = consumer.inputs[number]
                if source != tensor:
                    continue
                if consumer.op in (CALL, "IdentityN"):
                    go_on(consumer, number)
                elif consumer.op in SWITCHES:
                    go_on(consumer, 0)
                    go_on(consumer, 1)
                elif consumer.op in MERGES or consumer.op in IDENTITIES:
                    go_on(consumer)
                elif (consumer.op in RESHAPING and number == 0) or consumer.op in (
                    "Reciprocal",
                    "Inv",
                ):
                    go_on(consumer)
                elif consumer.op in ("Add", "AddV2", "Maximum") and epsilon is None:
                    other = consumer.inputs[1 - number]
                    if self.static.evaluation.value(other) is not None:
                        epsilon = self.static.evaluation.value(other)
                        go_on(consumer)
                elif consumer.op in ("Mul", "RealDiv", "Div") and len(consumer.inputs) == 2:
                    other = consumer.inputs[1 - number]
                    if consumer.op != "Mul" and number == 0:
                        continue
                    others = self.static.origins(other).others
                    # A scale for each position is a factor, too, if no vector.
                    if all(node.op in VARIABLES or node.op == "Const" for node in others):
                        factors.append((other, consumer))
                        go_on(consumer)
                    else:
                        found.append((consumer, other))
        if not found:
            return None
        data = {
            tensor
            for node, port in origins.batch
            if node.op not in FUSED
            for tensor in reduced_data(node.inputs[0])
        }
        return self._best_call(found, factors, data, var, epsilon, origins)

    def _best_call(
        self,
        found: list[tuple[Node, Tensor]],
        factors: list[tuple[Tensor, Node]],
        data: set[Tensor],
        var: Tensor,
        epsilon: float | None,
        origins: Origins,
    ) -> Call | None:
        """Chooses the forward pass; gradients multiply by the same factor."""

        def taken_apart(centred: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
            """Splits scale * (inputs - mean) into inputs, mean and scale."""
            scale = None
            while True:
                node, port = centred
                if node.op in ("Identity", "Cast", "Reshape") and node.inputs:
                    centred = node.inputs[0]
                elif node.op == "Mul" and scale is None and len(node.inputs) == 2:
                    one, other = node.inputs
                    if self.static.origins(one).is_small:
                        scale, centred = one, other
                    elif self.static.origins(other).is_small:
                        scale, centred = other, one
                    else:
                        return centred, None, None
                elif node.op == "Sub" and self.static.origins(node.inputs[1]).is_small:
                    return node.inputs[0], node.inputs[1], scale
                else:
                    return centred, None, scale

        found.sort(key=lambda pair: pair[0].position)
        chosen = None
        for node, centred in found:
            inputs, mean, scale = taken_apart(centred)
            if not data or not data.isdisjoint(_behind_identities(inputs)):
                chosen = node, inputs, mean, scale
                break
        if chosen is None:
            return None
        node, inputs, mean, scale = chosen
        for factor, product in factors:
            negated = _negated(factor)
            if mean is None and negated is not None:
                mean = negated
            elif mean is None and _is_subtracted(product):
                mean = factor
            elif not _is_subtracted(product):
                scale = factor
        offset = None
        output = node
        for consumer, number in _beyond_identities(node):
            if consumer.op == "Mul" and scale is None:
                other = consumer.inputs[1 - number]
                if self.static.origins(other).is_small:
                    scale, output = other, consumer
        for consumer, number in _beyond_identities(output):
            if consumer.op in ("Add", "AddV2", "BiasAdd", "Sub") and offset is None:
                other = consumer.inputs[1 - number]
                if self.static.origins(other).is_small:
                    offset = _without_mean(other)
        axes = None
        for reduction, _ in sorted(origins.batch, key=lambda tensor: tensor[0].position):
            if reduction.op not in FUSED:
                reduced_axes, rank = reduced(reduction)
                axes = reduced_axes if rank == 4 else None
        if mean is None and not origins.batch:
            return None  # Dividing by the root of a variable is not yet batch norm.
        return Call(node, "moments", inputs, mean, var, scale, offset, epsilon, axes)

    # --- Updates ---

    def _updates(self) -> Iterator[Update]:
        for node in self.view.nodes:
            if node.op in ASSIGNMENTS and len(node.inputs) == 2:
                variable = self.static.evaluation.same(node.inputs[0])[0]
                if variable.op not in VARIABLES:
                    continue
                batch = self.static.origins(node.inputs[1]).batch
                if batch:
                    yield Update(node, variable, batch)


def _is_subtracted(product: Node) -> bool:
    """Whether mean * inverse deviation is on its way to being subtracted."""
    return any(
        consumer.op == "Neg" or (consumer.op == "Sub" and number == 1)
        for consumer, number in _beyond_identities(product)
    )


def _negated(tensor: Tensor) -> Tensor | None:
    """Returns what a tensor is the negative of, if it is: so a mean is added without a beta."""
    node = tensor[0]
    while node.op in ("Identity", "Cast", "Reshape") and node.inputs:
        node = node.inputs[0][0]
    return node.inputs[0] if node.op == "Neg" else None


def _without_mean(tensor: Tensor) -> Tensor | None:
    """Returns beta, given beta - mean * inverse deviation."""
    node = tensor[0]
    while node.op in ("Identity", "Cast") and node.inputs:
        node = node.inputs[0][0]
    if node.op == "Sub":
        return node.inputs[0]
    is_mean = node.op == "Neg" or (node.op == "Mul" and any(map(_negated, node.inputs)))
    return None if is_mean else tensor


def _beyond_identities(node: Node) -> Iterator[tuple[Node, int]]:
    """Yields the consumers of a node's first output, and those of what only passes it on."""
    waiting, seen = [node], {node}
    while waiting:
        for consumer, number in waiting.pop().consumers:
            if consumer.op in IDENTITIES or consumer.op in ("Cast", "Reshape"):
                if consumer not in seen and (number == 0 or consumer.op == CALL):
                    seen.add(consumer)
                    waiting.append(consumer)
            yield consumer, number


def _behind_identities(tensor: Tensor) -> set[Tensor]:
    """Returns a tensor and those that it only passes on, or reshapes."""
    found = {tensor}
    node, port = tensor
    while (node.op in IDENTITIES or node.op in RESHAPING or node.op in SWITCHES) and node.inputs:
        number = port if node.op in (CALL, "IdentityN") else 0
        if number >= len(node.inputs):
            break
        node, port = node.inputs[number]
        if (node, port) in found:
            break
        found.add((node, port))
    return found


# --- Grouping ---


def _grouped(
    calls: list[Call], updates: list[Update], tracer: Tracer, is_frozen: bool
) -> list[Layer]:
    """Joins the calls and updates that share statistics, and calls without any by scale or beta."""
    owner: dict[object, object] = {}

    def root(thing: object) -> object:
        while owner.setdefault(thing, thing) is not thing:
            thing = owner[thing]
        return thing

    def join(one: object, other: object) -> None:
        owner[root(one)] = root(other)

    sides = {call: _statistics(call, tracer) for call in calls}
    of_calls = {t for mean, var in sides.values() for t in mean.batch | var.batch}
    updates = [update for update in updates if update.batch & of_calls]
    updated = {update.variable for update in updates}
    for call, (mean, var) in sides.items():
        # A first estimate of the mean may be a constant, such as 0; renorm's averages are updated.
        for thing in mean.batch | var.batch | mean.variables | var.variables:
            join(call, thing)
        if not (mean.batch | var.batch | mean.variables | var.variables):
            for constant in var.constants:
                join(call, constant)
    for update in updates:
        join(update, update.variable)
        for statistic in update.batch & of_calls:
            join(update, statistic)
    with_population = {
        root(call)
        for call, (mean, var) in sides.items()
        if mean.variables or var.variables or any(root(v) is root(call) for v in updated)
    }
    parameters: dict[Node, list[Call]] = {}
    for call in calls:
        for node in _parameters(call, tracer):
            parameters.setdefault(node, []).append(call)
    for sharing in parameters.values():
        without = [call for call in sharing if root(call) not in with_population]
        having = [call for call in sharing if root(call) in with_population]
        for call in without:
            join(call, (having or without)[0])
    groups: dict[object, list[Call]] = {}
    for call in calls:
        groups.setdefault(root(call), []).append(call)
    of_group: dict[object, list[Update]] = {}
    for update in updates:
        of_group.setdefault(root(update), []).append(update)
    layers = []
    for key, members in groups.items():
        layer = _layer(members, of_group.get(key, []), sides, tracer, is_frozen)
        if layer is not None:
            layers.append(layer)
    _name(layers)
    return layers


def _statistics(call: Call, tracer: Tracer) -> tuple[Origins, Origins]:
    """Returns the origins of a call's mean and variance, in any phase."""
    nothing = Origins(frozenset(), frozenset(), frozenset(), frozenset(), False, True)
    if call.mean is None and call.var is None:
        own = [nothing._replace(batch=frozenset({(call.node, port)})) for port in (1, 2)]
        # In TF2, the kernel averages by itself, and reads the averages.
        if call.node.has("exponential_avg_factor") and call.node.attr[
            "exponential_avg_factor"
        ].f not in (0.0, 1.0):
            for number, port in enumerate((3, 4)):
                variables = tracer.origins(call.node.inputs[port]).variables
                own[number] = own[number]._replace(variables=variables)
        return own[0], own[1]
    return (
        nothing if call.mean is None else tracer.origins(call.mean),
        nothing if call.var is None else tracer.origins(call.var),
    )


def _parameters(call: Call, tracer: Tracer) -> set[Node]:
    found: set[Node] = set()
    for tensor in (call.scale, call.offset):
        if tensor is not None:
            found |= tracer.origins(tensor).variables
    return found


def _layer(
    calls: list[Call],
    updates: list[Update],
    sides: dict[Call, tuple[Origins, Origins]],
    tracer: Tracer,
    is_frozen: bool,
) -> Layer | None:
    means: dict[Node, None] = {}
    variances: dict[Node, None] = {}
    of_mean: set[Tensor] = set()
    of_var: set[Tensor] = set()
    for call in calls:
        mean, var = sides[call]
        of_mean |= mean.batch
        of_var |= var.batch
        means.update(dict.fromkeys(sorted(mean.variables, key=_position)))
        variances.update(dict.fromkeys(sorted(var.variables, key=_position)))
        if not (mean.variables | var.variables | mean.batch | var.batch):
            means.update(dict.fromkeys(sorted(mean.constants, key=_position)))
            variances.update(dict.fromkeys(sorted(var.constants, key=_position)))
    for node in [node for node in means if node in variances]:
        # A variance that is computed around the old mean; or the mean of the squares.
        if len(variances) > 1:
            del variances[node]
        elif len(means) > 1:
            del means[node]
    for update in updates:
        if update.variable in means or update.variable in variances:
            continue
        side = variances if update.batch & (of_var - of_mean) else means
        side[update.variable] = None
    parameters = []
    for number in (0, 1):
        nodes = [
            node
            for call in calls
            for tensor in ((call.scale, call.offset)[number],)
            if tensor is not None
            for node in sorted(tracer.origins(tensor).variables, key=_position)
        ]
        parameters.append(next((node for node in nodes if node not in means), None))
    if not (means or variances or any(parameters) or is_frozen):
        return None  # It standardizes its data, and learns nothing.
    return Layer("", calls, updates, [*means], [*variances], parameters[0], parameters[1])


def _position(node: Node) -> int:
    return node.position


def _name(layers: Iterable[Layer]) -> None:
    """Names layers by the scope of their variables, or of their ops."""
    taken: set[str] = set()
    for layer in layers:
        nodes = [*layer.population, layer.scale, layer.offset, layer.calls[0].node]
        scopes = [node.name.rpartition("/")[0] for node in nodes if node is not None]
        name = next((scope for scope in scopes if scope), layer.calls[0].node.name)
        if name in taken:
            name = f"{name} ({layer.calls[0].node.name})"
        taken.add(name)
        layer.name = name
