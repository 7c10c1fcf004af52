"""What a real TensorBoard server finds in the event files."""

import io
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image

from tests.helpers import DIGITS, last_line, run_command

RUNS = ["mlp-bn", "mlp-nobn", "small-bn", "small-nobn"]
EVALUATED = [0, 1, 2, 4, 8, 16, 20, 40]


@pytest.fixture(scope="module")
def tensorboard(trained_runs, tmp_path_factory):
    """A function that queries the data endpoints of a TensorBoard that shows all trained runs."""
    trained, lines = trained_runs
    folder = tmp_path_factory.mktemp("shown")
    shutil.copytree(trained / "summaries", folder / "summaries")
    projected = run_command(
        "evaluate.py",
        "--run=small-bn",
        "--projector",
        "--fold_batch_norm",
        f"--checkpoint_dir={trained}/checkpoints",
        cwd=folder,
    )
    assert last_line(projected).split(",")[0] == lines["small-bn"].split(",")[0]
    assert "--logdir=summaries, then Projector, small-bn/projector" in projected.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/data/"
    flags = [f"--logdir={folder}/summaries", f"--port={port}", "--host=127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def ask(path, **query):
        with urllib.request.urlopen(f"{address}{path}?{urllib.parse.urlencode(query)}") as answer:
            is_json = answer.headers.get_content_type() == "application/json"
            return json.load(answer) if is_json else answer.read()

    try:
        _wait_for_runs(ask, count=12)
        yield ask
    finally:
        process.terminate()
        process.wait()


def _wait_for_runs(ask, count):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            if len(ask("plugin/scalars/tags")) == count:
                return
        except urllib.error.URLError:
            pass  # not listening yet
        time.sleep(0.2)
    raise TimeoutError("TensorBoard did not load the runs")


@pytest.mark.parametrize("run", ["small-bn", "small-nobn"])
def test_curves_of_the_splits_lie_over_each_other(tensorboard, run):
    tags = tensorboard("plugin/scalars/tags")
    for split in ("train", "validation", "test"):
        assert {"classification/loss", "classification/accuracy"} <= tags[f"{run}/{split}"].keys()
    training = {"training/learning_rate", "training/images_per_second"}
    assert training <= tags[f"{run}/train"].keys()

    for split, steps in (
        ("train", [10, 20, 30, 40]),
        ("validation", EVALUATED),
        ("test", [40]),
    ):
        points = tensorboard(
            "plugin/scalars/scalars", run=f"{run}/{split}", tag="classification/accuracy"
        )
        assert [step for _, step, _ in points] == steps
        assert all(0 < value <= 1 for _, _, value in points)


def test_histograms_show_batch_norm_at_work(tensorboard):
    tags = tensorboard("plugin/histograms/tags")["small-bn/validation"]
    for layer in ("conv1", "conv2", "dense"):
        for variable in ("scale", "beta", "pop_mean", "pop_var"):
            assert f"{layer}/batch_norm/{variable}" in tags
        assert f"{layer}/before_batch_norm_or_bias" in tags
        assert f"{layer}/after_batch_norm_or_bias" in tags
    points = tensorboard(
        "plugin/histograms/histograms", run="small-bn/validation", tag="conv1/batch_norm/pop_var"
    )
    assert [point[1] for point in points] == EVALUATED
    without = tensorboard("plugin/histograms/tags")["small-nobn/validation"]
    assert "conv1/after_batch_norm_or_bias" in without, "in one chart with the other run's"


def test_the_flags_are_a_text_panel(tensorboard):
    (tag,) = tensorboard("plugin/text/tags")["small-bn/train"]
    (panel,) = tensorboard("plugin/text/text", run="small-bn/train", tag=tag)
    assert "learning_rate" in panel["text"] and "<table>" in panel["text"]


def test_the_result_is_a_text_panel_with_the_command_that_repeats_it(tensorboard, trained_runs):
    _, lines = trained_runs
    (panel,) = tensorboard("plugin/text/text", run="small-bn/test", tag="result")
    assert lines["small-bn"] in panel["text"]
    assert "evaluate.py --checkpoint=checkpoints/small-bn/model.ckpt-40" in panel["text"]


def test_the_hardest_pairs_of_digits_are_a_table(tensorboard, trained_runs):
    _, lines = trained_runs
    (panel,) = tensorboard("plugin/text/text", run="mlp-nobn/test", tag="hardest pairs")
    assert panel["step"] == 40
    correct, total = map(int, re.search(r"\((\d+)/(\d+)\)", lines["mlp-nobn"]).groups())
    rows = re.findall(r"<td>(\d)</td>\s*<td>(\d)</td>\s*<td>(\d+)</td>", panel["text"])
    assert 0 < len(rows) <= 10
    counts = [int(count) for _, _, count in rows]
    assert counts == sorted(counts, reverse=True) and sum(counts) <= total - correct
    assert all(true != predicted for true, predicted, _ in rows)


@pytest.mark.parametrize(
    ("run", "tag", "steps"),
    [
        ("small-bn/test", "misclassified digits, predicted and true", [40]),
        ("small-bn/test", "confusion matrix", [40]),
        ("small-bn/validation", "first-layer filters", EVALUATED),
        ("mlp-nobn/validation", "first-layer filters", EVALUATED),
    ],
)
def test_pictures(tensorboard, run, tag, steps):
    assert tag in tensorboard("plugin/images/tags")[run]
    pictures = tensorboard("plugin/images/images", run=run, tag=tag, sample=0)
    assert [picture["step"] for picture in pictures] == steps
    seen = set()
    for picture in pictures:
        query = dict(urllib.parse.parse_qsl(picture["query"]))
        png = tensorboard("plugin/images/individualImage", **query)
        with Image.open(io.BytesIO(png)) as shown:
            assert shown.width > 200 and shown.height > 100
            seen.add(shown.tobytes())
    assert len(seen) == len(steps), "they change from step to step"


def test_both_graphs_are_shown(tensorboard):
    graphs = tensorboard("plugin/graphs/info")
    for split in ("train", "validation"):
        assert graphs[f"small-bn/{split}"]["run_graph"]
    inference = tensorboard("plugin/graphs/graph", run="small-bn/validation").decode()
    assert 'name: "logits' in inference
    assert 'name: "save' not in inference, "its arrows would hide the network"


def test_one_step_is_shown_with_time_and_memory_of_its_ops(tensorboard):
    import tensorflow.compat.v1 as tf

    graphs = tensorboard("plugin/graphs/info")
    assert list(graphs["small-bn/train"]["tags"]) == ["step 10"]
    assert graphs["small-bn/train"]["tags"]["step 10"]["profile"]
    trace = tensorboard("plugin/graphs/run_metadata", run="small-bn/train", tag="step 10")
    (device,) = text_format.Parse(trace, tf.RunMetadata()).step_stats.dev_stats
    (convolution,) = [
        node
        for node in device.node_stats
        if node.node_name.startswith("conv1/convolution") and node.memory
    ]
    assert convolution.op_end_rel_micros > 0
    assert sum(memory.total_bytes for memory in convolution.memory) > 0


def test_each_run_is_a_row_of_hparams_with_its_flags_and_what_it_reached(tensorboard, trained_runs):
    _, lines = trained_runs
    request = {"allowedStatuses": ["STATUS_SUCCESS"], "sliceSize": 100, "includeMetrics": True}
    groups = tensorboard("plugin/hparams/session_groups", request=json.dumps(request))
    rows = {group["name"]: group for group in groups["sessionGroups"]}
    assert sorted(rows) == RUNS
    for name, row in rows.items():
        assert len(row["sessions"]) == 1
        flags = {name.strip(): value for name, value in row["hparams"].items()}
        assert flags["learning_rate"] == 0.006 and flags["train_steps"] == 40
        assert flags["batch_norm"] is name.endswith("-bn")
        assert f"{flags['model']}-" in name
        assert lines[name].startswith(flags["dataset"])
        reached = {
            (metric["name"]["group"], metric["name"]["tag"]): metric["value"]
            for metric in row["metricValues"]
        }
        correct, total = map(int, re.search(r"\((\d+)/(\d+)\)", lines[name]).groups())
        assert reached["test", "classification/accuracy"] == pytest.approx(correct / total)
        for split in ("test", "validation", "train"):
            assert reached[split, "classification/loss"] > 0


def test_the_columns_of_hparams_begin_with_those_that_matter_most(tensorboard):
    experiment = tensorboard("plugin/hparams/experiment", request='{"includeMetrics": true}')
    columns = [(info["name"].strip(), info["differs"]) for info in experiment["hparamInfos"]]
    differing = [("model", True), ("batch_norm", True)]
    assert columns[:3] == [*differing, ("learning_rate", False)]
    others = [name for name, _ in columns[3:]]
    assert others == sorted(others) and {"train_steps", "dataset"} <= set(others)
    assert "optimizer" not in others, "it would push the results out of view, the same for all"

    metrics = [(info["name"]["tag"], info["name"]["group"]) for info in experiment["metricInfos"]]
    splits = ("test", "train", "validation")
    accuracies = [("classification/accuracy", split) for split in splits]
    losses = [("classification/loss", split) for split in splits]
    assert metrics[:6] == accuracies + losses


def test_the_projector_shows_every_digit_as_the_last_hidden_layer_sees_it(
    tensorboard, trained_runs
):
    _, lines = trained_runs
    total = int(re.search(r"/(\d+)\)", lines["small-bn"])[1])
    run = "small-bn/projector"
    assert tensorboard("plugin/projector/runs") == [run]
    (points,) = tensorboard("plugin/projector/info", run=run)["embeddings"]
    name = points["tensorName"]
    assert name == f"{DIGITS} test digits at step 40"
    assert points["tensorShape"] == [total, 128]

    tensor = tensorboard("plugin/projector/tensor", run=run, name=name)
    tensor = np.frombuffer(tensor, np.float32).reshape(points["tensorShape"])
    assert tensor.min() == 0 and tensor.std() > 0, "what a ReLU lets through"

    table = tensorboard("plugin/projector/metadata", run=run, name=name).decode()
    header, *rows = [line.split("\t") for line in table.splitlines()]
    assert header == ["label", "prediction"] and len(rows) == total
    right = sum(label == prediction for label, prediction in rows)
    assert f"({right}/{total})" in lines["small-bn"]

    png = tensorboard("plugin/projector/sprite_image", run=run, name=name)
    assert points["sprite"]["singleImageDim"] == [28, 28]
    with Image.open(io.BytesIO(png)) as sprite:
        side = sprite.width // 28
        assert sprite.size == (side * 28, side * 28) and (side - 1) ** 2 < total <= side**2
