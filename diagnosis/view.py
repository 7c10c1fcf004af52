"""A graph as nodes and edges, with functions and TF2's control flow written out.

A `GraphDef` names inputs by strings, hides parts of the graph in functions, and has two forms of
control flow. A `View` has one form: nodes that hold their inputs and consumers; each call of a
function in place of the call; `If` and `While` as the Switch and Merge that TensorFlow lowers them
to when it runs them. The file need not be importable: what ops do not exist any more are nodes too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

# A tensor: a node and which of its outputs.
Tensor = tuple["Node", int]

CALLS = {"PartitionedCall", "StatefulPartitionedCall", "XlaLaunch"}
BRANCHES = {"If": "", "StatelessIf": ""}
LOOPS = {"While", "StatelessWhile"}
# A view does not write out more nodes than this: calls of calls of calls.
MOST_NODES = 1_000_000
DEEPEST_CALL = 40

# The ops of a view that no graph has.
CALL = "_Call"  # output i is input i
JOIN = "_Join"  # the control edges of branches of which one is taken


class Node:
    """An op of a graph."""

    __slots__ = ("attr", "consumers", "controlled", "controls", "inputs", "name", "op", "position")

    def __init__(self, name: str, op: str, attr: Any = None):
        self.name = name
        self.op = op
        self.attr = attr if attr is not None else {}
        self.inputs: list[Tensor] = []
        self.controls: list[Node] = []
        self.consumers: list[tuple[Node, int]] = []  # with the number of their input
        self.controlled: list[Node] = []
        self.position = 0  # in a topological order

    def __repr__(self) -> str:
        return f"<{self.op} {self.name}>"

    def has(self, attribute: str) -> bool:
        """Whether the node has an attribute of this name."""
        return attribute in self.attr

    def flag(self, attribute: str, default: bool = False) -> bool:
        """Returns a boolean attribute."""
        return self.attr[attribute].b if self.has(attribute) else default


class View:
    """The nodes of a graph, in an order in which inputs come before their consumers.

    Attributes:
        nodes: list of `Node`; only the edges back to the head of a loop run the other way.
        by_name: dict of them by name; those of a function's call are named `CALL/NODE`.
    """

    def __init__(self, graph_def: Any):
        """Reads a `GraphDef`."""
        self._functions = {f.signature.name: f for f in graph_def.library.function}
        self.by_name: dict[str, Node] = {}
        self._calls: list[tuple[Node, int]] = []
        for definition in graph_def.node:
            self._add(Node(definition.name, definition.op, definition.attr))
        for definition in graph_def.node:
            self._connect(self.by_name[definition.name], definition.input)
        for node in list(self.by_name.values()):
            self._expand(node, 0)
        self.nodes = self._sorted()

    def tensor(self, name: str) -> Tensor | None:
        """Returns the tensor called `NAME` or `NAME:PORT`, or None."""
        name, _, port = name.lstrip("^").partition(":")
        node = self.by_name.get(name)
        if node is None or not (port or "0").isdigit():
            return None
        return node, int(port or 0)

    # --- Reading ---

    def _add(self, node: Node) -> Node:
        self.by_name[node.name] = node
        return node

    def _connect(self, node: Node, inputs: Iterable[str]) -> None:
        for name in inputs:
            source = self.tensor(name)
            if source is None:
                continue  # A subgraph was cut out carelessly: what is left can still be looked at.
            if name.startswith("^"):
                node.controls.append(source[0])
            else:
                node.inputs.append(source)

    # --- Functions and control flow ---

    def _expand(self, node: Node, depth: int) -> None:
        """Writes out the call that a node is, if it is one."""
        if depth > DEEPEST_CALL or len(self.by_name) > MOST_NODES:
            return
        if node.op in self._functions:
            self._expand_call(node, node.op, depth)
        elif node.op in CALLS and self._function(node, "f", "function"):
            self._expand_call(node, self._function(node, "f", "function"), depth)
        elif node.op in BRANCHES:
            names = [self._function(node, name) for name in ("else_branch", "then_branch")]
            if all(names):
                self._expand_branches(node, names, depth)
        elif node.op == "Case":
            names = [function.name for function in node.attr["branches"].list.func]
            if names and all(name in self._functions for name in names):
                self._expand_branches(node, names, depth)
        elif node.op in LOOPS:
            names = [self._function(node, name) for name in ("cond", "body")]
            if all(names):
                self._expand_loop(node, names[0], names[1], depth)

    def _function(self, node: Node, *attributes: str) -> str:
        for attribute in attributes:
            if node.has(attribute) and node.attr[attribute].func.name in self._functions:
                return node.attr[attribute].func.name
        return ""

    def _expand_call(self, node: Node, function: str, depth: int) -> None:
        outputs, effects = self._instantiate(
            function, f"{node.name}/", node.inputs, node.controls, depth
        )
        node.op, node.inputs = CALL, outputs
        node.controls = [*node.controls, *effects]

    def _expand_branches(self, node: Node, functions: list[str], depth: int) -> None:
        """Writes out an If or a Case, whose last functions are taken if the predicate is high."""
        predicate, *arguments = node.inputs
        is_choice_of_two = node.op != "Case"
        ends, effects = [], []
        for number, function in enumerate(functions):
            prefix = f"{node.name}/branch{number}/"
            before, inputs = node.controls, arguments
            if is_choice_of_two:
                pivot = self._add(Node(f"{prefix}pivot", "Switch"))
                pivot.inputs, pivot.controls = [predicate, predicate], list(node.controls)
                taken = self._add(Node(f"{prefix}taken", "Identity"))
                taken.inputs = [(pivot, number)]
                before, inputs = [taken], []
                for i, argument in enumerate(arguments):
                    switch = self._add(Node(f"{prefix}switch{i}", "Switch"))
                    switch.inputs = [argument, predicate]
                    inputs.append((switch, number))
            outputs, of_branch = self._instantiate(function, prefix, inputs, before, depth)
            ends.append(outputs)
            effects += of_branch
        merges: list[Tensor] = []
        for i in range(min(map(len, ends))):
            merge = self._add(Node(f"{node.name}/merge{i}", "Merge"))
            merge.inputs = [outputs[i] for outputs in ends]
            merges.append((merge, 0))
        if not is_choice_of_two:
            # Which is taken is a number: known numbers choose among the inputs of such a Merge.
            for merge, _ in merges:
                merge.op = "_CaseMerge"
        join = self._add(Node(f"{node.name}/join", JOIN))
        join.controls = effects
        node.op, node.inputs = CALL, merges
        node.controls = [*node.controls, *([join] if effects else [])]

    def _expand_loop(self, node: Node, condition: str, body: str, depth: int) -> None:
        prefix = f"{node.name}/loop/"
        heads = []
        for i, entering in enumerate(node.inputs):
            head = self._add(Node(f"{prefix}merge{i}", "Merge"))
            enter = self._add(Node(f"{prefix}enter{i}", "Enter"))
            enter.inputs, enter.controls = [entering], list(node.controls)
            head.inputs = [(enter, 0)]
            heads.append(head)
        start: list[Tensor] = [(head, 0) for head in heads]
        tested, _ = self._instantiate(condition, f"{prefix}cond/", start, [], depth)
        going_on = self._add(Node(f"{prefix}loop_cond", "LoopCond"))
        going_on.inputs = tested[:1]
        switches = []
        for i, head in enumerate(heads):
            switch = self._add(Node(f"{prefix}switch{i}", "Switch"))
            switch.inputs = [(head, 0), (going_on, 0)]
            switches.append(switch)
        turn: list[Tensor] = [(switch, 1) for switch in switches]
        outputs, effects = self._instantiate(body, f"{prefix}body/", turn, [], depth)
        for i, (head, output) in enumerate(zip(heads, outputs, strict=False)):
            again = self._add(Node(f"{prefix}next{i}", "NextIteration"))
            again.inputs = [output]
            head.inputs.append((again, 0))
        node.op, node.inputs = CALL, [(switch, 0) for switch in switches]
        join = self._add(Node(f"{prefix}join", JOIN))
        join.controls = effects
        node.controls = [*node.controls, *([join] if effects else [])]

    def _instantiate(
        self,
        name: str,
        prefix: str,
        arguments: list[Tensor],
        before: list[Node],
        depth: int,
    ) -> tuple[list[Tensor], list[Node]]:
        """Adds the nodes of a function's body; returns its outputs and the nodes it always runs."""
        function = self._functions[name]
        inputs: dict[str, Tensor] = {}
        for argument, tensor in zip(function.signature.input_arg, arguments, strict=False):
            inputs[argument.name] = tensor
        body = {}
        for definition in function.node_def:
            node = self._add(Node(prefix + definition.name, definition.op, definition.attr))
            body[definition.name] = node
        for definition in function.node_def:
            node = body[definition.name]
            for text in definition.input:
                if text.startswith("^"):
                    if text[1:] in body:
                        node.controls.append(body[text[1:]])
                    elif text[1:] in inputs:
                        node.controls.append(inputs[text[1:]][0])
                else:
                    source = self._tensor_in_body(text, body, inputs)
                    if source is not None:
                        node.inputs.append(source)
            if not node.inputs and not node.controls:
                node.controls = list(before)
        for node in list(body.values()):
            self._expand(node, depth + 1)
        outputs = []
        for output in function.signature.output_arg:
            result = self._tensor_in_body(function.ret.get(output.name, ""), body, inputs)
            if result is not None:
                outputs.append(result)
        effects = [body[node] for node in function.control_ret.values() if node in body]
        effects += [node for node in body.values() if _writes(node) and node not in effects]
        return outputs, effects

    def _tensor_in_body(
        self, text: str, body: dict[str, Node], inputs: dict[str, Tensor]
    ) -> Tensor | None:
        """Returns what `ARGUMENT` or `NODE:OUTPUT:NUMBER` stands for."""
        name, _, rest = text.partition(":")
        if name not in body:
            return inputs.get(name)
        output, _, number = rest.partition(":")
        node = body[name]
        return node, self._first_port(node, output) + int(number or 0)

    def _first_port(self, node: Node, output: str) -> int:
        """Returns the number of the first tensor of a named output."""
        function = self._functions.get(node.op)
        definition = function.signature if function is not None else _op_definition(node.op)
        port = 0
        if definition is not None:
            for argument in definition.output_arg:
                if argument.name == output:
                    return port
                port += _size_of(argument, node)
        return 0

    def _sorted(self) -> list[Node]:
        for node in self.by_name.values():
            for number, (source, _) in enumerate(node.inputs):
                source.consumers.append((node, number))
            for source in node.controls:
                source.controlled.append(node)
        waiting = {}
        for node in self.by_name.values():
            waiting[node] = len(node.inputs) + len(node.controls)
            if node.op in ("Merge", "RefMerge"):
                waiting[node] -= sum(
                    source.op in ("NextIteration", "RefNextIteration") for source, _ in node.inputs
                )
        ready = [node for node, count in waiting.items() if count == 0][::-1]
        ordered: list[Node] = []
        while ready:
            node = ready.pop()
            node.position = len(ordered)
            ordered.append(node)
            is_back = node.op in ("NextIteration", "RefNextIteration")
            following = [c for c, _ in node.consumers if not (is_back and c.op.endswith("Merge"))]
            for consumer in [*following, *node.controlled]:
                waiting[consumer] -= 1
                if waiting[consumer] == 0:
                    ready.append(consumer)
        if len(ordered) < len(self.by_name):  # A cycle that is no loop: no graph that can run.
            left = set(self.by_name.values()) - set(ordered)
            for node in self.by_name.values():
                if node in left:
                    node.position = len(ordered)
                    ordered.append(node)
        return ordered


def ancestors(starts: Iterable[Node], through_controls: bool = True) -> set[Node]:
    """Returns the nodes that the given ones need, with themselves."""
    found = set(starts)
    waiting = list(found)
    while waiting:
        node = waiting.pop()
        for source in sources(node, through_controls):
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found


def descendants(starts: Iterable[Node], through_controls: bool = True) -> set[Node]:
    """Returns the nodes that need the given ones, with themselves."""
    found = set(starts)
    waiting = list(found)
    while waiting:
        node = waiting.pop()
        following = [consumer for consumer, _ in node.consumers]
        for consumer in following + (node.controlled if through_controls else []):
            if consumer not in found:
                found.add(consumer)
                waiting.append(consumer)
    return found


def sources(node: Node, through_controls: bool = True) -> Iterator[Node]:
    """Yields the nodes that a node waits for."""
    for source, _ in node.inputs:
        yield source
    if through_controls:
        yield from node.controls


def _writes(node: Node) -> bool:
    return node.op.startswith(("Assign", "Apply", "ResourceApply", "Scatter", "ResourceScatter"))


def _op_definition(op: str) -> Any:
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(op)


def _size_of(argument: Any, node: Node) -> int:
    if argument.number_attr:
        return node.attr[argument.number_attr].i if node.has(argument.number_attr) else 1
    if argument.type_list_attr:
        name = argument.type_list_attr
        return len(node.attr[name].list.type) if node.has(name) else 1
    return 1
