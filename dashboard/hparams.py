"""The HParams tab: a row for each run, with its flags and what it reached."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary

from dashboard.event_files import EVENT_FILES
from dashboard.summaries import EventWriter
from runtime.errors import CommandError
from runtime.interruption import Interrupted

# The events of a session have no step that a user sees.
STEP = 0


class Session:
    """A row of the HParams tab, for as long as its training lasts."""

    def __init__(self) -> None:
        """Starts as one that succeeds."""
        self.status = api_pb2.STATUS_SUCCESS

    def fail(self) -> None:
        """Shows the session as failed when it ends."""
        self.status = api_pb2.STATUS_FAILURE


@contextlib.contextmanager
def session(folder: pathlib.Path, hparams: dict[str, Any]) -> Iterator[Session]:
    """Makes what is trained in the block a row of the HParams tab.

    Its metrics are the scalars in `folder` and in the folders inside it. It replaces an earlier
    row: a session that was interrupted is one with the session that resumes it. At the end of the
    block it is a success, unless `Session.fail` was called or a `CommandError` ended the block; if
    it was interrupted or killed, it is shown as running.

    Args:
        folder: of the run. TensorBoard has to be started on a folder above it.
        hparams: a bool, number or string for each column, or None for an empty cell.
    """
    given = {name: value for name, value in hparams.items() if value is not None}
    # TensorBoard shows the first session in a folder, so a second one would go unseen.
    for path in folder.glob(EVENT_FILES):
        path.unlink()
    with EventWriter(folder, first_step=STEP) as events:

        def write(summary) -> None:
            events.serialized(STEP, summary.SerializeToString())

        row = Session()
        write(hparams_summary.session_start_pb(given))
        try:
            yield row
        except Interrupted:
            raise
        except CommandError:
            row.fail()
            write(hparams_summary.session_end_pb(row.status))
            raise
        write(hparams_summary.session_end_pb(row.status))
