"""TensorBoard's event files: naming, finding and deleting them."""

import pathlib
import socket
import time

EVENT_FILES = "events.out.tfevents.*"


def new_event_file(folder: pathlib.Path) -> pathlib.Path:
    """Returns a path for a folder's next event file; TensorBoard reads them in name order."""
    return folder / EVENT_FILES.replace("*", f"{time.time():017.6f}.{socket.gethostname()}")


def has_events(folder: pathlib.Path) -> bool:
    """Returns whether a run's folder contains event files."""
    return any(folder.rglob(EVENT_FILES))


def remove_events(folder: pathlib.Path) -> None:
    """Deletes the event files of a run that starts afresh, or its curves would be doubled."""
    for path in folder.glob(f"*/{EVENT_FILES}"):
        path.unlink()
