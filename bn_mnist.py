"""The MNIST reader of TensorFlow's tutorials, which was removed with TensorFlow 2.0.

    from tensorflow.examples.tutorials.mnist import input_data    # before
    import bn_mnist as input_data                                 # after

Same arguments, same files and the same batches for the same seed as in TF 1.15.5, where it was also
`tensorflow.contrib.learn.python.learn.datasets.mnist`. With it come the functions of the tutorials'
other module, `tensorflow.examples.tutorials.mnist.mnist`, which build a network of two hidden
layers.

It runs on TF 1.15 (Python 3.7) and on current TensorFlow, and needs none of the other files.
`bn_revive.install` puts it where old programs look for it.
"""

from __future__ import annotations

import collections
import gzip
import http.client
import math
import os
import tempfile
import urllib.request

import numpy as np
import tensorflow.compat.v1 as tf

__all__ = [
    "DataSet",
    "Dataset",
    "Datasets",
    "dense_to_one_hot",
    "evaluation",
    "extract_images",
    "extract_labels",
    "inference",
    "load_dataset",
    "load_mnist",
    "loss",
    "maybe_download",
    "read_data_sets",
    "training",
]

DEFAULT_SOURCE_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
SOURCE_URL = DEFAULT_SOURCE_URL  # its name in TF 0.x

Dataset = collections.namedtuple("Dataset", ["data", "target"])
Datasets = collections.namedtuple("Datasets", ["train", "validation", "test"])

_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_SECONDS = 30  # that a server may be silent


def read_data_sets(
    train_dir,
    fake_data=False,
    one_hot=False,
    dtype=tf.float32,
    reshape=True,
    validation_size=5000,
    seed=None,
    source_url=DEFAULT_SOURCE_URL,
):
    """Reads MNIST as `input_data.read_data_sets` of TF 1.15.

    Args:
        train_dir: folder of MNIST's four .gz files; those that are missing are downloaded to it.
        fake_data: read nothing; see `DataSet.next_batch`.
        one_hot: labels are float64 [n, 10] instead of uint8 [n].
        dtype: tf.float32 for images from 0 to 1, tf.uint8 for 0 to 255.
        reshape: images are [n, 784] instead of [n, 28, 28, 1].
        validation_size: how many of the training images, the first ones, are the validation set.
        seed: of NUMPY'S GLOBAL RANDOM NUMBERS, which shuffle the batches; by default the graph's.
        source_url: where to download from, up to the file's name.

    Returns:
        `Datasets` of three `DataSet`s: train, validation, test.

    Raises:
        OSError: a file is not there and can't be downloaded; the message says what to do.
        ValueError: a file is damaged, or there are fewer training images than `validation_size`.
        TypeError: `dtype` is another one.
    """
    options = {"dtype": dtype, "seed": seed}
    if fake_data:
        options.update(fake_data=True, one_hot=one_hot)
        return Datasets(*[DataSet([], [], **options) for _ in range(3)])

    paths = [
        maybe_download(name, train_dir, (source_url or DEFAULT_SOURCE_URL) + name)
        for name in _FILES
    ]
    halves = []
    for images_path, labels_path in (paths[:2], paths[2:]):
        with tf.gfile.Open(images_path, "rb") as images_file:
            images = extract_images(images_file)
        with tf.gfile.Open(labels_path, "rb") as labels_file:
            halves.append((images, extract_labels(labels_file, one_hot=one_hot)))
    (images, labels), test = halves
    if not 0 <= validation_size <= len(images):
        raise ValueError(
            "Validation size should be between 0 and %d. Received: %s."
            % (len(images), validation_size)
        )
    options["reshape"] = reshape
    return Datasets(
        train=DataSet(images[validation_size:], labels[validation_size:], **options),
        validation=DataSet(images[:validation_size], labels[:validation_size], **options),
        test=DataSet(*test, **options),
    )


def load_mnist(train_dir="MNIST-data"):
    """Reads MNIST with all defaults, as `load_dataset("mnist")` does."""
    return read_data_sets(train_dir)


def load_dataset(name, size="small", test_with_fake_data=False):
    """Reads MNIST: `tf.contrib.learn.datasets.load_dataset` of TF 1.15, which knew other sets too.

    Raises:
        ValueError: `name` is not "mnist".
    """
    if name != "mnist":
        raise ValueError("Name of dataset is not found: %s; here is only mnist" % name)
    return load_mnist()


class DataSet:
    """Images and labels, and an endless series of batches of them.

    Args:
        images: uint8 [n, height, width, 1].
        labels: [n] or [n, classes].
        fake_data, one_hot: make `next_batch(..., fake_data=True)` possible.
        dtype, reshape, seed: as in `read_data_sets`.

    Raises:
        TypeError: `dtype` is neither tf.uint8 nor tf.float32.
        AssertionError: there are not as many images as labels.
    """

    def __init__(
        self,
        images,
        labels,
        fake_data=False,
        one_hot=False,
        dtype=tf.float32,
        reshape=True,
        seed=None,
    ):
        of_graph, of_op = tf.get_seed(seed)
        of_numpy = of_graph if seed is None else of_op
        # TF1 took a graph's seed of 0.0 for 0.
        np.random.seed(None if of_numpy is None else int(of_numpy))
        dtype = tf.as_dtype(dtype).base_dtype
        if dtype not in (tf.uint8, tf.float32):
            raise TypeError("Invalid image dtype %r, expected uint8 or float32" % dtype)
        if fake_data:
            self._num_examples = 10000
            self.one_hot = one_hot
        else:
            if images.shape[0] != labels.shape[0]:
                raise AssertionError(
                    "images.shape: %s labels.shape: %s" % (images.shape, labels.shape)
                )
            self._num_examples = images.shape[0]
            if reshape:
                images = images.reshape(images.shape[0], images.shape[1] * images.shape[2])
            if dtype == tf.float32:
                images = np.multiply(images.astype(np.float32), 1.0 / 255.0)
        self._images = images
        self._labels = labels
        self._epochs_completed = 0
        self._index_in_epoch = 0

    @property
    def images(self):
        """All images, in the order of this epoch."""
        return self._images

    @property
    def labels(self):
        """Their labels."""
        return self._labels

    @property
    def num_examples(self):
        """How many there are."""
        return self._num_examples

    @property
    def epochs_completed(self):
        """How often `next_batch` has reached the end."""
        return self._epochs_completed

    def next_batch(self, batch_size, fake_data=False, shuffle=True):
        """Returns the next images and labels, which may be the last of one epoch and the next's.

        Args:
            batch_size: how many.
            fake_data: a list of lists of ones instead, and of labels that are 0.
            shuffle: draw a new order for each epoch.
        """
        if fake_data:
            label = [1] + [0] * 9 if self.one_hot else 0
            return [[1] * 784 for _ in range(batch_size)], [label for _ in range(batch_size)]
        start = self._index_in_epoch
        if self._epochs_completed == 0 and start == 0 and shuffle:
            self._shuffle()
        if start + batch_size <= self._num_examples:
            self._index_in_epoch = end = start + batch_size
            return self._images[start:end], self._labels[start:end]
        self._epochs_completed += 1
        images, labels = self._images[start:], self._labels[start:]
        if shuffle:
            self._shuffle()
        self._index_in_epoch = end = batch_size - len(images)
        return (
            np.concatenate((images, self._images[:end])),
            np.concatenate((labels, self._labels[:end])),
        )

    def _shuffle(self):
        order = np.arange(self._num_examples)
        np.random.shuffle(order)
        self._images, self._labels = self._images[order], self._labels[order]


# ---- Files ----


def maybe_download(filename, work_directory, source_url):
    """Returns the path of a file in a folder, after downloading it if it is not there.

    Raises:
        OSError: it can't be downloaded.
    """
    path = os.path.join(work_directory, filename)
    if not tf.gfile.Exists(path):
        tf.gfile.MakeDirs(work_directory)
        _download(source_url, path)
        print("Successfully downloaded", filename, tf.gfile.Stat(path).length, "bytes.")
    return path


def _download(url, path):
    """Copies what is at `url` to `path`, which is there only once all of it is."""
    with tempfile.TemporaryDirectory() as folder:
        part = os.path.join(folder, "part")
        try:
            with urllib.request.urlopen(url, timeout=_SECONDS) as source, open(part, "wb") as file:
                expected = source.headers.get("Content-Length")
                for piece in iter(lambda: source.read(1 << 16), b""):
                    file.write(piece)
        except (OSError, http.client.HTTPException) as error:
            raise OSError(_missing(path, url, getattr(error, "reason", error))) from None
        size = os.path.getsize(part)
        if expected is not None and size != int(expected):
            raise OSError(_missing(path, url, "%d of %s bytes arrived" % (size, expected)))
        tf.gfile.Copy(part, path + ".part", overwrite=True)
    tf.gfile.Rename(path + ".part", path)


def _missing(path, url, reason):
    return "%s is not there, and can't be downloaded from %s (%s): put the file there" % (
        path,
        url,
        reason,
    )


def extract_images(f):
    """Returns the images of an open IDX file, compressed: uint8 [n, height, width, 1]."""
    print("Extracting", f.name)
    with gzip.GzipFile(fileobj=f) as file:
        count, rows, columns = _header(file, 2051, "image", 3, f.name)
        pixels = _read(file, count * rows * columns, f.name)
    return pixels.reshape(count, rows, columns, 1)


def extract_labels(f, one_hot=False, num_classes=10):
    """Returns the labels of an open IDX file, compressed: uint8 [n], or one-hot."""
    print("Extracting", f.name)
    with gzip.GzipFile(fileobj=f) as file:
        (count,) = _header(file, 2049, "label", 1, f.name)
        labels = _read(file, count, f.name)
    return dense_to_one_hot(labels, num_classes) if one_hot else labels


def _header(file, magic, kind, sizes, name):
    found, *shape = _read(file, 4 + 4 * sizes, name).view(">u4").tolist()
    if found != magic:
        raise ValueError("Invalid magic number %d in MNIST %s file: %s" % (found, kind, name))
    return shape


def _read(file, count, name):
    try:
        read = file.read(count)
    except (EOFError, OSError) as error:
        raise ValueError(
            "%s is damaged (%s): remove it, and get it again" % (name, error)
        ) from None
    if len(read) < count:
        raise ValueError("%s is damaged: it ends too early" % name)
    return np.frombuffer(read, np.uint8)


def dense_to_one_hot(labels_dense, num_classes):
    """Converts labels [n] to float64 [n, num_classes]."""
    one_hot = np.zeros((len(labels_dense), num_classes))
    one_hot[np.arange(len(labels_dense)), labels_dense.ravel()] = 1
    return one_hot


# ---- The network of the tutorials' `mnist.mnist` ----

NUM_CLASSES = 10
IMAGE_SIZE = 28
IMAGE_PIXELS = IMAGE_SIZE * IMAGE_SIZE


def inference(images, hidden1_units, hidden2_units):
    """Returns logits [batch, 10] of images [batch, 784], by two hidden layers of ReLUs."""
    hidden1 = tf.nn.relu(_linear("hidden1", images, IMAGE_PIXELS, hidden1_units))
    hidden2 = tf.nn.relu(_linear("hidden2", hidden1, hidden1_units, hidden2_units))
    return _linear("softmax_linear", hidden2, hidden2_units, NUM_CLASSES)


def _linear(scope, inputs, size, units):
    with tf.name_scope(scope):
        stddev = 1.0 / math.sqrt(float(size))
        weights = tf.Variable(tf.truncated_normal([size, units], stddev=stddev), name="weights")
        biases = tf.Variable(tf.zeros([units]), name="biases")
        return tf.matmul(inputs, weights) + biases


def loss(logits, labels):
    """Returns the mean cross entropy of logits [batch, 10] and labels [batch]."""
    return tf.losses.sparse_softmax_cross_entropy(labels=tf.cast(labels, tf.int64), logits=logits)


def training(loss, learning_rate):
    """Returns the op of a step of gradient descent, which counts in `global_step`."""
    tf.summary.scalar("loss", loss)
    optimizer = tf.train.GradientDescentOptimizer(learning_rate)
    global_step = tf.Variable(0, name="global_step", trainable=False)
    return optimizer.minimize(loss, global_step=global_step)


def evaluation(logits, labels):
    """Returns how many of the logits [batch, 10] are highest at the label [batch]; int32."""
    correct = tf.nn.in_top_k(predictions=logits, targets=labels, k=1)
    return tf.reduce_sum(tf.cast(correct, tf.int32))
