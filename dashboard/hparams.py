"""The HParams tab: a row for each run, with its flags and metrics."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary

from console.errors import CommandError
from console.interruption import Interrupted
from dashboard.summaries import EventWriter
from storage.event_files import EVENT_FILES

# Session events need a step, but users never see it.
STEP = 0

# The first columns. TensorBoard sorts them: flags that differ between runs come first, and then the
# name decides. Spaces sort before letters, and a browser doesn't show leading ones. An experiment
# summary would change neither order, and would hide the flags that it doesn't name.
ALWAYS = ("learning_rate", "model", "batch_norm")  # for every run, also by default
FIRST = (*ALWAYS, "seed")
COLUMNS = {flag: " " * (len(FIRST) - place) + flag for place, flag in enumerate(FIRST)}


@contextlib.contextmanager
def session(folder: pathlib.Path, hparams: dict[str, Any]) -> Iterator[None]:
    """Makes the training in the block a row of the HParams tab.

    Its metrics are the scalars in `folder` and its subfolders. It replaces any earlier row, so an
    interrupted session and the one that resumes it share a row. At the end of the block the session
    is shown as a success, or as a failure if a `CommandError` ended the block; if it was
    interrupted or killed, it is still shown as running.

    Args:
        folder: the run's folder. TensorBoard must be started on a folder above it.
        hparams: a bool, number or string for each column, or None for an empty cell.
    """
    given = {COLUMNS.get(k, k): value for k, value in hparams.items() if value is not None}
    # TensorBoard shows only the first session in a folder.
    for path in folder.glob(EVENT_FILES):
        path.unlink()
    with EventWriter(folder, first_step=STEP) as events:

        def write(summary) -> None:
            events.serialized(STEP, summary.SerializeToString())

        write(hparams_summary.session_start_pb(given))
        try:
            yield
        except Interrupted:
            raise
        except CommandError:
            write(hparams_summary.session_end_pb(api_pb2.STATUS_FAILURE))
            raise
        write(hparams_summary.session_end_pb(api_pb2.STATUS_SUCCESS))
