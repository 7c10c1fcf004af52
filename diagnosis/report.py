"""The diagnosis as text for people and as JSON for programs."""

from __future__ import annotations

import textwrap
from typing import Any

from console import markdown
from diagnosis import roles
from diagnosis.examination import Diagnosis
from diagnosis.facts import Facts
from diagnosis.findings import SEVERITIES, Finding
from diagnosis.layers import Layer

_COLOURS = {"error": "31;1", "warning": "33;1", "cannot_tell": "36;1", "note": "2"}
_WORDS = {"cannot_tell": "can't tell"}
_SEEN = {
    "graph": "seen in the graph",
    "run": "seen by running it",
    "checkpoint": "seen in the checkpoint",
    "data": "seen in the data",
}
WIDTH = 100


def as_json(*diagnoses: Diagnosis) -> dict[str, Any]:
    """Returns what `doctor.py --json` writes, of one graph or of several together."""
    layers = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "training": _training(diagnosis.facts, layer),
            "statistics": [node.name for node in [*layer.means, *layer.variances]],
            "updates": [update.node.name for update in layer.updates],
        }
        for diagnosis in diagnoses
        for layer in diagnosis.facts.layers
    ]
    return {
        "layers": layers,
        "findings": [one._asdict() for diagnosis in diagnoses for one in diagnosis.findings],
        "train_ops": [node.name for d in diagnoses for node in d.facts.train_ops],
        "outputs": [f"{node.name}:{port}" for d in diagnoses for node, port in d.facts.outputs],
    }


def as_text(diagnosis: Diagnosis, has_colour: bool = False) -> str:
    """Returns the report that `doctor.py` prints."""
    facts = diagnosis.facts
    lines = []
    for what, names, is_named in (
        ("train op", [node.name for node in facts.train_ops], facts.are_train_ops_named),
        ("outputs", [node.name for node, _ in facts.outputs], facts.are_outputs_named),
        ("phase", [phase.node.name for phase in facts.phases], False),
    ):
        if names:
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")
            lines.append(f"{what}: {shown}" + ("" if is_named else " (found)"))
        elif what != "phase":
            lines.append(f"{what}: none")
    lines.append("")
    if facts.layers.all:
        rows = [
            [layer.name, layer.kind, _training(facts, layer), _updates(facts, layer)]
            for layer in facts.layers
        ]
        lines += [markdown.aligned(["layer", "kind", "training", "updates"], rows), ""]
    else:
        lines += ["no batch norm found: there is none, or it was folded into weights", ""]
    lines += _findings(diagnosis.findings, has_colour)
    counts = {s: sum(one.severity == s for one in diagnosis.findings) for s in SEVERITIES}
    names = [_counted(number, severity) for severity, number in counts.items() if number]
    lines.append(f"{len(facts.layers.all)} layers: " + (", ".join(names) or "all is well"))
    return "\n".join(lines)


def _findings(found: list[Finding], has_colour: bool) -> list[str]:
    """Returns the lines of all findings; those that differ only in the layer are put together."""
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for one in found:
        alike.setdefault((one.id, one.severity, one.evidence), []).append(one)
    lines = []
    for (rule, severity, evidence), members in alike.items():
        head = f"{rule} {_WORDS.get(severity, severity)}"
        if has_colour:
            head = f"\033[{_COLOURS[severity]}m{head}\033[0m"
        lines.append(f"{head}, {_SEEN[evidence]}")
        for one in members[:5]:
            what = f"{one.layer}: {one.what}" if one.layer else one.what
            lines += _wrapped(what, "  ")
        if len(members) > 5:
            lines.append(f"  and {len(members) - 5} more layers likewise")
        lines += _wrapped(f"why: {members[0].why}", "  ")
        if severity in ("error", "warning"):
            lines += _wrapped(f"cure: {members[0].cure}", "  ")
        lines.append("")
    return lines


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _training(facts: Facts, layer: Layer) -> str:
    """Says what a layer normalizes with: "batch", "population", "phase" for either, or "both"."""
    if any(facts.has_phase(call) for call in layer.calls):
        return "phase"
    found = [roles.mode(call, facts.training) for call in layer.calls]
    modes = {one for one in found if one is not None}
    if modes == {"batch", "population"}:
        return "both"
    return min(modes) if len(modes) == 1 else "either" if modes else "not run"


def _updates(facts: Facts, layer: Layer) -> str:
    run = len(facts.updates_run(layer))
    if not layer.updates:
        return "none"
    return f"{run} of {len(layer.updates)} run" if facts.train_ops else f"{len(layer.updates)}"


def _counted(number: int, severity: str) -> str:
    word = {"cannot_tell": "that can't be told", "error": "error", "warning": "warning"}.get(
        severity, severity
    )
    plural = "s" if number > 1 and severity != "cannot_tell" else ""
    return f"{number} {word}{plural}"
