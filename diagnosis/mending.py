"""Making a graph that today's TensorFlow refuses one that it can import and run."""

from __future__ import annotations

from typing import Any

from console.errors import CommandError, reason
from diagnosis.reading import node_name

_REFERENCES = {"VariableV2", "Variable", "TemporaryVariable"}
# Ops on references and their counterparts for values.
_PLAIN = {
    "RefSwitch": "Switch",
    "RefMerge": "Merge",
    "RefIdentity": "Identity",
    "RefEnter": "Enter",
    "RefExit": "Exit",
    "RefNextIteration": "NextIteration",
    "RefSelect": "Identity",
}
_WRITES_REFERENCE = {"Assign", "AssignAdd", "AssignSub", "ScatterUpdate", "ScatterAdd"}
_WRITES_RESOURCE = {"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"}


def mended(
    graph_def: Any, needed: set[str] | None = None, readers: frozenset[str] = frozenset()
) -> Any:
    """Returns a copy of a `GraphDef` that today's `import_graph_def` accepts.

    Args:
        graph_def: stays unchanged.
        needed: names of the nodes to keep; by default all.
        readers: ops that become placeholders, one for each output; see `fed_name`.

    Left out are recorded shapes, which may be wrong, attributes that their ops no longer have, and
    assignments to what has become a constant.
    """
    from tensorflow.core.framework import graph_pb2
    from tensorflow.python.framework import op_def_registry

    copy = graph_pb2.GraphDef()
    copy.versions.CopyFrom(graph_def.versions)
    copy.library.CopyFrom(graph_def.library)
    kept = [node for node in graph_def.node if needed is None or node.name in needed]
    names = {node.name for node in kept}
    references = _references(kept)
    ops = {node.name: node.op for node in kept}
    read = {node.name for node in kept if node.op in readers}
    for node in kept:
        if node.name in read:
            _add_placeholders(copy, node)
            continue
        new = copy.node.add()
        new.CopyFrom(node)
        new.device = ""
        del new.input[:]
        for name in node.input:
            source, _, port = name.partition(":")
            if node_name(name) in names:
                new.input.append(fed_name(source, int(port or 0)) if source in read else name)
        new.attr.pop("_output_shapes", None)
        if new.attr["_class"].list.s:
            places = [
                place
                for place in new.attr["_class"].list.s
                if place.decode().removeprefix("loc:@") in names
            ]
            del new.attr["_class"].list.s[:]
            new.attr["_class"].list.s.extend(places)
        else:
            del new.attr["_class"]
        _without_references(new, references, ops)
        definition = op_def_registry.get(new.op)
        if definition is not None:
            known = {attribute.name for attribute in definition.attr}
            for name in [n for n in new.attr if n not in known and not n.startswith("_")]:
                del new.attr[name]
    for function in copy.library.function:
        for node in function.node_def:
            node.attr.pop("_output_shapes", None)
            node.device = ""
    return copy


def fed_name(reader: str, port: int) -> str:
    """Returns the name of the placeholder that an output of a reader becomes."""
    return f"{reader}/fed_{port}" if port else reader


def _add_placeholders(graph_def: Any, reader: Any) -> None:
    types: Any = next(
        (
            reader.attr[name].list.type
            for name in ("output_types", "component_types", "dtypes")
            if name in reader.attr
        ),
        [],
    )
    for port, dtype in enumerate(types):
        node = graph_def.node.add()
        node.name, node.op = fed_name(reader.name, port), "Placeholder"
        node.attr["dtype"].type = dtype
        node.attr["shape"].shape.unknown_rank = True


def _references(nodes: list[Any]) -> set[str]:
    """Returns the names of the nodes whose first output is a reference."""
    found = {node.name for node in nodes if node.op in _REFERENCES}
    passing = {*_PLAIN, *_WRITES_REFERENCE}
    while True:
        more = {
            node.name
            for node in nodes
            if node.name not in found
            and (node.op in passing or node.op.startswith("Apply"))
            and node.input
            and node_name(node.input[0]) in found
        }
        if not more:
            return found
        found |= more


def _without_references(node: Any, references: set[str], ops: dict[str, str]) -> None:
    """Turns an op on a reference into one on a value, if the variable is now a constant."""
    if not node.input:
        return
    first = node_name(node.input[0])
    if node.op in _WRITES_REFERENCE and first not in references:
        node.op = "Identity"
        inputs = [node.input[0], *[name for name in node.input if name.startswith("^")]]
        del node.input[:]
        node.input.extend(inputs)
        for name in [name for name in node.attr if name not in ("T", "_class")]:
            del node.attr[name]
    elif node.op in _PLAIN and first not in references:
        node.op = _PLAIN[node.op]
    elif ops.get(first) == "Const" and node.op in _WRITES_RESOURCE:
        node.op = "NoOp"
        controls = [name for name in node.input if name.startswith("^")]
        del node.input[:]
        node.input.extend(controls)
        node.attr.clear()
    elif ops.get(first) == "Const" and node.op == "ReadVariableOp":
        node.op = "Identity"
        node.attr["T"].CopyFrom(node.attr["dtype"])
        del node.attr["dtype"]


def imported(
    graph_def: Any, needed: set[str] | None = None, readers: frozenset[str] = frozenset()
) -> Any:
    """Returns a `tf.Graph` of the needed nodes of a `GraphDef`, mended; see `mended`.

    Raises:
        CommandError: it can't be imported even so.
    """
    import tensorflow.compat.v1 as tf

    from diagnosis import view

    missing = sorted(
        {
            node.op
            for node in graph_def.node
            if (needed is None or node.name in needed)
            and view._op_definition(node.op) is None
            and node.op not in {f.signature.name for f in graph_def.library.function}
        }
    )
    if missing:
        raise CommandError(f"this TensorFlow has no op {', '.join(missing[:3])}")
    with tf.Graph().as_default() as graph:
        try:
            tf.import_graph_def(mended(graph_def, needed, readers), name="")
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise CommandError(f"it can't be imported: {reason(error)}") from error
    return graph
