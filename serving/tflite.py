"""TFLite: for phones and small machines; the fastest for one image at a time."""

import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from serving import saved_model
from serving.formats import IMAGES, Classify
from serving.graph import Served

FILE = "model.tflite"


def write(served: Served, folder: pathlib.Path, calibration: np.ndarray) -> None:
    """Writes the model; in int8, with ranges of activations as they are for `calibration`."""
    with tempfile.TemporaryDirectory() as name:
        saved_model.write_model(served, pathlib.Path(name))
        # From a SavedModel, since its signature has the names.
        converter = tf.lite.TFLiteConverter.from_saved_model(name)
        if served.precision == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                {IMAGES: image[np.newaxis]} for image in calibration
            )
        (folder / FILE).write_bytes(converter.convert())


def interpreted(folder: pathlib.Path) -> Classify:
    """Loads it into TFLite's interpreter, with a thread for each core."""
    from console import processor

    interpreter = tf.lite.Interpreter(str(folder / FILE), num_threads=processor.cores())
    signature = interpreter.get_signature_runner()
    return lambda batch: signature(**{IMAGES: batch})


RUNTIMES = {"TFLite": interpreted}
