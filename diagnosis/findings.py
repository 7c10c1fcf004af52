"""What a rule says: what was found, why it matters, and the cure in a line of code."""

from __future__ import annotations

from typing import NamedTuple

SEVERITIES = ("error", "warning", "cannot_tell", "note")
EVIDENCE = ("graph", "run", "checkpoint", "data")

_DEPEND = (
    "with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)): "
    "train_op = optimizer.minimize(loss)"
)
_PHASE = "batch_normalization(inputs, training=is_training), and feed {is_training: False}"
_STATISTICS = "bn_tools.population_statistics(session, layers_of(graph), feeds)"

# Of each rule: what it is about, why it matters, and the cure.
RULES: dict[str, tuple[str, str, str]] = {
    "BN101": (
        "the updates are not run",
        "the moving averages stay at their initial values, and inference normalizes with them",
        _DEPEND,
    ),
    "BN102": (
        "there is no update",
        "nothing ever computes population statistics, so inference has none to use",
        "hidden = bn_wrapper.batch_norm_wrapper(inputs, phase_train=True)",
    ),
    "BN103": (
        "evaluation updates too",
        "each evaluation mixes its data into the statistics, and so changes the next result",
        "tf.cond(is_training, lambda: update(), lambda: population())  # the updates made inside",
    ),
    "BN104": (
        "some updates are not run",
        "inference normalizes some layers with statistics of no data, or of data long ago",
        _DEPEND + "  # after all layers are built",
    ),
    "BN201": (
        "outputs depend on the batch",
        "an example's output depends on the others in its batch, and is wrong for a batch of one",
        _PHASE,
    ),
    "BN202": (
        "a phase in inference",
        "whoever runs this graph has to know the phase; with the wrong one, nothing says so",
        "is_training = tf.placeholder_with_default(False, [])",
    ),
    "BN301": (
        "statistics are not saved",
        "a restored network normalizes with initial values, while its weights are trained",
        "saver = tf.train.Saver(tf.global_variables())",
    ),
    "BN302": (
        "statistics are initial",
        "inference normalizes with mean 0 and variance 1, which are not those of any data",
        _DEPEND + "; after training: " + _STATISTICS,
    ),
    "BN303": (
        "statistics are not the data's",
        "inference sees the data shifted and scaled otherwise than training did",
        _STATISTICS,
    ),
    "BN304": (
        "the decay is too slow",
        "the averages still hold much of their initial values",
        "batch_normalization(..., momentum=0.9), or " + _STATISTICS,
    ),
    "BN305": (
        "values that can't be",
        "they make outputs NaN, or channels that say nothing",
        _STATISTICS,
    ),
    "BN401": (
        "half frozen",
        "TF1's trainable=False freezes scale and beta only, TF2's means inference",
        "batch_normalization(..., training=False, trainable=False)  # to freeze a layer",
    ),
    "BN402": (
        "a wasted bias",
        "the mean that batch norm subtracts includes it; beta does its work",
        "tf.layers.conv2d(..., use_bias=False)",
    ),
    "BN403": (
        "several updates a step",
        "the averages follow the last, or mix the statistics of different data",
        "tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)  # of one tower, or of one network",
    ),
    "BN404": (
        "two graphs that differ",
        "inference computes another function than training learned",
        "batch_normalization(..., epsilon=EPSILON)  # one constant for both",
    ),
    "BN405": (
        "variables changed by what must not",
        "a penalty or a gradient on statistics or offsets is not what was meant",
        "[v for v in tf.trainable_variables() if v.shape.ndims > 1]  # what weight decay is for",
    ),
    "BN406": (
        "a train op without effect",
        "it looks as if the updates were run, but they are not",
        "train_op = tf.group(optimizer.minimize(loss), "
        "*tf.get_collection(tf.GraphKeys.UPDATE_OPS))",
    ),
    "BN407": (
        "normalized over the wrong values",
        "the statistics are not those of a channel, or are never used",
        "batch_normalization(inputs, axis=channels, training=is_training)  # 1 for NCHW, else -1",
    ),
}


class Finding(NamedTuple):
    """What a rule found."""

    id: str  # a key of `RULES`
    severity: str  # one of `SEVERITIES`
    layer: str | None  # its name; None if it is about the graph
    evidence: str  # one of `EVIDENCE`
    what: str
    why: str
    cure: str

    def __str__(self) -> str:
        where = f"{self.layer}: " if self.layer else ""
        return f"{self.id} {self.severity}: {where}{self.what}"


def finding(
    rule: str, severity: str, layer: str | None, what: str, evidence: str = "graph"
) -> Finding:
    """Returns a finding of a rule, with the reason and the cure that the rule has."""
    _, why, cure = RULES[rule]
    return Finding(rule, severity, layer, evidence, what, why, cure)


def several(names: list[str]) -> str:
    """Returns a few names, and how many more there are."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
