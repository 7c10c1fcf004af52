"""What a real TensorBoard server finds in the event files."""

import io
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def tensorboard(trained_runs):
    """A function that asks the data endpoints of a TensorBoard over all trained runs."""
    folder, _ = trained_runs
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
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if len(ask("plugin/scalars/tags")) == count:
                return
        except urllib.error.URLError:
            pass  # not listening yet
        time.sleep(0.2)
    raise TimeoutError("TensorBoard did not load the runs")


@pytest.mark.parametrize("run", ["cnn-bn", "cnn-nobn"])
def test_curves_of_the_splits_lie_over_each_other(tensorboard, run):
    tags = tensorboard("plugin/scalars/tags")
    for split in ("train", "validation", "test"):
        assert {"classification/loss", "classification/accuracy"} <= tags[f"{run}/{split}"].keys()
    training = {"training/learning_rate", "training/images_per_second"}
    assert training <= tags[f"{run}/train"].keys()

    for split, steps in (("train", [10, 20, 30, 40]), ("validation", [20, 40]), ("test", [40])):
        points = tensorboard(
            "plugin/scalars/scalars", run=f"{run}/{split}", tag="classification/accuracy"
        )
        assert [step for _, step, _ in points] == steps
        assert all(0 < value <= 1 for _, _, value in points)


def test_histograms_show_batch_norm_at_work(tensorboard):
    tags = tensorboard("plugin/histograms/tags")["cnn-bn/validation"]
    for layer in ("conv1", "conv2", "dense"):
        for variable in ("scale", "beta", "pop_mean", "pop_var"):
            assert f"{layer}/batch_norm/{variable}" in tags
        assert f"{layer}/before_batch_norm" in tags
        assert f"{layer}/after_batch_norm" in tags
    points = tensorboard(
        "plugin/histograms/histograms", run="cnn-bn/validation", tag="conv1/batch_norm/pop_var"
    )
    assert [point[1] for point in points] == [20, 40]
    assert "conv1/after_bias" in tensorboard("plugin/histograms/tags")["cnn-nobn/validation"]


def test_the_flags_are_a_text_panel(tensorboard):
    (tag,) = tensorboard("plugin/text/tags")["cnn-bn/train"]
    (panel,) = tensorboard("plugin/text/text", run="cnn-bn/train", tag=tag)
    assert "learning_rate" in panel["text"] and "<table>" in panel["text"]


def test_misclassified_digits_are_a_picture(tensorboard):
    ((tag, details),) = tensorboard("plugin/images/tags")["cnn-bn/test"].items()
    assert "misclassified" in tag
    (picture,) = tensorboard("plugin/images/images", run="cnn-bn/test", tag=tag, sample=0)
    png = tensorboard(
        "plugin/images/individualImage", **dict(urllib.parse.parse_qsl(picture["query"]))
    )
    with Image.open(io.BytesIO(png)) as shown:
        assert shown.width > 300 and shown.height > 100


def test_both_graphs_are_shown(tensorboard):
    graphs = tensorboard("plugin/graphs/info")
    for split in ("train", "validation"):
        assert graphs[f"cnn-bn/{split}"]["run_graph"]
