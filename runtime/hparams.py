"""The HParams tab: a row for each run, with its flags and what it reached."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary

from runtime.errors import CommandError
from runtime.event_files import EVENT_FILES
from runtime.interruption import Interrupted
from runtime.summaries import EventWriter

# The events of a session have no step that a user sees.
STEP = 0


@contextlib.contextmanager
def session(folder: pathlib.Path, hparams: dict[str, Any]) -> Iterator[None]:
    """Makes what is trained in the block a row of the HParams tab.

    Its metrics are the scalars in `folder` and in the folders inside it. A row that is there from
    before is replaced: a session that was interrupted is one with the session that goes on. It is
    a success at the end of the block, a failure where a `CommandError` ends it, and is shown as
    running where it was interrupted or killed.

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

        write(hparams_summary.session_start_pb(given))
        try:
            yield
        except Interrupted:
            raise
        except CommandError:
            write(hparams_summary.session_end_pb(api_pb2.STATUS_FAILURE))
            raise
        write(hparams_summary.session_end_pb(api_pb2.STATUS_SUCCESS))
