"""Rule 303: the population statistics of a checkpoint against those of the user's own data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from console.errors import CommandError, InputError, reason
from diagnosis.checkpoints import Checkpoint, keys_of
from diagnosis.examination import Diagnosis, ordered
from diagnosis.findings import Finding, finding
from diagnosis.layers import Call, Layer
from diagnosis.roles import mode
from diagnosis.running import Copy

# How far the mean may be off, in standard deviations, and the variance, as a factor.
FAR, FARTHEST = (0.3, 1.5), (1.0, 4.0)


def add_findings(diagnosis: Diagnosis, checkpoint: str, batches: Iterable[dict]) -> None:
    """Adds how far the statistics in a checkpoint are from those of batches of data.

    Args:
        diagnosis: of a graph, which is run with the values of the checkpoint.
        checkpoint: its prefix.
        batches: feed dicts by names of tensors, which together are the data.

    Raises:
        InputError: a layer's inputs can't be computed from such a feed.
    """
    values = Checkpoint(checkpoint, keys_of(diagnosis.facts))
    found = list(_findings(diagnosis, values, list(batches)))
    diagnosis.findings[:] = ordered([*diagnosis.findings, *found])


def _findings(diagnosis: Diagnosis, values: Checkpoint, batches: list[dict]) -> Iterable[Finding]:
    facts = diagnosis.facts
    of_layers = {
        layer: call
        for layer in facts.layers
        for call in layer.calls
        if mode(call, facts.inference) == "population" and layer.means and layer.variances
    }
    moments = _moments(diagnosis, values, of_layers, batches)
    for layer, (mean, var) in moments.items():
        pop_mean, pop_var = (
            np.asarray(values.value(side[0].name), np.float64).reshape(-1)
            for side in (layer.means, layer.variances)
        )
        stddev = np.sqrt(np.maximum(var, 1e-12))
        off = float(np.sqrt(np.mean(((pop_mean - mean) / stddev) ** 2)))
        ratio = float(np.exp(np.median(np.abs(np.log((pop_var + 1e-12) / (var + 1e-12))))))
        is_far = off > FAR[0] or ratio > FAR[1]
        is_farthest = off > FARTHEST[0] or ratio > FARTHEST[1]
        what = (
            f"the mean is {off:.2f} standard deviations from that of the data, the variance off by "
            f"a factor of {ratio:.2f}"
        )
        if is_far:
            severity = "error" if is_farthest else "warning"
            yield finding("BN303", severity, layer.name, what, "data")


def _moments(
    diagnosis: Diagnosis, values: Checkpoint, calls: dict[Layer, Call], batches: list[dict]
) -> dict[Layer, tuple[Any, Any]]:
    """Returns the mean and variance of each layer's inputs over the data."""
    import tensorflow.compat.v1 as tf

    facts = diagnosis.facts
    names = {
        layer: f"{call.inputs[0].name}:{call.inputs[1]}"
        for layer, call in calls.items()
        if call.inputs[0].name in {node.name for node in facts.source.graph_def.node}
    }
    if not names:
        return {}
    copy = Copy(facts, more=[name.partition(":")[0] for name in names.values()])
    sums: dict[Layer, list[Any]] = {layer: [0, 0.0, 0.0] for layer in names}
    try:
        with tf.Session(graph=copy.graph) as session:
            copy.initialize(session)
            copy.load_checkpoint(session, values)
            for batch in batches:
                feeds = copy.feeds_of(batch)
                for layer, inputs in session.run(names, feeds).items():
                    axes = _others(calls[layer], np.ndim(inputs))
                    data = np.asarray(inputs, np.float64)
                    count = data.size // np.mean(data, axes).size
                    sums[layer][0] += count
                    sums[layer][1] += np.sum(data, axes)
                    sums[layer][2] += np.sum(data**2, axes)
    except (tf.errors.OpError, ValueError, TypeError, CommandError) as error:
        raise InputError(f"the data can't be run through the graph: {reason(error)}") from error
    moments = {}
    for layer, (count, total, squares) in sums.items():
        mean = total / count
        moments[layer] = mean, np.maximum(squares / count - mean**2, 0)
    return moments


def _others(call: Call, rank: int) -> tuple[int, ...]:
    """Returns the dimensions that statistics run over."""
    if call.axes is not None and rank == 4:
        return tuple(sorted(call.axes))
    return tuple(range(rank - 1))
