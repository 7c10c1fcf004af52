"""The cases in which the batch norms of `bn_compat.py` are compared with TF1's originals.

Options that could interact are crossed; the others are tried one at a time. Runs on Python 3.7 and
TF 1.15, like everything in this folder.
"""

import collections
import itertools

import numpy as np
import tensorflow.compat.v1 as tf

TRAINING, INFERENCE, EITHER = "training", "inference", "either"
PHASES = (TRAINING, INFERENCE, EITHER)

SHAPES = {2: (8, 3), 3: (8, 2, 3), 4: (8, 2, 1, 3), 5: (8, 2, 1, 2, 3)}

VARIABLES_COLLECTION = "variables of the case"
UPDATES_COLLECTION = "updates of the case"
OUTPUTS_COLLECTION = "outputs of the case"

# `api` is "contrib" for tf.contrib.layers.batch_norm or "layers" for
# tf.layers.batch_normalization. `phase` is one of PHASES; for EITHER, a placeholder decides.
Case = collections.namedtuple("Case", "name api shape phase dtype options")


def all_cases():
    """Returns the list of all cases; their names differ."""
    cases = list(itertools.chain(_contrib_crossed(), _contrib_singly(), _layers()))
    assert len({case.name for case in cases}) == len(cases)
    return cases


def is_as_in_later_versions(case):
    """Whether this is a case of tf.layers in which tf_keras still does what TF 1.15 did.

    tf_keras also uses the fused kernel, with its unbiased variance, for rank 5. And it treats
    inference inputs as one ghost batch, so its ghost batches differ where a placeholder says
    training.
    """
    options = case.options
    keeps_from_kernel = (
        options.get("fused") is False or "axis" in options or "adjustment" in options
    )
    is_newly_fused = len(case.shape) == 5 and not keeps_from_kernel
    has_other_ghosts = case.phase == EITHER and "virtual_batch_size" in options
    return case.api == "layers" and not is_newly_fused and not has_other_ghosts


def batch(shape, dtype, step):
    """Returns the inputs of a step; each feature has its own mean and spread."""
    features = np.random.RandomState(0)
    mean = features.uniform(-1.0, 1.0, size=shape[1:])
    spread = features.uniform(0.5, 1.5, size=shape[1:])
    return (np.random.RandomState(step).normal(size=shape) * spread + mean).astype(dtype)


def _contrib_crossed():
    for rank, phase, scale, fused, in_place, zero_debias in itertools.product(
        (2, 4), PHASES, (False, True), (None, False), (False, True), (False, True)
    ):
        yield _case(
            "contrib",
            rank,
            phase,
            decay=0.7,
            center=not scale,
            scale=scale,
            fused=fused,
            updates_collections=None if in_place else tf.GraphKeys.UPDATE_OPS,
            zero_debias_moving_mean=zero_debias,
        )
    # On CPUs the original's fused kernel refuses NCHW.
    for rank, phase, in_place in itertools.product((2, 4, 5), PHASES, (False, True)):
        yield _case(
            "contrib",
            rank,
            phase,
            decay=0.7,
            scale=True,
            fused=False,
            data_format="NCHW",
            updates_collections=None if in_place else tf.GraphKeys.UPDATE_OPS,
        )
    for rank, phase, data_format, in_place in itertools.product(
        (2, 4), PHASES, ("NHWC", "NCHW"), (False, True)
    ):
        yield _case(
            "contrib",
            rank,
            phase,
            decay=0.7,
            data_format=data_format,
            batch_weights=_weights_of_examples(SHAPES[rank][0]),
            updates_collections=None if in_place else tf.GraphKeys.UPDATE_OPS,
        )
    for rank, phase, clipping, data_format in itertools.product(
        (2, 4), PHASES, (None, _CLIPPING), ("NHWC", "NCHW")
    ):
        yield _case(
            "contrib",
            rank,
            phase,
            decay=0.9,
            scale=True,
            data_format=data_format,
            renorm=True,
            renorm_clipping=clipping,
            renorm_decay=0.6,
        )


def _contrib_singly():
    for rank, phase in itertools.product((2, 3, 4, 5), PHASES):
        yield _case("contrib", rank, phase)
        yield _case("contrib", rank, phase, fused=True)
        yield _case("contrib", rank, phase, updates_collections=UPDATES_COLLECTION)
        yield _case("contrib", rank, phase, scale=True, adjustment=_adjustment)
        yield _case("contrib", rank, phase, scale=True, trainable=False)
    for rank, options in itertools.product(
        (2, 4),
        (
            {"decay": 0.0},
            {"decay": 0.5},
            {"epsilon": 0.1},
            {"epsilon": 0.1, "fused": False},
            {"activation_fn": tf.nn.relu},
            {"renorm": True},
            {"renorm": True, "adjustment": _adjustment},
            {"param_initializers": _INITIALIZERS},
            {"param_initializers": _INITIALIZERS, "renorm": True},
            {"param_initializers": _INITIALIZERS, "updates_collections": None},
            {"param_regularizers": _REGULARIZERS},
            {"trainable": False, "updates_collections": None},
            {"variables_collections": [VARIABLES_COLLECTION]},
            {"variables_collections": [VARIABLES_COLLECTION], "updates_collections": None},
            {"variables_collections": {"beta": [VARIABLES_COLLECTION]}},
            {"variables_collections": {"moving_mean": [VARIABLES_COLLECTION]}, "fused": False},
            {"outputs_collections": OUTPUTS_COLLECTION},
            {"outputs_collections": [OUTPUTS_COLLECTION], "updates_collections": None},
        ),
    ):
        yield _case("contrib", rank, TRAINING, **dict({"scale": True}, **options))
    for phase, fused in itertools.product(PHASES, (None, False)):
        yield _case("contrib", 4, phase, dtype="float16", fused=fused)
    for phase in PHASES:
        yield _case("contrib", 4, phase, dtype="float64", fused=False)


def _layers():
    for rank, phase, center, scale, fused in itertools.product(
        (2, 3, 4, 5), PHASES, (False, True), (False, True), (None, False)
    ):
        yield _case("layers", rank, phase, momentum=0.7, center=center, scale=scale, fused=fused)
    for (rank, axis), phase in itertools.product(
        ((2, 1), (3, 1), (4, 1), (4, 2), (5, 1), (4, [1, 3]), (4, [-1, 1]), (5, [1, 2, 4])), PHASES
    ):
        yield _case("layers", rank, phase, momentum=0.7, axis=axis, fused=False)
    for rank, phase, axis, clipping in itertools.product(
        (2, 4), PHASES, (1, -1), (None, _CLIPPING)
    ):
        yield _case(
            "layers",
            rank,
            phase,
            momentum=0.9,
            axis=axis,
            renorm=True,
            renorm_clipping=clipping,
            renorm_momentum=0.6,
        )
    for rank, phase, axis in itertools.product((2, 4, 5), PHASES, (1, -1)):
        yield _case("layers", rank, phase, momentum=0.7, axis=axis, virtual_batch_size=4)
    for rank, phase in itertools.product((2, 3, 4, 5), PHASES):
        yield _case("layers", rank, phase)
        yield _case("layers", rank, phase, fused=True)
        yield _case("layers", rank, phase, adjustment=_adjustment)
        yield _case("layers", rank, phase, trainable=False)
    for rank, options in itertools.product(
        (2, 4),
        (
            {"momentum": 0.0},
            {"momentum": 0.999},
            {"epsilon": 0.1},
            {"epsilon": 0.1, "fused": False},
            {"renorm": True},
            {"renorm": True, "adjustment": _adjustment},
            {"renorm": True, "virtual_batch_size": 4},
            {"name": "named"},
            _LAYER_INITIALIZERS,
            dict(_LAYER_INITIALIZERS, renorm=True),
            {"beta_regularizer": _sum_of_squares, "gamma_regularizer": _sum_of_squares},
            {"beta_constraint": tf.nn.relu, "gamma_constraint": tf.nn.relu},
        ),
    ):
        yield _case("layers", rank, TRAINING, **options)
    for phase, fused in itertools.product(PHASES, (None, False)):
        yield _case("layers", 4, phase, dtype="float16", fused=fused)
    for phase in PHASES:
        yield _case("layers", 4, phase, dtype="float64", fused=False)


def _case(api, rank, phase, dtype="float32", **options):
    shown = [f"{option}={_text(value)}" for option, value in sorted(options.items())]
    name = " ".join([api, f"rank={rank}", phase, dtype] + shown)
    return Case(name, api, SHAPES[rank], phase, dtype, options)


def _text(value):
    """Returns a text for an option's value that does not depend on the version of Python."""
    if isinstance(value, dict):
        items = " ".join(f"{key}:{_text(value[key])}" for key in sorted(value))
        return f"{{{items}}}"
    if isinstance(value, (list, tuple)):
        items = " ".join(map(_text, value))
        return f"[{items}]"
    if isinstance(value, tf.constant_initializer):
        return "constant"
    return getattr(value, "__name__", str(value))


def _weights_of_examples(count):
    """Different weights, one of them 0."""
    return [0.5 * example for example in range(count)]


def _adjustment(shape):
    channels = tf.cast(tf.range(shape[-1]), tf.float32)
    return 0.9 + 0.1 * channels, 0.2 - 0.1 * channels


def _sum_of_squares(weights):
    return 0.1 * tf.reduce_sum(tf.square(weights))


_CLIPPING = {"rmin": 0.8, "rmax": 1.2, "dmax": 0.3}
_INITIALIZERS = {
    "beta": tf.constant_initializer(0.1),
    "gamma": tf.constant_initializer(0.2),
    "moving_mean": tf.constant_initializer(0.3),
    "moving_variance": tf.constant_initializer(0.4),
}
_LAYER_INITIALIZERS = {
    f"{name}_initializer": initializer for name, initializer in _INITIALIZERS.items()
}
_REGULARIZERS = {"beta": _sum_of_squares, "gamma": _sum_of_squares}
