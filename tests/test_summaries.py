"""What is written for TensorBoard: pictures, sessions, points; and that writing changes nothing."""

import time
import urllib.parse

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image
from tensorboard.plugins import projector as plugin

import model
from console.errors import CommandError
from console.interruption import Interrupted
from dashboard import hparams, pictures, projector, summaries
from storage import event_files
from tests.helpers import scalars, sessions
from training.loop import take_step


def darkness(matrix):
    return 255 - np.asarray(pictures.confusion_picture(matrix), np.int64)


def test_the_confusion_picture_has_the_true_digit_down_and_the_predicted_one_across():
    empty = np.zeros([10, 10], np.int64)
    matrix = empty.copy()
    matrix[2, 7] = 1000
    rows, columns = np.nonzero(darkness(matrix) - darkness(empty))
    cell = np.ptp(columns)
    assert cell == np.ptp(rows) > 40
    # The middle of this cell is five cells away from that of a cell on the diagonal.
    assert columns.mean() - rows.mean() == pytest.approx(5 * cell, rel=0.05)


def test_in_the_confusion_picture_a_few_errors_stand_out_beside_many_right_answers():
    right = 950 * np.eye(10, dtype=np.int64)
    with_errors = right.copy()
    with_errors[4, 9] = 3
    difference = darkness(with_errors) - darkness(right)
    assert np.median(difference[difference != 0]) > 30


@pytest.mark.parametrize(
    ("shape", "across"), [((5, 5, 32), 8), ((5, 5, 16), 4), ((28, 28, 100), 10)]
)
def test_filters_are_drawn_row_by_row_blue_below_zero_and_red_above(shape, across):
    filters = np.zeros(shape, np.float32)
    filters[:, :, 1] = -0.5
    filters[:, :, across] = 0.5  # the first of the second row
    filters[0, -1, 0] = 0.25  # a corner at the top right
    picture = pictures.filter_grid(filters).convert("RGB")
    down = shape[2] // across
    line = pictures.FILTERS_LINE
    tile = (picture.width - line) / across  # with one of its lines
    above = picture.height - tile * down

    def colour(x, y):
        return picture.getpixel((int(line + x * tile), int(above + y * tile)))

    assert colour(1.5, 0.5) == (33, 102, 172)
    assert colour(0.5, 1.5) == (178, 24, 43)
    assert colour(0.5, 0.5) == colour(2.5, 0.5) == (255, 255, 255)
    red, green, blue = picture.getpixel((int(tile) - 1, int(above)))
    assert red > green == pytest.approx(blue, abs=15)
    assert picture.width > 200, "large enough to see"


@pytest.mark.parametrize(("shape", "across"), [((5, 5, 32), 8), ((28, 28, 100), 10)])
@pytest.mark.parametrize("method", [Image.Resampling.NEAREST, Image.Resampling.BILINEAR])
def test_filters_stay_apart_when_a_browser_scales_their_picture(shape, across, method):
    picture = pictures.filter_grid(np.zeros(shape, np.float32)).convert("L")
    for width in range(150, 601, 50):
        height = round(picture.height * width / picture.width)
        pixels = np.asarray(picture.resize((width, height), method))
        # Through the middle of the lowest filters.
        is_line = pixels[-width // across // 2] < 200
        assert np.count_nonzero(np.diff(is_line.astype(int)) == 1) + is_line[0] == across + 1


def test_pictures_stay_small_for_tall_images_and_many_classes():
    assert pictures.filter_grid(np.zeros([784, 1, 100], np.float32)).height < 10_000
    assert pictures.confusion_picture(np.eye(256, dtype=np.int64)).width < 3_000


def test_filters_of_nothing_but_zeros_are_white():
    picture = pictures.filter_grid(np.zeros([5, 5, 16], np.float32)).convert("RGB")
    assert picture.getpixel((picture.width // 8, picture.height // 2 + 20)) == (255, 255, 255)


def test_the_hardest_pairs_are_the_ten_most_frequent_confusions():
    matrix = 90 * np.eye(10, dtype=np.int64)
    matrix[4, 9] = 10
    matrix[9, 4] = 3
    matrix[0] = [81, *range(1, 10)]
    header, _, *rows = summaries.hardest_pairs(matrix).splitlines()
    assert header == "| true | predicted | images | share of the true digit's images |"
    assert len(rows) == 10
    assert rows[:2] == ["| 4 | 9 | 10 | 10.00 % |", "| 0 | 9 | 9 | 7.14 % |"]
    assert rows[-2:] == ["| 9 | 4 | 3 | 3.23 % |", "| 0 | 2 | 2 | 1.59 % |"]


def test_without_a_wrong_image_there_are_no_hardest_pairs():
    matrix = 90 * np.eye(10, dtype=np.int64)
    assert summaries.hardest_pairs(matrix) == "Every image is classified correctly."


def test_a_session_that_is_taken_up_is_one_session(tmp_path):
    learning_rate = hparams.COLUMNS["learning_rate"]
    with pytest.raises(Interrupted):
        with hparams.session(tmp_path, {"learning_rate": 0.1}):
            raise Interrupted(15, "stopped")
    assert sessions(tmp_path) == ([{learning_rate: 0.1}], [])

    with pytest.raises(CommandError):
        with hparams.session(tmp_path, {"learning_rate": 0.1}):
            raise CommandError("the loss is nan")
    assert sessions(tmp_path) == ([{learning_rate: 0.1}], ["STATUS_FAILURE"])

    flags = {"train_steps": 20, "optimizer": "adam", "sync_batch_norm": False}
    with hparams.session(tmp_path, {**flags, "init_stddev": None}):
        pass
    assert sessions(tmp_path) == ([flags], ["STATUS_SUCCESS"])


def test_points_follow_each_other_whatever_the_clock_says(tmp_path, monkeypatch):
    """A run that is resumed on a machine whose clock is behind used to lose most of its points."""
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: 10**9 * 4_000_000_000)
        with summaries.EventWriter(tmp_path, 0) as events:
            for step in range(1, 9):
                events.scalars(step, {"loss": 1.0})
    with summaries.EventWriter(tmp_path, 5) as events:
        for step in range(5, 13):
            events.scalars(step, {"loss": 2.0})
    expected = [(step, 1.0 if step < 5 else 2.0) for step in range(1, 13)]
    assert scalars(tmp_path)["loss"] == expected


def test_a_step_that_is_traced_is_the_same_step():
    network = model.Network("small", True, bn_decay=0.9, bn_epsilon=1e-5, precision="float32")
    graph = model.training_graph(network, model.Recipe(0, 4, "adam", 1e-3, "constant"))
    images = np.random.default_rng(0).integers(0, 256, [16, 28, 28], np.uint8)
    labels = np.arange(16, dtype=np.uint8) % 10
    ends = []
    for step_to_trace in (None, 2):
        traces = []
        with tf.Session(graph=graph.graph) as session, graph.graph.as_default():
            session.run(graph.initializer)
            for step in range(4):
                is_traced = step == step_to_trace
                taken = take_step(session, graph, images, labels, is_traced=is_traced)
                traces += [taken.trace] * is_traced
            ends.append(session.run(tf.global_variables()))
    assert [bool(trace.step_stats.dev_stats) for trace in traces] == [True]
    for untraced, traced in zip(*ends, strict=True):
        np.testing.assert_array_equal(untraced, traced)


def points(count, seed=0):
    generator = np.random.default_rng(seed)
    return (
        generator.normal(size=[count, 7]).astype(np.float32),
        generator.integers(0, 256, [count, 28, 28], np.uint8),
        generator.integers(0, 10, count),
        generator.integers(0, 10, count),
    )


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_point_has_its_digit_and_its_labels(tmp_path):
    embedding, images, labels, predictions = points(11)
    projector.write(tmp_path, "points", embedding, images, labels, predictions)
    folder = tmp_path / "projector"
    written = np.fromfile(folder / "tensor.bytes", np.float32).reshape(11, 7)
    np.testing.assert_allclose(written, embedding, rtol=1e-4)

    header, *rows = (folder / "metadata.tsv").read_text().splitlines()
    assert header == "label\tprediction"
    assert rows == [
        f"{label}\t{prediction}" for label, prediction in zip(labels, predictions, strict=True)
    ]

    sprite = 255 - np.asarray(Image.open(folder / "sprite.png"))
    assert sprite.shape == (4 * 28, 4 * 28)
    np.testing.assert_array_equal(sprite[2 * 28 : 3 * 28, 28 : 2 * 28], images[9])
    assert not sprite[3 * 28 :].any()


def test_a_tensor_that_reads_like_text_is_not_taken_for_text(tmp_path):
    """TensorBoard would try to parse numbers in the first line, and fail for all runs."""
    _, images, labels, predictions = points(2)
    embedding = np.frombuffer(b"1\t2\nABCD", np.float32).reshape(2, 1)
    projector.write(tmp_path, "points", embedding, images, labels, predictions)
    with pytest.raises(UnicodeDecodeError):
        (tmp_path / "projector/tensor.bytes").read_text()
    written = np.fromfile(tmp_path / "projector/tensor.bytes", np.float32)
    np.testing.assert_allclose(written, embedding[:, 0], rtol=1e-4)


def test_points_that_cannot_be_written_leave_those_that_are_there(tmp_path, monkeypatch):
    projector.write(tmp_path, "points", *points(5))
    before = content(tmp_path / "projector")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plugin, "visualize_embeddings", full_disk)
    with pytest.raises(CommandError, match="No space left"):
        projector.write(tmp_path, "points", *points(6))
    assert content(tmp_path / "projector") == before


def test_points_that_a_kill_cut_off_are_not_shown_and_are_cleared_away(tmp_path):
    stray = tmp_path / "projector/.part-1"
    stray.mkdir(parents=True)
    (stray / "tensor.bytes").write_bytes(b"half")
    projector.write(tmp_path, "points", *points(5))
    files = {"tensor.bytes", "metadata.tsv", "sprite.png", "projector_config.pbtxt"}
    assert files <= set(names := content(tmp_path / "projector")) and len(names) == 5

    projector.remove(tmp_path)
    (left,) = content(tmp_path / "projector")
    assert left.startswith("events")


@pytest.mark.parametrize(("trainings", "is_filtered"), [(1, False), (10, False), (11, True)])
def test_the_address_shows_one_run_if_tensorboard_would_tick_none(tmp_path, trainings, is_filtered):
    for number in range(trainings):
        for folder in ("", "train", "validation", "test"):
            path = event_files.new_event_file(tmp_path / f"run{number}" / folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    address = urllib.parse.urlsplit(event_files.address(tmp_path, few="^run 1&2/"))
    before, after = map(urllib.parse.parse_qs, (address.query, address.fragment))
    assert before["smoothing"] == after["_smoothingWeight"] == ["0"]
    assert before.get("runFilter") == after.get("regexInput")
    assert before.get("runFilter") == (["^run 1&2/"] if is_filtered else None)
