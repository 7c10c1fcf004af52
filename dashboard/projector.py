"""The Projector tab: digits as points in a layer's space, each drawn as the digit itself."""

import math
import os
import pathlib
import shutil
import tempfile

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image
from tensorboard.plugins import projector

from console.files import make_folder, writing
from dashboard.summaries import EventWriter
from storage.event_files import has_events

FOLDER = "projector"
TENSOR, METADATA, SPRITE = "tensor.bytes", "metadata.tsv", "sprite.png"
CONFIG = "projector_config.pbtxt"  # the name that the plugin expects
# Prefix of the folder that holds the files until all of them are written.
PARTS = ".part-"


def write(
    run_folder: pathlib.Path,
    name: str,
    embedding: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
) -> None:
    """Writes the points of a split, replacing any earlier ones.

    A reader sees the files of a single call or, for a moment, none.

    Args:
        run_folder: the folder of a run's event files; the points get a folder in it.
        name: the points' name in TensorBoard.
        embedding: float32 [n, dimensions].
        images: uint8 [n, height, width].
        labels: the true digits [n].
        predictions: the predicted digits [n].

    Raises:
        InputError: the folder can't be made.
        CommandError: it can't be written to.
    """
    folder = run_folder / FOLDER
    make_folder(folder)
    with writing(folder, tf.errors.OpError):
        _remove_parts(folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=PARTS) as name_of_parts:
            parts = pathlib.Path(name_of_parts)
            (parts / TENSOR).write_bytes(_not_text(embedding))
            (parts / METADATA).write_text(_table(labels, predictions))
            _sprite(images).save(parts / SPRITE)
            projector.visualize_embeddings(str(parts), _config(name, embedding, images))
            # First out, last in: without the configuration, TensorBoard ignores the other files.
            (folder / CONFIG).unlink(missing_ok=True)
            for file in (TENSOR, METADATA, SPRITE, CONFIG):
                os.replace(parts / file, folder / file)
        # TensorBoard ignores folders without events.
        if not has_events(folder):
            with EventWriter(folder, first_step=0):
                pass


def remove(run_folder: pathlib.Path) -> None:
    """Deletes the points of a run that starts afresh: its embedding will differ."""
    folder = run_folder / FOLDER
    _remove_parts(folder)
    for file in (CONFIG, TENSOR, METADATA, SPRITE):
        (folder / file).unlink(missing_ok=True)


def _remove_parts(folder: pathlib.Path) -> None:
    """Deletes what a killed write left behind."""
    for path in folder.glob(f"{PARTS}*"):
        shutil.rmtree(path)


def _not_text(embedding: np.ndarray) -> bytes:
    """The values as bytes that TensorBoard can't mistake for text.

    If the first line of a file happens to be UTF-8, TensorBoard takes it for text, fails to parse
    numbers from it, and then shows no points of any run. So the first byte, the least significant
    one of the first value, is set to one that never occurs in UTF-8.
    """
    content = bytearray(embedding.astype("<f4").tobytes())
    content[0] = 0xFF
    return bytes(content)


def _table(labels: np.ndarray, predictions: np.ndarray) -> str:
    rows = [f"{label}\t{prediction}" for label, prediction in zip(labels, predictions, strict=True)]
    return "\n".join(["label\tprediction", *rows]) + "\n"


def _sprite(images: np.ndarray) -> Image.Image:
    """All images in a square, row by row: dark on white, since TensorBoard colours the white."""
    count, height, width = images.shape
    side = math.ceil(math.sqrt(count))
    square = np.zeros([side * side, height, width], np.uint8)
    square[:count] = images
    square = square.reshape(side, side, height, width).swapaxes(1, 2)
    return Image.fromarray(255 - square.reshape(side * height, side * width))


def _config(name: str, embedding: np.ndarray, images: np.ndarray) -> projector.ProjectorConfig:
    config = projector.ProjectorConfig()
    points = config.embeddings.add(
        tensor_name=name,
        tensor_path=TENSOR,
        tensor_shape=embedding.shape,
        metadata_path=METADATA,
    )
    points.sprite.image_path = SPRITE
    points.sprite.single_image_dim.extend([images.shape[2], images.shape[1]])
    return config
