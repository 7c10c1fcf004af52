"""The events that TensorBoard shows: one file per split of a run, with the same tags in each."""

import io
import pathlib
import time
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

from console import markdown
from console.files import writing
from dashboard import pictures
from mnist.datasets import Split
from storage.event_files import new_event_file
from training import outcomes
from training.outcomes import Outcome

HARDEST_PAIRS = 10


class EventWriter:
    """Writes the events of one split into `summaries/RUN/SPLIT`.

    Used instead of `tf.summary.FileWriter`, which writes from its own thread, where a caller can't
    catch that the disk is full. Each method raises a `CommandError` if it can't write.
    """

    def __init__(self, folder: pathlib.Path, first_step: int, graph: tf.Graph | None = None):
        """Opens an event file, and voids events that an interrupted run wrote after its checkpoint.

        Args:
            folder: the folder of the split's event files.
            first_step: the next step; TensorBoard drops what older files have for it and later
                steps.
            graph: shown in the Graphs tab, without the `Saver`, to which an arrow leads from every
                variable.
        """
        self._path = new_event_file(folder)
        with writing(self._path, tf.errors.OpError):
            folder.mkdir(parents=True, exist_ok=True)
            self._records = tf.io.TFRecordWriter(str(self._path))
        self._write(file_version="brain.Event:2")
        if graph is not None:
            shown = graph.as_graph_def(add_shapes=True)
            nodes = [node for node in shown.node if not node.name.startswith("save/")]
            del shown.node[:]
            shown.node.extend(nodes)
            self._write(graph_def=shown.SerializeToString())
        self.void_from(first_step)

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        with writing(self._path, tf.errors.OpError):
            self._records.close()

    def void_from(self, step: int) -> None:
        """Makes TensorBoard drop what was written for `step` and later steps."""
        self._write(step=step, session_log=tf.SessionLog(status=tf.SessionLog.START))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Adds one point to each curve named in `values`."""
        points = [tf.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write_summary(step, *points)

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Adds a panel to the Text tab."""
        plugin = tf.SummaryMetadata.PluginData(plugin_name="text")
        self._write_summary(
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
        self._write_summary(
            step,
            tf.Summary.Value(
                tag=tag,
                image=tf.Summary.Image(
                    width=picture.width, height=picture.height, encoded_image_string=png.getvalue()
                ),
            ),
        )

    def trace(self, step: int, trace: tf.RunMetadata) -> None:
        """Adds the time and memory of every op in a step to the Graphs tab; one trace per step."""
        self._write(
            step=step,
            tagged_run_metadata={
                "tag": f"step {step}",
                "run_metadata": trace.SerializeToString(),
            },
        )

    def serialized(self, step: int, summary: bytes) -> None:
        """Adds a serialized Summary."""
        self._write(step=step, summary=tf.Summary.FromString(summary))

    def _write_summary(self, step: int, *values: tf.Summary.Value) -> None:
        self._write(step=step, summary=tf.Summary(value=values))

    def _write(self, **content: Any) -> None:
        """Writes an event with these fields, and flushes it so that TensorBoard sees it at once."""
        event = tf.Event(wall_time=time.time(), **content)
        with writing(self._path, tf.errors.OpError):
            self._records.write(event.SerializeToString())
            self._records.flush()


def write_test_outcome(
    folder: pathlib.Path, test: Split, outcome: Outcome, result: dict[str, Any], again: str
) -> None:
    """Writes a run's results on the test images.

    Args:
        folder: the folder of the event files.
        test: the images.
        outcome: the network's output for them.
        result: see `outcomes.result`.
        again: the command that evaluates the checkpoint again.
    """
    step = result["step"]
    with EventWriter(folder, first_step=0) as events:
        events.scalars(step, outcome.scalars)
        grid = pictures.misclassified_grid(test.images, outcome.labels, outcome.predictions)
        events.image(step, "misclassified digits, predicted and true", grid)
        matrix = outcomes.confusion_matrix(outcome)
        events.image(step, "confusion matrix", pictures.confusion_picture(matrix))
        events.text(step, "hardest pairs", hardest_pairs(matrix))
        line = outcomes.result_line(result)
        events.text(step, "result", f"{line}\n\nAgain: `{again}`")


def hardest_pairs(matrix: np.ndarray) -> str:
    """Returns a table of the most frequent confusions in Markdown, or a line if there are none.

    Args:
        matrix: int [classes, classes]; row is the true digit, column the predicted one.
    """
    wrong = matrix - np.diag(np.diag(matrix))
    pairs = sorted(np.argwhere(wrong), key=lambda pair: -wrong[tuple(pair)])[:HARDEST_PAIRS]
    if not pairs:
        return "Every image is classified correctly."
    rows = []
    for true, predicted in pairs:
        count = wrong[true, predicted]
        rows.append([true, predicted, count, f"{100 * count / matrix[true].sum():.2f} %"])
    return markdown.table(["true", "predicted", "images", "share of the true digit's images"], rows)
