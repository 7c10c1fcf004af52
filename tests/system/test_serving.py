"""What is exported, and the folder it is put into."""

import os
import signal

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from console import interruption
from console.errors import CommandError, InputError
from serving import formats, graph, place, verification, warm_up
from training.evaluator import Evaluator

NETWORKS = [
    model.Network(name, batch_norm, 0.9, 1e-5, "float32", size, classes)
    for name, batch_norm, size, classes in (
        ("cnn", True, (28, 28), 10),
        ("small", True, (17, 23), 12),
        ("small", False, (8, 8), 3),
        ("deep", True, (28, 28), 10),
        ("mlp", True, (17, 23), 12),
        ("mlp", False, (28, 28), 10),
    )
]
# The ops of an inference graph; those of the last line are in graphs that are not folded.
OPS = {"Placeholder", "Const", "Cast", "ExpandDims", "Identity", "ArgMax", "Softmax"}
OPS |= {"Conv2D", "MatMul", "BiasAdd", "Relu", "Sigmoid", "MaxPool", "Reshape"}
UNFOLDED_OPS = OPS | {"RealDiv", "FusedBatchNormV3", "Shape", "Mul", "Sub", "AddV2", "Rsqrt"}


def random_values(network):
    """Values of the variables of an inference graph, by name, with a variety of statistics."""
    random = np.random.default_rng(0)
    values = {}
    with model.inference_graph(network).graph.as_default():
        for variable in tf.global_variables():
            shape = variable.shape.as_list()
            value = random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
            if variable.op.name.endswith(("pop_var", "scale")):
                value = random.uniform(0.5, 2, shape)
            values[variable.op.name] = value.astype(np.float32)
    return values


def answers_of(served, images):
    with tf.Graph().as_default(), tf.Session() as session:
        placeholder, outputs = graph.add_to_default_graph(served.graph_def)
        return session.run(outputs, {placeholder: images})


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: f"{n.name}-{n.batch_norm}-{n.classes}")
def test_what_is_served_answers_as_evaluate_does_with_ops_of_tensorflow_only(network, folded):
    values = random_values(network)
    unused = {"global_step": np.int64(3), "conv1/weights/Adam": np.zeros(7)}
    served = graph.served(network, values | unused, folded=folded, precision="float32")
    images = np.random.default_rng(1).integers(0, 256, [5, *network.image_size], np.uint8)
    answers = answers_of(served, images)
    with Evaluator(model.inference_graph(network)) as evaluator:
        evaluator.load(values, "random")
        logits = evaluator.logits(images)
    np.testing.assert_allclose(answers["logits"], logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(answers["classes"], answers["logits"].argmax(axis=1))
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1, rtol=1e-5)

    nodes = served.graph_def.node
    assert {node.op for node in nodes} <= (OPS if folded else UNFOLDED_OPS)
    assert not served.graph_def.library.function
    assert not [key for node in nodes for key in node.attr if key.startswith("_")]
    assert not [n.name for n in nodes if "is_training" in n.attr and n.attr["is_training"].b]


@pytest.mark.parametrize("folded", [True, False])
def test_in_bfloat16_it_multiplies_in_that(folded):
    network = NETWORKS[1]._replace(precision="bfloat16")
    served = graph.served(network, random_values(network), folded=folded, precision="bfloat16")
    nodes = served.graph_def.node
    assert {node.op for node in nodes} <= (OPS if folded else UNFOLDED_OPS)
    kernels = {node.name: node.attr["T"].type for node in nodes if node.op in ("Conv2D", "MatMul")}
    assert kernels.pop("network/logits/product") == tf.float32
    assert len(kernels) == 3 and set(kernels.values()) == {tf.bfloat16}


def test_the_same_values_give_the_same_bytes():
    values = random_values(NETWORKS[1])
    one, other = (
        graph.served(NETWORKS[1], values, folded=True, precision="float32") for _ in range(2)
    )
    assert one.graph_def == other.graph_def


def test_a_warm_up_request_is_a_prediction_log():
    """Recorded from tensorflow-serving-api 2.21.0, which parses it and writes the same bytes."""
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    assert warm_up.prediction_log("serving_default", images).hex() == (
        "323b0a390a111a0f73657276696e675f64656661756c7412240a06696d61676573121a0804120c1202080212"
        "0208021202080222080001020304050607"
    )


def test_lengths_are_groups_of_seven_bits():
    assert [warm_up._varint(n).hex() for n in (0, 127, 128, 25088)] == [
        "00",
        "7f",
        "8001",
        "80c401",
    ]


@pytest.mark.parametrize(
    ("name", "precision", "fragments"),
    [
        ("onnx", "int8", ["float32 for ONNX", "int8", "TFLite"]),
        ("tflite", "bfloat16", ["float32 or int8 for TFLite", "SavedModel and a frozen graph"]),
        ("saved_model", "int8", ["float32 or bfloat16 for SavedModel", "TFLite"]),
    ],
)
def test_a_precision_that_a_format_lacks_is_refused(name, precision, fragments):
    with pytest.raises(InputError) as refused:
        formats.FORMATS[name].check(precision)
    for fragment in fragments:
        assert fragment in str(refused.value)


def test_what_is_not_installed_is_named_with_the_command_that_installs_it():
    lacking = formats.Format("X", ("float32",), packages=("numpy", "no_such_package"))
    with pytest.raises(InputError, match="X needs no_such_package: pip install -r requirements-ex"):
        lacking.check("float32")


def compared(other_classes, difference=0.0, total=1000):
    return {
        "runtime": "TFLite",
        "other_classes": other_classes,
        "total": total,
        "largest_logit_difference": difference,
    }


def test_an_export_that_answers_differently_is_refused():
    verification.check(compared(0, 1e-5), "float32")
    verification.check(compared(20, 0.9), "int8")
    for wrong, precision in ((1, "float32"), (21, "int8"), (21, "bfloat16")):
        with pytest.raises(CommandError, match=f"{wrong} of 1000 images get another class"):
            verification.check(compared(wrong), precision)
    with pytest.raises(CommandError, match="nan"):
        verification.check(compared(0, float("nan")), "float32")


def test_an_export_is_there_as_a_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "tflite"

    def export(content, failure=None):
        with place.replacing(folder) as unfinished:
            (unfinished / "model").write_text(content)
            if failure:
                raise failure

    for failure in (CommandError("full"), KeyboardInterrupt()):
        with pytest.raises(type(failure)):
            export("new", failure)
        assert not list(tmp_path.iterdir())
    export("old")
    with pytest.raises(CommandError):
        export("new", CommandError("full"))
    assert [(folder / "model").read_text(), len(list(tmp_path.iterdir()))] == ["old", 1]
    export("new")
    assert [(folder / "model").read_text(), len(list(tmp_path.iterdir()))] == ["new", 1]


def test_what_a_killed_export_left_is_cleared_away_and_what_it_replaced_brought_back(tmp_path):
    folder, mine = tmp_path / "tflite", os.getpid()
    of_the_living = tmp_path / f".tflite.{mine}.part"
    for left in (tmp_path / ".tflite.99999999.part", tmp_path / ".tflite.99999999.former"):
        left.mkdir()
        (left / "model").write_text(left.suffix)
    of_the_living.mkdir()
    place._remove_strays(folder)
    assert (folder / "model").read_text() == ".former"
    assert set(tmp_path.iterdir()) == {folder, of_the_living}


def test_places_by_run_format_and_what_is_unusual():
    def place_of(name, precision="float32", folded=True):
        return str(place.folder_of("exports", "cnn-bn", name, precision, 1287, folded=folded))

    assert place_of("tflite") == "exports/cnn-bn/tflite"
    assert place_of("tflite", "int8") == "exports/cnn-bn/tflite-int8"
    assert place_of("onnx", folded=False) == "exports/cnn-bn/onnx-unfolded"
    # TensorFlow Serving takes the highest number for the newest version.
    assert place_of("saved_model") == "exports/cnn-bn/saved_model/1287"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_an_error_that_can_be_cleaned_up_after(number):
    former = signal.getsignal(number)
    with (
        pytest.raises(interruption.Interrupted, match=f"{number.name}, nothing") as stopped,
        interruption.raising("nothing was exported"),
    ):
        signal.raise_signal(number)
    assert stopped.value.exit_code == 128 + number and signal.getsignal(number) == former
