"""Requests that TensorFlow Serving sends to a model before it serves it.

Without them, the first requests wait for what TensorFlow does once.
https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

import pathlib

import numpy as np
import tensorflow.compat.v1 as tf

from serving.formats import IMAGES

FILE = "tf_serving_warmup_requests"
# How many images are in each request.
BATCHES = (1, 32)


def write(folder: pathlib.Path, signature: str, images: np.ndarray) -> None:
    """Writes the file into a folder, which it makes: a TFRecord of `PredictionLog`s."""
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        for size in BATCHES:
            writer.write(prediction_log(signature, images[:size]))


def prediction_log(signature: str, images: np.ndarray) -> bytes:
    """Returns a serialized `tensorflow.serving.PredictionLog` of a request without a response.

    Field by field, since the package that has these messages, tensorflow-serving-api, has to fit
    TensorFlow's version exactly. Its files prediction_log.proto, predict.proto and model.proto
    have the numbers; those of fields never change.
    """
    tensor = tf.make_tensor_proto(images).SerializeToString(deterministic=True)
    model_spec = _field(3, signature.encode())
    # An entry of a map is a message of a key and a value.
    request = _field(1, model_spec) + _field(2, _field(1, IMAGES.encode()) + _field(2, tensor))
    return _field(6, _field(1, request))  # `predict_log`, and in it `request`


def _field(number: int, content: bytes) -> bytes:
    """Returns a field with a length, as Protocol Buffers encode it."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Returns an integer in groups of seven bits, the lowest first; all but the last are marked."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])
