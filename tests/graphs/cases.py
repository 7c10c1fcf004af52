"""The table of sources and faults: which graphs there are, and which rules each breaks."""

import gzip
import pathlib

import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import meta_graph_pb2

import doctor
from tests.graphs import sources
from tests.graphs.sources import WAYS_OF_ALL_TIMES, WAYS_OF_TODAY

FOLDER = pathlib.Path(__file__).parent
OF_1_15 = sorted(FOLDER.glob("*.meta.gz"))
OF_TODAY = {**WAYS_OF_TODAY, **WAYS_OF_ALL_TIMES}
# Averages that are made within a call can't be shared with another.
NO_TOWERS = {"cond and EMA", "legacy Keras", "legacy Keras unfused"}
TENSOR_PHASES = ("placeholder", "placeholder with default", "variable")
KINDS = {
    "sound": lambda way: sources.training(way),
    "grouped": lambda way: sources.training(way, updates="group"),
    "placeholder": lambda way: sources.training(way, "placeholder"),
    "placeholder with default": lambda way: sources.training(way, "default"),
    "variable": lambda way: sources.training(way, "variable"),
    "forgotten": lambda way: sources.training(way, updates="forgotten"),
    "constructor": lambda way: sources.training(way, updates="constructor"),
    "some": lambda way: sources.training(way, updates="some"),
    "inference": lambda way: sources.inference(way),
    "inference in training": lambda way: sources.inference(way, True),
    "towers": lambda way: sources.two_towers(way),
    "towers in training": lambda way: sources.two_towers(way, evaluated_in_training=True),
}


CELLS = [
    (way, kind)
    for way in OF_TODAY
    for kind in KINDS
    if not (way in sources.NEED_BOOL and kind in TENSOR_PHASES)
    and not (way in NO_TOWERS and kind.startswith("towers"))
]


def meta_graph(path):
    """Reads a graph that TF 1.15.5 exported."""
    parsed = meta_graph_pb2.MetaGraphDef()
    parsed.ParseFromString(gzip.decompress(path.read_bytes()))
    return parsed


def built(way, kind):
    """Builds a graph of today."""
    with tf.Graph().as_default() as graph:
        KINDS[kind](OF_TODAY[way])
    return graph


def errors(findings):
    return sorted({one.id for one in findings if one.severity == "error"})


def found(findings, rule):
    return [one for one in findings if one.id == rule]


def expected_errors(way, kind):
    """The rules that a graph breaks: updates that are in place always run."""
    is_in_place = way in sources.IN_PLACE
    return {
        "forgotten": [] if is_in_place else ["BN101"],
        "constructor": [] if is_in_place else ["BN101"],
        "some": [] if is_in_place else ["BN104"],
        "inference in training": ["BN103", "BN201"] if is_in_place else ["BN201"],
        "towers in training": ["BN103", "BN201"] if is_in_place else ["BN201"],
    }.get(kind, [])


def check_graph_of_1_15(path):
    way, _, kind = path.name.removesuffix(".meta.gz").replace("_", " ").partition("--")
    findings = doctor.diagnose(meta_graph(path))
    assert errors(findings) == expected_errors(way, kind), findings
    if kind == "hook" and way not in sources.IN_PLACE:
        assert {one.severity for one in found(findings, "BN101")} == {"cannot_tell"}


def check_graph_of_today(way, kind):
    findings = doctor.diagnose(built(way, kind))
    assert errors(findings) == expected_errors(way, kind), findings
    if kind == "inference":
        assert not findings


def check_that_running_agrees(graph):
    """Asks by structure and by running: both find the same errors."""
    findings = doctor.diagnose(graph, run_steps=2)
    seen = {one.id for one in findings if one.severity == "error" and one.evidence == "run"}
    told = {one.id for one in findings if one.severity == "error" and one.evidence == "graph"}
    assert seen == told, findings
