"""Reading graphs from files and from memory, without importing them."""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

from console.errors import InputError, reason


class Source(NamedTuple):
    """A graph, and what is known of it besides its nodes."""

    graph_def: Any  # GraphDef
    collections: dict[str, list[str]]  # names of nodes
    initializers: dict[str, str]  # of variables' nodes: names of the nodes that initialize them
    outputs: list[str]  # tensors that signatures return
    inputs: list[str]  # tensors that signatures take
    checkpoint: str | None = None  # that belongs to it


def read_meta_graph(path: str) -> Source:
    """Reads what a `Saver` exports: a file `NAME.meta`, binary or text.

    Raises:
        InputError: it does not hold a graph.
    """
    from tensorflow.core.protobuf import meta_graph_pb2

    content = _content(path)
    meta_graph = _parsed(content, meta_graph_pb2.MetaGraphDef())
    if meta_graph is None or not meta_graph.graph_def.node:
        found = _kind(content)
        raise InputError(f"{path}: expected a MetaGraphDef, as in NAME.meta, found {found}")
    return of_meta_graph(meta_graph)


def read_frozen_graph(path: str) -> Source:
    """Reads a `GraphDef`, binary or text, such as a frozen graph.

    Raises:
        InputError: it does not hold a graph.
    """
    from tensorflow.core.framework import graph_pb2

    content = _content(path)
    graph_def = _parsed(content, graph_pb2.GraphDef())
    if graph_def is None or not graph_def.node or not graph_def.node[0].op:
        raise InputError(f"{path}: expected a GraphDef, found {_kind(content)}")
    return Source(graph_def, {}, {}, [], [])


def read_saved_model(folder: str) -> Source:
    """Reads the graph of a SavedModel that is for serving, or its only one.

    Raises:
        InputError: the folder does not hold one.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    for name in ("saved_model.pb", "saved_model.pbtxt"):
        path = pathlib.Path(folder, name)
        if path.exists():
            break
    else:
        raise InputError(f"{folder}: expected a folder with a saved_model.pb, found none")
    content = _content(str(path))
    saved_model = _parsed(content, saved_model_pb2.SavedModel())
    if saved_model is None or not saved_model.meta_graphs:
        raise InputError(f"{path}: expected a SavedModel, found {_kind(content)}")
    graphs = sorted(saved_model.meta_graphs, key=lambda g: "serve" not in g.meta_info_def.tags)
    values = pathlib.Path(folder, "variables", "variables")
    checkpoint = str(values) if values.with_suffix(".index").exists() else None
    return of_meta_graph(graphs[0])._replace(checkpoint=checkpoint)


def of_meta_graph(meta_graph: Any) -> Source:
    """Returns the source that a `MetaGraphDef` is."""
    from tensorflow.core.framework import variable_pb2

    collections: dict[str, list[str]] = {}
    initializers = {}
    for name, collection in meta_graph.collection_def.items():
        names = [node_name(value) for value in collection.node_list.value]
        for value in collection.bytes_list.value:
            variable = variable_pb2.VariableDef()
            try:
                variable.ParseFromString(value)
            except Exception:  # noqa: BLE001, S112 - protobuf's DecodeError differs by version
                continue
            if variable.variable_name:
                names.append(node_name(variable.variable_name))
                initializers[names[-1]] = node_name(variable.initializer_name)
        collections[name] = names
    outputs, inputs = [], []
    for name, signature in sorted(meta_graph.signature_def.items()):
        if name.startswith("__saved_model"):
            continue
        outputs += [info.name for info in signature.outputs.values() if info.name]
        inputs += [info.name for info in signature.inputs.values() if info.name]
    return Source(meta_graph.graph_def, collections, initializers, outputs, inputs)


def of_graph(graph: Any) -> Source:
    """Returns the source that a `tf.Graph` is."""
    collections: dict[str, list[str]] = {}
    initializers = {}
    for key in graph.get_all_collection_keys():
        names = []
        for item in graph.get_collection_ref(key):
            name = getattr(item, "name", None)
            if isinstance(name, str) and _is_of(item, graph):
                names.append(node_name(name))
                initializer = getattr(item, "initializer", None)
                if initializer is not None and getattr(initializer, "name", None):
                    initializers[names[-1]] = initializer.name
        collections[str(key)] = names
    return Source(graph.as_graph_def(add_shapes=True), collections, initializers, [], [])


def source_of(graph: Any) -> Source:
    """Returns the source that a graph is: a `tf.Graph`, a `MetaGraphDef`, a `GraphDef` or a path.

    A path is that of a file NAME.meta, of a folder with a SavedModel, or of a frozen graph.

    Raises:
        InputError: a file does not hold a graph.
        TypeError: it is something else.
    """
    if isinstance(graph, Source):
        return graph
    if isinstance(graph, str | pathlib.Path):
        path = str(graph)
        if pathlib.Path(path).is_dir():
            return read_saved_model(path)
        return read_meta_graph(path) if path.endswith(".meta") else read_frozen_graph(path)
    if hasattr(graph, "as_graph_def"):
        return of_graph(graph)
    if hasattr(graph, "graph_def"):
        return of_meta_graph(graph)
    if hasattr(graph, "node") and hasattr(graph, "library"):
        return Source(graph, {}, {}, [], [])
    raise TypeError(
        f"graph must be a tf.Graph, a MetaGraphDef, a GraphDef or a path, not {graph!r:.100}"
    )


def node_name(name: str) -> str:
    """Returns the name of a tensor's node, of `NAME`, `NAME:0` or `^NAME`."""
    return name.lstrip("^").partition(":")[0]


def _is_of(item: Any, graph: Any) -> bool:
    return getattr(item, "graph", graph) is graph


def _content(path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a file, found: {error.strerror}") from error


def _parsed(content: bytes, message: Any) -> Any:
    """Returns a message of the content, binary or text, or None if it is not one."""
    from google.protobuf import message as messages
    from google.protobuf import text_format

    try:
        message.ParseFromString(content)
    except messages.DecodeError:
        pass
    else:
        return message
    message.Clear()
    try:
        return text_format.Parse(content.decode(), message)
    except (text_format.ParseError, UnicodeDecodeError):
        return None


def _kind(content: bytes) -> str:
    """Says what a file holds that is not what was expected."""
    from tensorflow.core.framework import graph_pb2
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

    if not content:
        return "an empty file"
    if content.startswith(b"version https://git-lfs"):
        return "a pointer to a file in Git LFS, which was not downloaded"
    for kind, message, nodes in (
        ("a MetaGraphDef", meta_graph_pb2.MetaGraphDef(), lambda m: m.graph_def.node),
        ("a SavedModel", saved_model_pb2.SavedModel(), lambda m: m.meta_graphs),
        ("a GraphDef", graph_pb2.GraphDef(), lambda m: m.node and m.node[0].op),
    ):
        parsed = _parsed(content, message)
        if parsed is not None and nodes(parsed):
            return kind
    return f"{len(content)} bytes that are none, or are damaged"


def names_of(text: str | None) -> list[str]:
    """Splits the value of a flag such as `--outputs=logits,softmax:0`."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


__all__ = ["Source", "names_of", "node_name", "reason", "source_of"]
