"""Every flag of every command: name, default, help and check. Only commands read the values."""

import re

from absl import flags

# `--help` then lists a command's flags as the command's own.
flags.disclaim_key_flags()

DEFAULT_EPOCHS = 3
RUN_NAME_RULE = "must be a file name that begins with a letter or a digit, without a comma"


def define_training() -> None:
    """Defines the flags of `train.py`."""
    _define_data(default="auto")
    _define_json()
    _define_checkpoint_dir()
    _define_summary_dir()
    flags.DEFINE_string("run", None, "Name of the run, by default MODEL-bn or MODEL-nobn.")
    flags.register_validator(
        "run", lambda name: name is None or _is_run_name(name), message=RUN_NAME_RULE
    )
    flags.DEFINE_bool("resume", True, "Take up a run that exists, rather than refuse to.")
    flags.DEFINE_bool("overwrite", False, "Delete a run that exists, and start it afresh.")

    flags.DEFINE_enum(
        "model",
        "cnn",
        ["cnn", "small", "deep", "mlp"],
        "cnn: two 5x5 convolutions and a dense layer; small: the same with a quarter of the work; "
        "deep: five convolutions and a dense layer; mlp: three layers of 100 sigmoid units.",
    )
    flags.DEFINE_bool("batch_norm", True, "Batch normalization; without it, biases.")
    flags.DEFINE_float(
        "bn_decay",
        # A higher one lags behind the weights of a run as short and fast as the default.
        0.9,
        "Weight of the old value in the moving averages, from 0 to 0.99999.",
    )
    flags.DEFINE_enum(
        "population",
        "ema",
        ["ema", "exact"],
        "Statistics for inference. ema: moving averages over the steps; exact: computed from all "
        "training images, with the final weights.",
    )
    flags.DEFINE_float("bn_epsilon", 1e-5, "Added to the variance, above 0.")

    flags.DEFINE_integer(
        "epochs",
        None,
        f"Times through the training images; {DEFAULT_EPOCHS} unless --train_steps is given.",
        lower_bound=1,
    )
    flags.DEFINE_integer("train_steps", None, "Steps, instead of --epochs.", lower_bound=1)
    flags.register_multi_flags_validator(
        ["epochs", "train_steps"],
        lambda values: None in values.values(),
        "expected one of them, found both; one may be in the --flagfile",
    )
    flags.DEFINE_integer("batch_size", 128, "Images a step.", lower_bound=1)
    flags.DEFINE_float("learning_rate", 6e-3, "Highest learning rate of the schedule, above 0.")
    flags.DEFINE_enum(
        "lr_schedule",
        "onecycle",
        ["constant", "cosine", "onecycle"],
        "constant; cosine: falls to 0; onecycle: rises for a quarter of the run, falls to 0.",
    )
    flags.DEFINE_enum("optimizer", "adam", ["adam", "momentum", "sgd"], "Momentum is 0.9.")
    flags.DEFINE_enum(
        "augment",
        "none",
        ["none", "affine", "elastic"],
        "Distorts the training images. affine: turns, shears, scales and shifts each; elastic: "
        "bends those of a batch as well, all in the same way.",
    )
    flags.DEFINE_float(
        "label_smoothing", 0.0, "Share of each label that goes to all classes alike, in [0, 1)."
    )
    flags.DEFINE_float(
        "weight_decay",
        0.0,
        "A step takes the learning rate times this share off each weight; not off biases and batch "
        "norm's scale and beta. In [0, 1).",
    )
    flags.DEFINE_float(
        "weight_average",
        0.0,
        "Decay of a moving average of the weights, such as 0.999, for evaluation and for the last "
        "checkpoint, with statistics of its own: of all training images, for the validation curve "
        "and best.ckpt of the first 1000. 0 keeps none.",
    )
    flags.DEFINE_float(
        "dropout",
        0.0,
        "Share of each dense layer's units that a training step leaves out, in [0, 1).",
    )
    flags.DEFINE_float(
        "init_stddev",
        None,
        "Standard deviation of all initial weights; by default it follows from a layer's fan-in.",
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "bfloat16"],
        "Of activations and products; weights, statistics and loss are always float32.",
    )
    flags.DEFINE_enum(
        "on_nan",
        "stop",
        ["stop", "rollback"],
        "When the loss is not finite. stop: end the run; rollback: go on from the last checkpoint "
        "with half the learning rate.",
    )
    flags.DEFINE_integer("seed", 0, "Of all that is random.", lower_bound=0, upper_bound=2**63 - 1)
    flags.DEFINE_integer(
        "validation_size",
        None,
        "Training images that are kept for validation, by default a twelfth; 0 trains on all.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "eval_every",
        None,
        "Steps between evaluations on the validation images, by default an epoch; each reads a "
        "checkpoint made for it.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "save_every",
        None,
        "Steps between checkpoints, by default an epoch; the newest three are kept.",
        lower_bound=1,
    )

    flags.register_multi_flags_validator(
        ["batch_norm", "population"],
        lambda values: values["batch_norm"] or values["population"] == "ema",
        "--population=exact needs --batch_norm",
    )
    for name in ("dropout", "label_smoothing", "weight_decay"):
        flags.register_validator(name, lambda share: 0 <= share < 1, "must be in [0, 1)")
    flags.register_validator(
        "weight_average", lambda decay: 0 <= decay <= 0.99999, "must be in [0, 0.99999]"
    )
    flags.register_validator(
        "init_stddev",
        lambda deviation: deviation is None or 0 < deviation <= 100,
        "must be in (0, 100]",
    )
    flags.register_validator(
        "bn_decay",
        # Above this, the first averages would be off by the rounding of 1 - decay.
        lambda decay: 0 <= decay <= 0.99999,
        "must be in [0, 0.99999]",
    )
    for name in ("bn_epsilon", "learning_rate"):
        flags.register_validator(
            name,
            # TensorFlow takes a smaller float32 for 0.
            lambda value: 1.2e-38 <= value <= 3.4e38,
            "must be a number above 0 that float32 can hold, 1.2e-38 to 3.4e38",
        )


def define_evaluation() -> None:
    """Defines the flags of `evaluate.py`."""
    _define_data(default=None)
    _define_json()
    _define_checkpoint_dir()
    _define_summary_dir()
    flags.DEFINE_string(
        "run", None, "Name of the run, by default the one trained last; or several: a,b,c."
    )
    flags.register_validator(
        "run",
        lambda names: names is None or all(map(_is_run_name, names.split(","))),
        message=RUN_NAME_RULE,
    )
    flags.register_validator(
        "run",
        lambda names: names is None or len(set(names.split(","))) == len(names.split(",")),
        message="must name each run once",
    )
    flags.DEFINE_string(
        "checkpoint", None, "A checkpoint, such as checkpoints/cnn-bn/model.ckpt-1287."
    )
    flags.mark_flags_as_mutual_exclusive(["run", "checkpoint"])
    flags.DEFINE_enum("split", "test", ["test", "validation", "train"], "What to classify.")
    flags.DEFINE_bool(
        "fold_batch_norm", False, "Multiply each batch norm into the weights before it: faster."
    )
    flags.DEFINE_bool(
        "vote",
        False,
        "Of several runs take what most of them predict, rather than the mean of probabilities.",
    )
    flags.DEFINE_integer(
        "tta",
        0,
        "Show the network each image in so many distorted copies as well, and take the mean of "
        "probabilities.",
        lower_bound=0,
    )
    flags.DEFINE_bool(
        "projector", False, "Write the digits as the last hidden layer sees them, for TensorBoard."
    )
    flags.register_multi_flags_validator(
        ["projector", "run"],
        lambda values: not values["projector"] or "," not in (values["run"] or ""),
        "--projector shows one run at a time",
    )
    flags.register_multi_flags_validator(
        ["vote", "run"],
        lambda values: not values["vote"] or "," in (values["run"] or ""),
        "--vote needs several runs: --run=a,b,c",
    )


def define_comparison() -> None:
    """Defines the flags of `compare.py`."""
    _define_data(default="auto")
    flags.DEFINE_enum(
        "study",
        None,
        ["learning_rate", "speed", "initialization", "dropout", "paper", "statistics"],
        "What to compare.",
        required=True,
    )
    flags.DEFINE_bool("full", False, "The large size: up to some hours, not minutes.")
    flags.DEFINE_string("results_dir", "results", "Folder of the studies' reports.")


def _define_data(default: str | None) -> None:
    flags.DEFINE_enum(
        "dataset",
        default,
        ["auto", "mnist", "synthetic"],
        "mnist: the IDX files in --data_dir, downloaded if missing; synthetic: drawn digits; "
        "auto: mnist, or synthetic if it can't be had. "
        + ("" if default else "By default what the run was trained on."),
    )
    flags.DEFINE_string(
        "data_dir",
        default and "data",
        "Folder of the four IDX files." + ("" if default else " By default the run's."),
    )


def _define_json() -> None:
    flags.DEFINE_string("json", None, "File to write the result to, as JSON.")


def _define_checkpoint_dir() -> None:
    flags.DEFINE_string("checkpoint_dir", "checkpoints", "Folder of the runs' checkpoints.")


def _define_summary_dir() -> None:
    flags.DEFINE_string("summary_dir", "summaries", "Folder of the runs' TensorBoard events.")


def _is_run_name(name: str) -> bool:
    # With a slash or two dots it would lead outside the folders of the runs.
    return re.fullmatch(r"[^\W_][^/\\,\n]*", name) is not None
