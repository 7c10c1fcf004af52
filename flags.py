"""Every flag of every command: name, default, check and help. Only commands read the values."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

try:
    from absl import flags
except ModuleNotFoundError:
    # This is the first import of every command that is not Python's own.
    sys.exit(
        f"{sys.argv[0]}: expected the libraries of requirements.txt, which this Python "
        f"({sys.executable}) does not have; `make train` installs them into .venv, and "
        ".venv/bin/python has them"
    )

FLAGS = flags.FLAGS
# The flags of each section of `--help`, in the order of their definition.
SECTIONS: dict[str, list[str]] = {}

# Makes `--help` list a command's flags as the command's own.
flags.disclaim_key_flags()

DEFAULT_EPOCHS = 3.0
RUN_NAME_RULE = "must be a file name that starts with a letter or digit and has no comma"

STUDIES = [
    "depth",
    "dropout",
    "initialization",
    "learning_rate",
    "noise",
    "paper",
    "smoothness",
    "speed",
    "statistics",
    "weight_decay",
]

# What `compare.py` compares: the titles of the two sections of its flags.
A_STUDY, TWO_RUNS = "A study", "Two runs"

# What determines a run's weights, besides the data and the number of steps; and `on_nan`.
RUN_FLAGS = (
    "model",
    "batch_norm",
    "bn_decay",
    "bn_epsilon",
    "population",
    "batch_size",
    "learning_rate",
    "lr_schedule",
    "optimizer",
    "augment",
    "dropout",
    "label_smoothing",
    "weight_decay",
    "weight_average",
    "init_stddev",
    "precision",
    "on_nan",
    "sync_batch_norm",
    "seed",
)


def of_run(values: flags.FlagValues, steps_per_epoch: int) -> dict[str, Any]:
    """Returns the flags of `train.py` that a run's record keeps, with epochs converted to steps."""
    return {
        **{name: values[name].value for name in RUN_FLAGS},
        "train_steps": values.train_steps
        or max(1, round((values.epochs or DEFAULT_EPOCHS) * steps_per_epoch)),
        "eval_every": values.eval_every or steps_per_epoch,
        "save_every": values.save_every or steps_per_epoch,
    }


def defaults_of_run(values: flags.FlagValues) -> dict[str, Any]:
    """Returns the defaults of `RUN_FLAGS`, which also apply to runs from before a flag existed."""
    return {name: values[name].default for name in RUN_FLAGS}


def chosen(values: flags.FlagValues) -> set[str]:
    """Returns which of the flags that `of_run` returns have other values than by default."""
    names = {*RUN_FLAGS, "train_steps", "eval_every", "save_every"}
    names = {name for name in names if values[name].value != values[name].default}
    return names | ({"train_steps"} if values.epochs else set())


def define_training() -> None:
    """Defines the flags of `train.py`."""
    with _section("Data"):
        _define_data(default="auto")
    with _section("The run, and where it is stored"):
        _define_run()
        _define_json()
    with _section("Network"):
        _define_network()
    with _section("Batch normalization"):
        _define_batch_norm()
    with _section("Optimization"):
        _define_optimization()
    with _section("Regularization"):
        _define_regularization()
    with _section("How often it is evaluated and saved"):
        _define_intervals()
    with _section("Several workers"):
        _define_workers()


def define_evaluation() -> None:
    """Defines the flags of `evaluate.py`."""
    with _section("Data"):
        _define_data(default=None)
    with _section("Which weights"):
        _define_weights()
        _define_summary_dir()
    with _section("How the images are classified"):
        _define_looks()
        _define_json()


def define_export() -> None:
    """Defines the flags of `export.py`."""
    with _section("Data"):
        _define_data(default=None)
    with _section("Which weights"):
        _define_one_run()
    with _section("The export, and where it is stored"):
        _define_exporting()
        _define_json()


def define_listing() -> None:
    """Defines the flags of `runs.py`."""
    with _section("What to list"):
        _define_checkpoint_dir()
        _define_json()


def define_prediction() -> None:
    """Defines the flags of `predict.py`."""
    with _section("Which weights"):
        _define_weights()
    with _section("What is said of a picture"):
        _define_answers()
    with _section("What is written besides"):
        _define_json()
        flags.DEFINE_string("csv", None, "File to write the answers to, as a table with commas.")
        flags.DEFINE_string(
            "show", None, "File to write a picture to, such as seen.png: what the network saw."
        )
    with _section("A page to draw on"):
        _define_page()


def define_diagnosis() -> None:
    """Defines the flags of `doctor.py`."""
    with _section("Which graph"):
        _define_graph()
    with _section("What is asked"):
        _define_questions()
        _define_json()


def define_comparison() -> None:
    """Defines the flags of `compare.py`."""
    with _section("Data"):
        _define_data(default="auto")
    with _section(A_STUDY):
        _define_study()
    with _section(TWO_RUNS):
        _define_checkpoint_dir()
        _define_json()


def _define_study() -> None:
    flags.DEFINE_enum("study", None, STUDIES, "What to compare.")
    flags.DEFINE_bool("full", False, "Run at full size, for publication: hours instead of minutes.")
    flags.DEFINE_string("results_dir", "results", "Folder of the studies' reports.")


# Whether a value is accepted, and the rule that an error quotes.
Check = tuple[Callable[[Any], bool], str]
SHARE: Check = (lambda share: 0 <= share < 1, "must be in [0, 1)")
# With a higher one, the rounding of 1 - decay would distort the first averages.
DECAY: Check = (lambda decay: 0 <= decay <= 0.99999, "must be in [0, 0.99999]")
# TensorFlow treats a smaller float32 as 0.
POSITIVE: Check = (
    lambda value: 1.2e-38 <= value <= 3.4e38,
    "must be a number above 0 that float32 can hold, 1.2e-38 to 3.4e38",
)
ABOVE_0: Check = (lambda value: value is None or 0 < value < 1e9, "must be above 0")
DEVIATION: Check = (lambda stddev: stddev is None or 0 < stddev <= 100, "must be in (0, 100]")


@contextlib.contextmanager
def _section(title: str) -> Iterator[None]:
    """Makes the flags that are defined in the block a section of `--help`."""
    before = set(FLAGS)
    yield
    SECTIONS[title] = [name for name in FLAGS if name not in before]


def _define_float(name: str, default: float | None, check: Check, help_text: str) -> None:
    flags.DEFINE_float(name, default, help_text)
    flags.register_validator(name, *check)


def _define_count(name: str, default: int | None, help_text: str, at_least: int = 1) -> None:
    flags.DEFINE_integer(name, default, help_text, lower_bound=at_least)


# --- Data ---


def _define_data(default: str | None) -> None:
    flags.DEFINE_enum(
        "dataset",
        default,
        ["auto", "mnist", "synthetic"],
        "mnist: the images in --data_dir, MNIST's downloaded if missing; synthetic: drawn digits, "
        "which need no download; auto: mnist, or synthetic if there is no way to get it. "
        + ("" if default else "By default what the run was trained on."),
    )
    flags.DEFINE_string(
        "data_dir",
        default and "data",
        "Folder of the four IDX files, of MNIST or of another set of grey images; or of pictures "
        "of one size, a folder for each class. " + ("" if default else "By default the run's."),
    )


# --- The run, and where it is stored ---


def _define_run() -> None:
    flags.DEFINE_string("run", None, "Name of the run, by default MODEL-bn or MODEL-nobn.")
    flags.register_validator("run", lambda name: name is None or _check_run_name(name))
    flags.DEFINE_bool("resume", True, "Resume an existing run; --noresume refuses to.")
    flags.DEFINE_bool("overwrite", False, "Delete an existing run, and start afresh.")
    _define_checkpoint_dir()
    _define_summary_dir()


def _define_checkpoint_dir() -> None:
    flags.DEFINE_string("checkpoint_dir", "checkpoints", "Folder of the runs' checkpoints.")


def _define_summary_dir() -> None:
    flags.DEFINE_string("summary_dir", "summaries", "Folder of the runs' TensorBoard events.")


def _define_json() -> None:
    flags.DEFINE_string("json", None, "File to write the result to, as JSON.")


def is_run_name(name: str) -> bool:
    """Returns whether a run may have this name; see `RUN_NAME_RULE`."""
    # A slash or two dots could lead outside the folders of the runs.
    return re.fullmatch(r"[^\W_][^/\\,\n]*", name) is not None


def _check_run_name(name: str) -> bool:
    if is_run_name(name):
        return True
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    meant = f"; did you mean --run={last}?" if last not in ("", name) else ""
    raise flags.ValidationError(f"{RUN_NAME_RULE}{meant}")


# --- The network ---


def _define_network() -> None:
    flags.DEFINE_enum(
        "model",
        "cnn",
        ["cnn", "small", "deep", "mlp"],
        "cnn: two 5x5 convolutions and a dense layer; small: the same with a quarter of the work; "
        "deep: five convolutions and a dense layer; mlp: three layers of 100 "
        "sigmoid units, the network of the batch-norm paper.",
    )
    _define_float(
        "init_stddev",
        None,
        DEVIATION,
        "Standard deviation of all initial weights, to see how much batch norm tolerates; by "
        "default it follows from each layer's fan-in.",
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "bfloat16"],
        "Precision of activations and products; weights, statistics and loss are always float32. "
        "bfloat16 is faster on processors that have it.",
    )


# --- Batch normalization ---


def _define_batch_norm() -> None:
    flags.DEFINE_bool("batch_norm", True, "Use batch normalization; without it, biases.")
    _define_float(
        "bn_decay",
        0.9,
        DECAY,
        "Weight of the old value in the moving averages. Nearer to 1, they are smoother but lag "
        "behind the weights: for long runs at a low learning rate.",
    )
    _define_float(
        "bn_epsilon",
        1e-5,
        POSITIVE,
        "Added to the variance; try 1e-3 if channels are nearly constant.",
    )
    flags.DEFINE_enum(
        "population",
        "ema",
        ["ema", "exact"],
        "Statistics for inference. ema: moving averages over the steps; exact: computed from all "
        "training images with the final weights, for runs too short for moving averages.",
    )
    flags.register_multi_flags_validator(
        ["batch_norm", "population"],
        lambda values: values["batch_norm"] or values["population"] == "ema",
        "--population=exact needs --batch_norm",
    )


# --- Optimization ---


def _define_optimization() -> None:
    _define_float(
        "epochs",
        None,
        ABOVE_0,
        f"Passes over the training images, by default {DEFAULT_EPOCHS:g}; 0.5 is half a pass.",
    )
    _define_count("train_steps", None, "Number of steps, instead of --epochs.")
    flags.register_multi_flags_validator(
        ["epochs", "train_steps"],
        lambda values: None in values.values(),
        "expected only one of them, found both; one may come from the --flagfile",
    )
    _define_count("batch_size", 128, "Images per step. Statistics of small batches are noisy.")
    _define_float("learning_rate", 6e-3, POSITIVE, "Peak learning rate of the schedule.")
    flags.DEFINE_enum(
        "lr_schedule",
        "onecycle",
        ["constant", "cosine", "onecycle"],
        "onecycle: rises for a quarter of the run, then falls to 0, for short runs; "
        "cosine: falls to 0; constant: the only one under which a finished run can be extended.",
    )
    flags.DEFINE_enum("optimizer", "adam", ["adam", "momentum", "sgd"], "Momentum uses 0.9.")
    flags.DEFINE_enum(
        "on_nan",
        "stop",
        ["stop", "rollback"],
        "What to do if the loss, or at a checkpoint a variable, is not finite. stop: end the run; "
        "rollback: resume from the last checkpoint with half the learning rate, up to five times.",
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed for everything random: two runs with the same flags and seed give the same weights.",
        lower_bound=0,
        upper_bound=2**63 - 1,
    )


# --- Regularization: off by default; presets/accurate.flags has values that work together ---


def _define_regularization() -> None:
    flags.DEFINE_enum(
        "augment",
        "none",
        ["none", "affine", "elastic"],
        "Distort the training images, for runs of ten epochs or more. affine: rotates, shears, "
        "scales and shifts each; elastic: also warps those of a batch, all in the same way.",
    )
    _define_float("dropout", 0.0, SHARE, "Share of each dense layer's units that a step drops.")
    _define_float("label_smoothing", 0.0, SHARE, "Share of a label spread evenly over all classes.")
    _define_float(
        "weight_decay",
        0.0,
        SHARE,
        "Times the learning rate, the share by which a step shrinks each weight, but not biases or "
        "batch norm's scale and beta.",
    )
    _define_float(
        "weight_average",
        0.0,
        DECAY,
        "Decay of a moving average of the weights, such as 0.999, evaluated in their place; 0 "
        "keeps none. It has its own statistics: of all training images in the last checkpoint, of "
        "the first 1000 for the validation curve and best.ckpt (200 in early evaluations).",
    )


# --- Several workers (docs/distributed.md) ---


def _define_workers() -> None:
    _define_count("workers", 1, "Processes to train in on this machine, each with part of a batch.")
    flags.DEFINE_bool(
        "sync_batch_norm",
        True,
        "With several workers, normalize with the statistics of the whole batch: the same run, "
        "whatever their number. Without it, each normalizes its own part.",
    )


# --- How often a run is evaluated and saved ---


def _define_intervals() -> None:
    _define_count(
        "validation_size",
        None,
        "Training images held out for validation, by default a twelfth; 0 trains on all.",
        at_least=0,
    )
    _define_count(
        "eval_every",
        None,
        "Steps between evaluations on the validation images, by default an epoch; each reads a "
        "checkpoint saved for it. Before the first, a few of the images are classified after 0, 1, "
        "2, 4, 8 ... steps.",
    )
    _define_count(
        "save_every",
        None,
        "Steps between checkpoints, by default an epoch; the newest two are kept.",
    )


# --- evaluate.py: which weights, and how the images are classified ---


def _define_weights() -> None:
    flags.DEFINE_string(
        "run", None, "Name of the run, by default the one trained last; or several, as in a,b,c."
    )
    flags.register_validator(
        "run",
        lambda names: names is None or all(map(_check_run_name, names.split(","))),
    )
    flags.register_validator(
        "run",
        lambda names: names is None or len(set(names.split(","))) == len(names.split(",")),
        "must name each run once",
    )
    flags.DEFINE_string("checkpoint", None, "Its path, such as checkpoints/cnn-bn/model.ckpt-1287.")
    flags.mark_flags_as_mutual_exclusive(["run", "checkpoint"])
    _define_checkpoint_dir()


def _define_looks() -> None:
    flags.DEFINE_enum("split", "test", ["test", "validation", "train"], "The images to classify.")
    flags.DEFINE_bool(
        "fold_batch_norm", False, "Fold each batch norm into the weights before it: faster."
    )
    _define_count(
        "tta",
        0,
        "Also classify this many distorted copies of each image, and average the probabilities "
        "(test-time augmentation): slower, a little more accurate.",
        at_least=0,
    )
    flags.DEFINE_bool(
        "vote", False, "Combine several runs by majority, not by the mean of their probabilities."
    )
    flags.register_multi_flags_validator(
        ["vote", "run"],
        lambda values: not values["vote"] or "," in (values["run"] or ""),
        "--vote needs several runs: --run=a,b,c",
    )
    flags.DEFINE_bool(
        "projector", False, "Write the last hidden layer's embedding of the digits for TensorBoard."
    )
    flags.register_multi_flags_validator(
        ["projector", "run"],
        lambda values: not values["projector"] or "," not in (values["run"] or ""),
        "--projector shows one run at a time",
    )


# --- predict.py: what is said of a picture ---


def _define_answers() -> None:
    _define_float(
        "min_probability",
        0.5,
        (lambda share: 0 <= share <= 1, "must be in [0, 1]"),
        "With less, the answer is `unsure`, and the likeliest digits are named.",
    )
    flags.DEFINE_bool("many", False, "Read several digits side by side, from left to right.")


def _define_page() -> None:
    flags.DEFINE_bool(
        "page",
        False,
        "Instead of reading pictures, serve a page to draw on, on this machine alone: it shows "
        "what the network sees and answers, and what batch norm does with it.",
    )
    flags.register_multi_flags_validator(
        ["page", "run"],
        lambda values: not values["page"] or "," not in (values["run"] or ""),
        "--page shows one run at a time",
    )
    flags.DEFINE_integer(
        "port",
        None,
        "The page's port, by default one that is free.",
        lower_bound=1,
        upper_bound=65535,
    )
    flags.register_multi_flags_validator(
        ["port", "page"],
        lambda values: values["port"] is None or values["page"],
        "--port is of --page",
    )


# --- export.py ---


def _define_one_run() -> None:
    flags.DEFINE_string("run", None, "Name of the run, by default the one trained last.")
    flags.register_validator("run", lambda name: name is None or _check_run_name(name))
    flags.DEFINE_string("checkpoint", None, "Its path, such as checkpoints/cnn-bn/model.ckpt-1287.")
    flags.mark_flags_as_mutual_exclusive(["run", "checkpoint"])
    _define_checkpoint_dir()


def _define_exporting() -> None:
    flags.DEFINE_enum(
        "format",
        None,
        ["saved_model", "frozen_graph", "tflite", "onnx"],
        "tflite: for phones, and in int8 the fastest; onnx: for runtimes other than TensorFlow's, "
        "as fast with one image at a time; frozen_graph: one file for a TensorFlow session, fast "
        "with many images; saved_model: for TensorFlow Serving.",
    )
    flags.mark_flag_as_required("format")
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "bfloat16", "int8"],
        "Precision of activations and products, whatever the run was trained in. float32: every "
        "test image gets the class that it gets from evaluate.py in float32; bfloat16: "
        "TensorFlow's formats only; int8: tflite only, calibrated on training images.",
    )
    flags.DEFINE_bool(
        "fold_batch_norm",
        True,
        "Fold each batch norm into the weights before it; without, it can be seen in the graph.",
    )
    flags.DEFINE_string("output_dir", "exports", "Folder of the exports, in RUN/FORMAT.")
    flags.DEFINE_bool("overwrite", False, "Replace an existing export.")


# --- doctor.py: which graph, and what is asked of it ---


def _define_graph() -> None:
    flags.DEFINE_string("run", None, "Name of a run of train.py: both of its graphs.")
    flags.register_validator("run", lambda name: name is None or _check_run_name(name))
    _define_checkpoint_dir()
    flags.DEFINE_string("meta_graph", None, "File NAME.meta that a Saver exported.")
    flags.DEFINE_string("saved_model", None, "Folder with a saved_model.pb.")
    flags.DEFINE_string("frozen_graph", None, "File with a GraphDef, such as a frozen graph.")
    flags.DEFINE_string(
        "checkpoint",
        None,
        "Prefix of the checkpoint with the graph's values; alone, it takes the graph PREFIX.meta.",
    )
    flags.mark_flags_as_mutual_exclusive(["run", "meta_graph", "saved_model", "frozen_graph"])


def _define_questions() -> None:
    flags.DEFINE_string(
        "train_op", None, "Names of the ops that a step runs, as in a,b; by default they are found."
    )
    flags.DEFINE_string(
        "outputs", None, "Names of what inference fetches, as in a,b; by default they are found."
    )
    _define_count(
        "run_steps", 0, "Steps to train a copy of the graph for, on made-up data.", at_least=0
    )
    flags.DEFINE_string(
        "data_dir", None, "Folder of images, to compare a run's statistics with theirs."
    )
