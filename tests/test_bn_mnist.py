"""The reader of TensorFlow's tutorials: where its files come from, and what is wrong with them.

What it returns is compared with TF 1.15's in system/test_install.py.
"""

import functools
import gzip
import http.server
import threading

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import bn_mnist
from tests.originals import small_mnist

NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture
def folder(tmp_path):
    small_mnist.write(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def server(folder):
    """The address of a server that has the four files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_files_that_are_missing_are_downloaded(folder, server, tmp_path, capsys):
    found = [
        bn_mnist.read_data_sets(str(path), validation_size=50, seed=1, source_url=server)
        for path in (folder, tmp_path / "empty")
    ]
    assert capsys.readouterr().out.count("Successfully downloaded") == 4
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == sorted(
        path.name for path in folder.iterdir()
    )
    for part in ("train", "validation", "test"):
        images = [getattr(data, part).images for data in found]
        np.testing.assert_array_equal(*images)
    assert found[0].train.images.shape == (200, 784) and found[0].test.num_examples == 60


def test_a_seed_of_the_graph_may_be_a_whole_float(folder):
    """As in a well-known tutorial with batch norm: `tf.set_random_seed(0.0)`."""
    labels = []
    for seed in (0, 0.0):
        with tf.Graph().as_default():
            tf.zeros([])  # else TensorFlow returns 0 for 0.0 itself
            tf.set_random_seed(seed)
            data = bn_mnist.read_data_sets(str(folder), validation_size=50)
            labels.append(data.train.next_batch(20)[1])
    np.testing.assert_array_equal(*labels)


def test_offline_the_error_says_which_file_to_put_where(tmp_path):
    with pytest.raises(
        OSError, match="train-images.* can't be downloaded from .*put the file ther"
    ):
        bn_mnist.read_data_sets(str(tmp_path / "data"), source_url=NOWHERE)
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda content: gzip.compress(b"\0\0\0\7" * 4), "Invalid magic number 7 in MNIST image"),
        (lambda content: content[:3000], "damaged"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-1]), "ends too early"),
        (lambda content: b"<html>", "damaged"),
    ],
    ids=["another file", "cut off", "too short", "no gzip"],
)
def test_a_damaged_file_is_named(folder, make, message):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(make(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as caught:
        bn_mnist.read_data_sets(str(folder))
    assert str(path) in str(caught.value)


def test_the_network_of_the_tutorials_learns(folder):
    data = bn_mnist.read_data_sets(str(folder), validation_size=0, seed=1)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        images, labels = tf.placeholder(tf.float32, [None, 784]), tf.placeholder(tf.int32, [None])
        logits = bn_mnist.inference(images, 32, 16)
        loss = bn_mnist.loss(logits, labels)
        train_op = bn_mnist.training(loss, 0.1)
        correct = bn_mnist.evaluation(logits, labels)
        names = [v.op.name for v in tf.trainable_variables()]
        assert names[:2] == ["hidden1/weights", "hidden1/biases"] and len(names) == 6
        session.run(tf.global_variables_initializer())
        for _ in range(150):
            batch = data.train.next_batch(50)
            session.run(train_op, {images: batch[0], labels: batch[1]})
        feed = {images: data.test.images, labels: data.test.labels}
        assert session.run(correct, feed) > 40
