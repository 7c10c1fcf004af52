"""The examination of a graph: all rules in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from diagnosis import checkpoints, inference, semantics, updates
from diagnosis.facts import Facts
from diagnosis.findings import SEVERITIES, Finding, finding
from diagnosis.reading import source_of


@dataclasses.dataclass
class Diagnosis:
    """What was found in a graph."""

    facts: Facts
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """The findings that are errors."""
        return [one for one in self.findings if one.severity == "error"]


def examine(
    graph: Any,
    train_ops: Sequence[Any] | None = None,
    outputs: Sequence[Any] | None = None,
    checkpoint: str | None = None,
) -> Diagnosis:
    """Asks all rules that need no run. For the arguments see `diagnose`."""
    source = source_of(graph)
    facts = Facts(source, _names(train_ops), _names(outputs))
    prefix = checkpoint or source.checkpoint
    values = None
    if prefix is not None:
        values = checkpoints.Checkpoint(str(prefix), checkpoints.keys_of(facts))
    found = [
        *updates.findings(facts),
        *inference.findings(facts),
        *checkpoints.findings(facts, values),
        *semantics.findings(facts),
    ]
    if facts.is_training_graph and not facts.train_ops:
        found.append(
            finding("BN101", "cannot_tell", None, "no train op was found: name it to ask about it")
        )
    moved = set() if values is None else checkpoints.moved(facts, values)
    found = [_weighed(one, moved) for one in dict.fromkeys(found)]
    return Diagnosis(facts, ordered(found))


def _weighed(one: Finding, moved: set[str]) -> Finding:
    """Doubts that updates are not run, for a layer whose statistics have moved in a checkpoint."""
    if one.id not in ("BN101", "BN104") or one.severity != "error" or one.layer not in moved:
        return one
    doubt = "; but the checkpoint's statistics have moved: they were loaded, or something runs them"
    return one._replace(severity="cannot_tell", what=one.what + doubt)


def ordered(found: list[Finding]) -> list[Finding]:
    """Sorts findings: what is worst first."""
    return sorted(found, key=lambda one: (SEVERITIES.index(one.severity), one.id))


def _names(things: Sequence[Any] | None) -> list[str] | None:
    """Returns the names of ops or tensors, which may be given by name."""
    if things is None:
        return None
    if isinstance(things, str) or not isinstance(things, Sequence):
        things = [things]
    return [thing if isinstance(thing, str) else thing.name for thing in things]
