"""What TensorBoard shows of a run: one event file for each split, with the same tags in each."""

import io
import pathlib
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image, ImageDraw, ImageFont

from runtime.evaluation import Outcome

MISCLASSIFIED_COLUMNS, MISCLASSIFIED_ROWS = 8, 8


class EventWriter:
    """Writes the events of one split into `summaries/RUN/SPLIT`."""

    def __init__(self, folder: pathlib.Path, first_step: int, graph: tf.Graph | None = None):
        """Opens an event file, and voids events that an interrupted run wrote after its checkpoint.

        Args:
            folder: where the event files of the split are.
            first_step: the first step to come; TensorBoard drops what older files say of it and
                of later ones.
            graph: shown in the Graphs tab.
        """
        # The writer refuses to work eagerly, which is what TensorFlow does outside of graphs.
        with (graph or tf.Graph()).as_default():
            self._writer = tf.summary.FileWriter(str(folder), graph)
        self.void_from(first_step)

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def void_from(self, step: int) -> None:
        """Voids what was written for `step` and later ones: TensorBoard drops it."""
        self._writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), step)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Adds one point to each of the curves that `values` names."""
        points = [tf.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._add(step, *points)

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Adds a panel to the Text tab."""
        plugin = tf.SummaryMetadata.PluginData(plugin_name="text")
        self._add(
            step,
            tf.Summary.Value(
                tag=tag,
                metadata=tf.SummaryMetadata(plugin_data=plugin),
                tensor=tf.make_tensor_proto(markdown, tf.string),
            ),
        )

    def image(self, step: int, tag: str, picture: Image.Image) -> None:
        """Adds a picture to the Images tab."""
        png = io.BytesIO()
        picture.save(png, format="PNG")
        self._add(
            step,
            tf.Summary.Value(
                tag=tag,
                image=tf.Summary.Image(
                    width=picture.width, height=picture.height, encoded_image_string=png.getvalue()
                ),
            ),
        )

    def serialized(self, step: int, summary: bytes) -> None:
        """Adds a Summary that a graph has made."""
        self._writer.add_summary(summary, step)

    def flush(self) -> None:
        """Brings every event to disk."""
        self._writer.flush()

    def _add(self, step: int, *values: tf.Summary.Value) -> None:
        self._writer.add_summary(tf.Summary(value=values), step)


def remove_events(folder: pathlib.Path) -> None:
    """Deletes the event files of a run that is to start afresh, or its curves would be double."""
    for path in folder.glob("*/events.out.tfevents.*"):
        path.unlink()


def markdown_table(facts: dict[str, Any]) -> str:
    """Returns a Markdown table of names and values."""
    rows = [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(["| name | value |", "|---|---|", *rows])


def write_test_outcome(
    folder: pathlib.Path, step: int, images: np.ndarray, outcome: Outcome
) -> None:
    """Writes the test set's loss and accuracy, and a picture of what was misclassified."""
    with EventWriter(folder, first_step=0) as events:
        events.scalars(step, outcome.scalars)
        grid = misclassified_grid(images, outcome.labels, outcome.predictions)
        events.image(step, "misclassified digits, predicted and true", grid)


def misclassified_grid(
    images: np.ndarray, labels: np.ndarray, predictions: np.ndarray
) -> Image.Image:
    """Draws the first misclassified digits, with `predicted/true` under each.

    Args:
        images: uint8 [n, 28, 28].
        labels: the true digits [n].
        predictions: the predicted digits [n].
    """
    scale, caption = 2, 20
    font = ImageFont.load_default(size=caption)
    width, height = images.shape[2] * scale + 8, images.shape[1] * scale + caption + 8
    wrong = np.flatnonzero(labels != predictions)[: MISCLASSIFIED_COLUMNS * MISCLASSIFIED_ROWS]
    rows = max(1, -(-len(wrong) // MISCLASSIFIED_COLUMNS))
    grid = Image.new("L", (width * MISCLASSIFIED_COLUMNS, height * rows), color=255)
    draw = ImageDraw.Draw(grid)
    for place, index in enumerate(wrong):
        row, column = divmod(place, MISCLASSIFIED_COLUMNS)
        left, top = column * width + 4, row * height + 2
        digit = Image.fromarray(255 - images[index])
        digit = digit.resize((digit.width * scale, digit.height * scale))
        grid.paste(digit, (left, top))
        draw.text(
            (left + digit.width / 2, top + digit.height),
            f"{predictions[index]}/{labels[index]}",
            anchor="ma",
            font=font,
            fill=0,
        )
    return grid
