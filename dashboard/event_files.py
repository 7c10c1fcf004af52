"""The files that TensorBoard reads, by their names."""

import pathlib
import socket
import time

EVENT_FILES = "events.out.tfevents.*"


def new_event_file(folder: pathlib.Path) -> pathlib.Path:
    """Returns the path of the next one in a folder: TensorBoard reads them in order of name."""
    return folder / EVENT_FILES.replace("*", f"{time.time():017.6f}.{socket.gethostname()}")


def has_events(folder: pathlib.Path) -> bool:
    """Returns whether there are event files of a run in its folder."""
    return any(folder.rglob(EVENT_FILES))


def remove_events(folder: pathlib.Path) -> None:
    """Deletes the event files of a run that is to start afresh, or its curves would be double."""
    for path in folder.glob(f"*/{EVENT_FILES}"):
        path.unlink()
