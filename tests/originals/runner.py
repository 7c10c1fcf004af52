"""Computes what an implementation of batch norm does in each of the cases.

A `Result` holds `facts`, which must be equal, such as the names of variables, and `values`, which
may differ slightly, such as outputs and gradients.
"""

import collections
import json

import numpy as np
import tensorflow.compat.v1 as tf

from tests.originals import cases

STEPS = 10
RECORDED_STEPS = (1, 2, STEPS)
INFERENCE_STEP = STEPS + 1

# A single graph of all cases would be slow to run, and one per case slow to start.
CASES_IN_A_GRAPH = 20

# The largest differences that are tolerated, see `kind`. From float64 gradients of gamma, those of
# the originals, whose sums lose digits where the mean is not 0, differ by up to 2.3e-6, and ours by
# 0.7e-6.
LIMITS = {"moments": 1e-6, "gradient of gamma": 3e-6, "fused": 1e-5, "float16": 5e-3}

Result = collections.namedtuple("Result", "facts values")
# A built layer. What to run or read is a dict by name, except `updates`, which is a list.
Layer = collections.namedtuple("Layer", "case facts variables losses updates training inference")

# First and last of the values that replace the initial ones, so that channels differ.
_LOADED = {"gamma": (0.4, 0.8), "beta": (-0.3, 0.3)}
_LOADED_FOR_INFERENCE = {"moving_mean": (-0.5, 0.5), "moving_variance": (0.5, 2.0)}

_OF_VARIABLES = (
    tf.GraphKeys.GLOBAL_VARIABLES,
    tf.GraphKeys.TRAINABLE_VARIABLES,
    tf.GraphKeys.MODEL_VARIABLES,
    cases.VARIABLES_COLLECTION,
)
_OF_OTHERS = (
    tf.GraphKeys.UPDATE_OPS,
    tf.GraphKeys.REGULARIZATION_LOSSES,
    cases.UPDATES_COLLECTION,
    cases.OUTPUTS_COLLECTION,
)


def results(table, implementations):
    """Computes results.

    Args:
        table: list of cases.
        implementations: dict of dicts of functions, by a name of your choice and by API.

    Yields:
        A case, and a dict of its `Result`s by implementation.
    """
    for start in range(0, len(table), CASES_IN_A_GRAPH):
        part = table[start : start + CASES_IN_A_GRAPH]
        with tf.Graph().as_default():
            layers, feeds = _build_all(part, implementations)
            with tf.Session(config=_unoptimized()) as session:
                values = _run_all(session, layers, feeds)
        for case in part:
            yield (
                case,
                {
                    name: Result(layers[name, case.name].facts, values[name, case.name])
                    for name in implementations
                },
            )


def kind(case, facts, name):
    """Returns which of the LIMITS applies to a value of a case, given the original's facts."""
    if case.dtype == "float16":
        return "float16"
    if facts["is fused"]:
        return "fused"
    is_of_gamma = "gradient of" in name and name.endswith("/gamma")
    return "gradient of gamma" if is_of_gamma else "moments"


def differing_facts(expected, actual):
    """Compares two dicts of facts; `is fused` is how a result is computed, not part of it."""
    names = (set(expected) | set(actual)) - {"is fused"}
    return {
        name: [expected.get(name), actual.get(name)]
        for name in sorted(names)
        if expected.get(name) != actual.get(name)
    }


def differences(expected, actual):
    """Compares two dicts of values; returns the largest difference in each, by name."""
    return {
        name: _difference(expected[name], actual[name], is_relative="gradient" in name)
        if name in expected and name in actual
        else float("inf")
        for name in set(expected) | set(actual)
    }


def _difference(expected, actual, is_relative):
    """Gradients grow with the number of examples, so above 1 their difference is relative."""
    expected, actual = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    if expected.shape != actual.shape or not np.all(np.isfinite(actual)):
        return float("inf")
    size = np.maximum(1.0, np.abs(expected)) if is_relative else 1.0
    return float(np.max(np.abs(expected - actual) / size))


def _unoptimized():
    """Each graph runs only a dozen times, so optimizing it takes longer than running it."""
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def _build_all(table, implementations):
    """Returns a dict of layers by implementation and name of the case, and a feeding function."""
    placeholders, layers = {}, collections.OrderedDict()
    is_training = tf.placeholder(tf.bool, [], "is_training")
    for index, case in enumerate(table):
        key = case.shape, case.dtype
        if key not in placeholders:
            # Most programs leave the size of the batch open.
            placeholders[key] = tf.placeholder(case.dtype, (None,) + case.shape[1:])
        for name, functions in implementations.items():
            scope = f"{name}/case{index}"
            layers[name, case.name] = _build(
                case, functions[case.api], scope, placeholders[key], is_training
            )

    def feeds(step, training):
        values = {
            placeholder: cases.batch(shape, dtype, step)
            for (shape, dtype), placeholder in placeholders.items()
        }
        values[is_training] = training
        return values

    return layers, feeds


def _build(case, batch_norm, scope, inputs, is_training):
    """Builds a case's layer; if it can only train, also one for inference on the same variables."""
    sizes = {key: len(tf.get_collection(key)) for key in _OF_VARIABLES + _OF_OTHERS}

    def added(key):
        return tf.get_collection(key)[sizes[key] :]

    def named(key):
        return collections.OrderedDict((_relative_name(v, scope), v) for v in added(key))

    training = {cases.TRAINING: True, cases.INFERENCE: False, cases.EITHER: is_training}
    with tf.variable_scope(scope):
        outputs = batch_norm(inputs, training[case.phase], **case.options)
        variables = named(tf.GraphKeys.GLOBAL_VARIABLES)
        updates = added(tf.GraphKeys.UPDATE_OPS) + added(cases.UPDATES_COLLECTION)
        to_train = to_infer = _outputs_and_gradients(outputs, inputs, variables)
        if case.phase == cases.TRAINING:
            layer_name = min(variables).split("/")[0]
            options = dict(case.options, name=layer_name, reuse=True)
            inferred = batch_norm(inputs, False, **options)
            to_infer = {"outputs": inferred}

    facts = {
        "outputs": [outputs.shape.as_list(), outputs.dtype.name],
        "outputs are called": _relative_name(outputs, scope),
        "updates are called": [_relative_name(update, scope) for update in updates],
        "updates are": [
            "op" if isinstance(update, tf.Operation) else "tensor" for update in updates
        ],
        "trained are, in this order": [
            _relative_name(variable, scope) for variable in added(tf.GraphKeys.TRAINABLE_VARIABLES)
        ],
        "variables": {
            name: [variable.shape.as_list(), variable.dtype.base_dtype.name]
            for name, variable in variables.items()
        },
        "constrained": sorted(name for name in variables if variables[name].constraint),
        "outputs are collected": any(t is outputs for t in added(cases.OUTPUTS_COLLECTION)),
        "is fused": any(
            op.type.startswith("FusedBatchNorm") and op.name.startswith(scope + "/")
            for op in tf.get_default_graph().get_operations()
        ),
    }
    facts.update((f"names in {key}", sorted(named(key))) for key in _OF_VARIABLES)
    facts.update((f"number of {key}", len(added(key))) for key in _OF_OTHERS)
    losses = added(tf.GraphKeys.REGULARIZATION_LOSSES)
    losses = {"sum": tf.add_n(losses)} if losses else {}
    return Layer(case, facts, variables, losses, updates, to_train, to_infer)


def _relative_name(found, scope):
    """Returns the name of an op, a tensor or a variable without its scope.

    TF1's zero-debiasing variables have the scope in their name twice.
    """
    return getattr(found, "op", found).name.replace(scope + "/", "")


def _outputs_and_gradients(outputs, inputs, variables):
    weights = np.random.RandomState(1).uniform(-1.0, 1.0, size=inputs.shape.as_list()[1:])
    loss = tf.reduce_sum(outputs * weights.astype(inputs.dtype.as_numpy_dtype))
    sources = {"inputs": inputs}
    sources.update(
        (name, variable)
        for name, variable in variables.items()
        if name.endswith(("/gamma", "/beta"))
    )
    names = sorted(sources)
    gradients = tf.gradients(loss, [sources[name] for name in names])
    tensors = {f"gradient of {names[i]}": gradient for i, gradient in enumerate(gradients)}
    tensors["outputs"] = outputs
    return tensors


def loaded(case, name, shape):
    """Returns what to set a variable to before anything runs, or None to leave it as it is."""
    ranges = dict(_LOADED)
    if case.phase == cases.INFERENCE:
        ranges.update(_LOADED_FOR_INFERENCE)
    if name not in ranges:
        return None
    first, last = ranges[name]
    return np.linspace(first, last, int(np.prod(shape))).reshape(shape)


def _load(layer):
    ops = []
    for path, variable in layer.variables.items():
        values = loaded(layer.case, path.split("/")[-1], variable.shape.as_list())
        if values is not None:
            ops.append(tf.assign(variable, values.astype(variable.dtype.as_numpy_dtype)))
    return ops


def _run_all(session, layers, feeds):
    """Trains all layers and infers with them; returns their values as a dict of dicts."""
    recorded = {key: {} for key in layers}

    def record(prefix, found):
        for key, values in found.items():
            for name, value in values.items():
                recorded[key][f"{prefix}: {name}"] = value

    def read(field, feed=None):
        return session.run({key: getattr(layer, field) for key, layer in layers.items()}, feed)

    updates = [layer.updates for layer in layers.values()]
    trained = {key: layer.training for key, layer in layers.items()}
    session.run(tf.global_variables_initializer())
    record("initially", read("variables"))
    session.run([_load(layer) for layer in layers.values()])
    record("regularization losses", read("losses"))
    for step in range(1, STEPS + 1):
        found, _ = session.run([trained, updates], feeds(step, training=True))
        if step in RECORDED_STEPS:
            record(f"in step {step}", found)
            record(f"after step {step}", read("variables"))
    record("in inference", read("inference", feeds(INFERENCE_STEP, training=False)))
    record("after inference", read("variables"))
    return recorded


class Summary:
    """The number of cases compared, their largest differences, and what is wrong."""

    def __init__(self, is_about_names=True):
        self.is_about_names = is_about_names
        self.largest = {}
        self.count = 0
        self.failures = []

    def add(self, case, expected, actual):
        """Compares the `Result`s of a case."""
        self.count += 1
        for name, (one, other) in differing_facts(expected.facts, actual.facts).items():
            if self.is_about_names or not name.endswith("are called"):
                self.failures.append(f"{case.name}: {name}: {other}, not {one}")
        for name, difference in differences(expected.values, actual.values).items():
            of_kind = kind(case, expected.facts, name)
            self.largest[of_kind] = max(difference, self.largest.get(of_kind, 0.0))
            if not difference <= LIMITS[of_kind]:
                self.failures.append(f"{case.name}: {name}: differs by {difference:g}")

    def as_json(self):
        """Returns the summary as one line."""
        return json.dumps(
            {
                "cases": self.count,
                "failures": len(self.failures),
                "largest difference": self.largest,
            },
            sort_keys=True,
        )
