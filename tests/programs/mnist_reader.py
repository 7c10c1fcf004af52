"""What the reader of TensorFlow's tutorials returns, by each of its names; as JSON.

Reads MNIST_data/ and MNIST-data/.
"""

import json
import os
import zlib

import numpy as np
import tensorflow as tf
import tensorflow.contrib.learn.python.learn.datasets.mnist as by_the_longest_path
from tensorflow.contrib.learn.python.learn.datasets import base
from tensorflow.contrib.learn.python.learn.datasets.mnist import DataSet, read_data_sets
from tensorflow.examples.tutorials.mnist import input_data

assert input_data.read_data_sets is read_data_sets
assert by_the_longest_path.DataSet is DataSet is tf.contrib.learn.datasets.mnist.DataSet
os.symlink("MNIST_data", "MNIST-data") if not os.path.exists("MNIST-data") else None


def described(array):
    array = np.ascontiguousarray(array)
    return [array.dtype.name, list(array.shape), zlib.crc32(array.tobytes())]


def tried(options, sizes, shuffle=True):
    tf.reset_default_graph()
    tf.set_random_seed(7)
    data = input_data.read_data_sets("MNIST_data/", **options)
    assert type(data) is base.Datasets
    found = []
    for part in data:
        found.append([part.num_examples, described(part.images), described(part.labels)])
        for size in sizes:
            found.append([described(each) for each in part.next_batch(size, shuffle=shuffle)])
            found[-1].append(part.epochs_completed)
    return found


def refused(function):
    try:
        function()
    except (TypeError, ValueError) as error:
        return [type(error).__name__, str(error)]


options = {"validation_size": 30, "seed": 5}
found = {
    "plain": tried(options, [50, 60, 170, 200]),
    "one hot": tried(dict(options, one_hot=True), [64]),
    "as they are": tried(dict(options, dtype=tf.uint8, reshape=False), [50, 200]),
    "in order": tried(dict(options, seed=None), [50, 200], shuffle=False),
    "seed of the graph": tried({"validation_size": 0 + 1}, [50, 200]),
}
data = DataSet(np.zeros([4, 2, 3, 1], np.uint8), np.arange(4), seed=3)
found["of its own"] = [data.images.shape, [data.next_batch(3)[1].tolist() for _ in range(4)]]
fake = input_data.read_data_sets("nowhere", fake_data=True, one_hot=True)
found["fake"] = [fake.train.num_examples, fake.train.next_batch(2, fake_data=True)]
found["refused"] = [
    refused(lambda: tried(dict(options, dtype=tf.float16), [])),
    refused(lambda: tried(dict(options, validation_size=1000), [])),
    refused(lambda: tf.contrib.learn.datasets.load_dataset("mnist")),
]
print(json.dumps(found))
