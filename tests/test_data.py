"""Data sets, their names and their batches."""

import gzip
import hashlib

import numpy as np
import pytest

from console.errors import InputError
from mnist import datasets, download
from mnist.batches import Batches
from mnist.download import DownloadError
from tests.helpers import write_idx, write_noise

# Refuses connections at once, on any machine.
UNREACHABLE = "http://127.0.0.1:9/"


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setenv("MNIST_MIRROR", UNREACHABLE)


def test_mnist_is_split_as_the_tutorial_split_it(real_mnist):
    dataset = datasets.load("mnist", str(real_mnist))
    assert dataset.name == "mnist"
    sizes = [len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [55_000, 5_000, 10_000]
    # The set's well-known first labels: validation comes first, test is a separate file.
    assert dataset.validation.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert dataset.test.labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_other_digits_go_by_the_name_of_their_folder(tmp_path, capsys):
    dataset = datasets.load("auto", str(write_noise(tmp_path / "fashion")))
    assert dataset.name == "fashion"
    assert [len(split.labels) for split in dataset[1:]] == [110, 10, 20]
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_size_and_classes_are_read_from_the_files(tmp_path, capsys):
    dataset = datasets.load("auto", str(write_noise(tmp_path / "letters", (32, 24), 12)))
    assert dataset.form() == {"image_size": [32, 24], "classes": 12}
    assert dataset.with_validation(0).form() == dataset.form()
    assert dataset.description().items() >= dataset.form().items()
    assert "12 classes of 32x24 pixels; it is called 'letters'" in capsys.readouterr().err


def test_classes_without_a_training_image_are_named(tmp_path, capsys):
    images = np.zeros([4, 28, 28], np.uint8)
    labels = np.array([1, 4, 1, 4], np.uint8)
    datasets.load("auto", str(write_idx(tmp_path / "few", (images, labels), (images, labels))))
    assert (
        "5 classes of 28x28 pixels, with no training image of 0, 2, 3;" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("size", "label", "message"),
    [
        (
            (28, 28),
            4,
            "t10k-labels-idx1-ubyte: expected labels from 0 to 3, .*found 4 at position 2",
        ),
        ((32, 28), 3, "t10k-images-.*: expected images of 28x28 pixels, .*found 32x28"),
    ],
)
def test_training_and_test_images_must_match(tmp_path, size, label, message):
    train = np.zeros([3, 28, 28], np.uint8), np.array([0, 3, 1], np.uint8)
    test = np.zeros([3, *size], np.uint8), np.array([0, 1, label], np.uint8)
    with pytest.raises(InputError, match=message):
        datasets.load("auto", str(write_idx(tmp_path / "odd", train, test)))


def test_files_that_may_be_of_two_sets_are_told(tmp_path, capsys, monkeypatch):
    """Images of one set beside labels of another used to train, to an accuracy of a guess."""
    folder = write_noise(tmp_path / "two")
    datasets.load("auto", str(folder))
    images, labels = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"
    assert f"(read from {images}, {labels}, t10k-images" in capsys.readouterr().err
    raw = gzip.decompress((folder / images).read_bytes())
    with monkeypatch.context() as patched:
        mnist = download.Content(len(raw), hashlib.sha256(raw).hexdigest())
        patched.setitem(download.FILES, "train-images-idx3-ubyte", mnist)
        datasets.load("auto", str(folder))
    assert f"but {images} MNIST's: do the four belong together?" in capsys.readouterr().err
    (folder / images).with_suffix("").write_bytes(raw)
    datasets.load("auto", str(folder))  # twice the same is no contradiction
    (folder / images).with_suffix("").write_bytes(raw[:-1] + b"?")
    with pytest.raises(InputError, match=r"found train-images-idx3-ubyte.gz and train-images"):
        datasets.load("auto", str(folder))


def test_mnist_does_not_fill_up_a_set_of_other_digits(tmp_path, no_network):
    folder = write_noise(tmp_path / "fashion")
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(InputError, match="expected t10k-images-idx3-ubyte too"):
        datasets.load("auto", str(folder))


@pytest.mark.parametrize("size", [0, 1, 30, 119])
def test_the_first_training_images_are_kept_for_validation(tmp_path, size):
    dataset = datasets.load("mnist", str(write_noise(tmp_path / "other")))
    images = np.concatenate([dataset.validation.images, dataset.train.images])
    again = dataset.with_validation(size)
    assert len(again.validation.labels) == size
    np.testing.assert_array_equal(again.validation.images, images[:size])
    np.testing.assert_array_equal(again.train.images, images[size:])
    np.testing.assert_array_equal(again.train.labels, np.arange(size, 120) % 10)
    for wrong in (120, -1):
        with pytest.raises(InputError, match="--validation_size: expected less than 120"):
            dataset.with_validation(wrong)


@pytest.mark.parametrize("name", ["mnist", "MNIST", "synthetic"])
def test_a_folder_called_mnist_does_not_make_its_content_mnist(tmp_path, name):
    assert datasets.load("mnist", str(write_noise(tmp_path / name))).name == f"other-{name}"


def test_offline_auto_is_synthetic_and_says_so(tmp_path, capsys, no_network):
    dataset = datasets.load("auto", str(tmp_path / "data"))
    assert dataset.name == "synthetic"
    assert [len(split.labels) for split in dataset[1:]] == [11_000, 1_000, 2_000]
    warning = capsys.readouterr().err
    assert "SYNTHETIC" in warning and UNREACHABLE in warning
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        (["t10k-labels-idx1-ubyte"], "no t10k-labels-idx1-ubyte$"),
        (["*"], "none of them"),
        ([], "no such folder"),
        (None, "a file"),
    ],
)
def test_a_folder_that_was_named_has_all_files_or_is_an_error(tmp_path, no_network, missing, found):
    folder = tmp_path / "digits"
    if missing is None:
        folder.write_text("not a folder")
    elif missing:
        write_noise(folder)
        for pattern in missing:
            for path in folder.glob(pattern):
                path.unlink()
    with pytest.raises(InputError, match=f"^--data_dir: .*digits, found {found}"):
        datasets.load("auto", str(folder), is_named=True)


def test_offline_mnist_is_an_error(tmp_path, no_network):
    with pytest.raises(DownloadError, match="--dataset=synthetic"):
        datasets.load("mnist", str(tmp_path / "data"))


def test_a_damaged_file_is_an_error_and_no_reason_for_synthetic_digits(tmp_path):
    folder = write_noise(tmp_path / "damaged")
    path = folder / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="train-labels-idx1-ubyte.*expected 120.*found only 119"):
        datasets.load("auto", str(folder))


def test_the_fingerprint_tells_data_sets_apart(tmp_path):
    one = datasets.load("mnist", str(write_noise(tmp_path / "one")))
    path = tmp_path / "one" / "train-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] = (content[-1] + 1) % 10
    path.write_bytes(content)
    other = datasets.load("mnist", str(tmp_path / "one"))
    assert one.description()["fingerprint"] != other.description()["fingerprint"]


def numbered(count=103, batch_size=10, seed=0):
    """Batches in which each image is just its own number."""
    numbers = np.arange(count)
    return Batches(numbers, numbers % 10, batch_size, seed)


def test_each_epoch_shows_every_image_at_most_once_in_full_batches():
    batches = numbered()
    assert batches.steps_per_epoch == 10
    for epoch in range(3):
        images = [batches.batch(epoch * 10 + k)[0] for k in range(10)]
        assert [len(batch) for batch in images] == [10] * 10
        assert len(set(np.concatenate(images))) == 100


def test_labels_stay_with_their_images():
    images, labels = numbered().batch(3)
    np.testing.assert_array_equal(labels, images % 10)


def test_a_batch_does_not_depend_on_the_batches_before_it():
    in_order = numbered()
    expected = [in_order.batch(step)[0] for step in range(25)]
    for step in (24, 0, 11, 10, 3):
        np.testing.assert_array_equal(numbered().batch(step)[0], expected[step])


def test_batches_gathered_ahead_are_the_batches_of_their_steps():
    batches = numbered()
    ahead = list(batches.ahead(7, 23))
    assert len(ahead) == 16
    for step, (images, labels) in enumerate(ahead, 7):
        np.testing.assert_array_equal(images, batches.batch(step)[0])
        np.testing.assert_array_equal(labels, batches.batch(step)[1])
    assert list(batches.ahead(5, 5)) == []


def test_seeds_and_epochs_shuffle_differently():
    batches = [
        numbered(seed=0).batch(0)[0],
        numbered(seed=1).batch(0)[0],
        numbered(seed=0).batch(10)[0],
    ]
    assert len({tuple(batch) for batch in batches}) == 3


def test_a_batch_larger_than_the_data_is_an_error():
    with pytest.raises(InputError, match="at most 103.*found 104"):
        numbered(batch_size=104)
