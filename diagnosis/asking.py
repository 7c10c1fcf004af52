"""What a program calls: `diagnose` returns findings, `check` raises on errors."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from diagnosis.findings import Finding

if TYPE_CHECKING:
    from diagnosis.examination import Diagnosis


class BatchNormError(AssertionError):
    """A graph has errors in its batch norm. The message has a line for each."""


def diagnose(
    graph: Any,
    train_ops: Sequence[Any] | None = None,
    outputs: Sequence[Any] | None = None,
    checkpoint: str | None = None,
    *,
    run_steps: int = 0,
    feeds: Callable[[], dict] | None = None,
    batches: Iterable[dict] | None = None,
) -> list[Finding]:
    """Returns what is wrong with the batch norm of a graph, errors first.

    The graph is only looked at, and stays as it is, unless `run_steps` or `batches` are given: then
    a copy of it is run, too.

    Args:
        graph: `tf.Graph`, `MetaGraphDef`, `GraphDef`, or a path: of a file NAME.meta, of a frozen
            graph, of a folder with a SavedModel.
        train_ops: ops that a step of training runs, or their names. By default those that are run
            last after gradients are applied.
        outputs: tensors that inference fetches, or their names; none of them in a graph that only
            trains. By default logits and probabilities, or what a SavedModel's signatures return.
        checkpoint: prefix of the checkpoint with the graph's values. By default that of a
            SavedModel, or none.
        run_steps: how many steps to train a copy of the graph for, from its initial values.
        feeds: function that returns a feed dict, by names of tensors, for a step. By default, feeds
            are made up from the placeholders' shapes.
        batches: feed dicts, by names of tensors, with data to compare the statistics with; needs
            `checkpoint`.

    Returns:
        A list of `Finding`, empty if all is well.

    Raises:
        console.errors.InputError: a file is not what it should be, or a name is not in the graph.
        TypeError: `graph` is something else.
    """
    return examine(
        graph, train_ops, outputs, checkpoint, run_steps=run_steps, feeds=feeds, batches=batches
    ).findings


def check(graph: Any, *arguments: Any, **options: Any) -> None:
    """Raises if `diagnose`, with the same arguments, finds errors; for tests of a program.

    Raises:
        BatchNormError: with a line for each error.
    """
    errors = [one for one in diagnose(graph, *arguments, **options) if one.severity == "error"]
    if errors:
        lines = [f"{error} (why: {error.why}; cure: {error.cure})" for error in errors]
        raise BatchNormError("\n".join(lines))


def examine(
    graph: Any,
    train_ops: Sequence[Any] | None = None,
    outputs: Sequence[Any] | None = None,
    checkpoint: str | None = None,
    *,
    run_steps: int = 0,
    feeds: Callable[[], dict] | None = None,
    batches: Iterable[dict] | None = None,
) -> Diagnosis:
    """Returns what `diagnose` found, with the facts of the graph. The arguments are the same."""
    from diagnosis import examination

    diagnosis = examination.examine(graph, train_ops, outputs, checkpoint)
    if run_steps:
        from diagnosis import running

        running.add_findings(diagnosis, run_steps, feeds)
    if batches is not None:
        from console.errors import InputError
        from diagnosis import data

        prefix = checkpoint or diagnosis.facts.source.checkpoint
        if prefix is None:
            raise InputError("batches to compare with: expected a checkpoint, found none")
        data.add_findings(diagnosis, str(prefix), batches)
    return diagnosis


def warn(graph: Any, *arguments: Any, **options: Any) -> None:
    """Writes a line to standard error for each error that `diagnose` finds; nothing if all is well.

    For a program's own graphs, at its start. The arguments are those of `diagnose`.
    """
    from console.progress import note

    for one in diagnose(graph, *arguments, **options):
        if one.severity == "error":
            note(f"warning: {one} ({one.why}; docs/doctor.md)")


def graph_of_flags(
    meta_graph: str | None,
    saved_model: str | None,
    frozen_graph: str | None,
    checkpoint: str | None,
) -> Any:
    """Returns the graph that one of the flags names, or that of the checkpoint.

    Raises:
        InputError: a file is not what it should be, or several are named.
    """
    from console.errors import InputError
    from diagnosis import reading

    named = [name for name in (meta_graph, saved_model, frozen_graph) if name]
    if len(named) > 1:
        raise InputError(f"expected one graph, found {' and '.join(named)}")
    if saved_model:
        return reading.read_saved_model(saved_model)
    if frozen_graph:
        return reading.read_frozen_graph(frozen_graph)
    if not meta_graph and not pathlib.Path(f"{checkpoint}.meta").exists():
        raise InputError(
            f"--checkpoint: expected its graph in {checkpoint}.meta, found none; name the graph "
            "with --meta_graph, --saved_model or --frozen_graph"
        )
    return reading.read_meta_graph(meta_graph or f"{checkpoint}.meta")
