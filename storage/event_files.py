"""TensorBoard's event files: naming, finding and deleting them."""

import pathlib
import re
import socket
import time
import urllib.parse

EVENT_FILES = "events.out.tfevents.*"
# With more runs than this that its filter lets through, TensorBoard ticks none of them.
MOST_TICKED = 40


def new_event_file(folder: pathlib.Path) -> pathlib.Path:
    """Returns a path for a folder's next event file.

    TensorBoard reads them in the order of their names, so this one comes after those that are
    there, even if the clock was set back since, or is another machine's.
    """
    taken = [_microseconds(path.name) for path in folder.glob(EVENT_FILES)]
    microseconds = max([time.time_ns() // 1000, *(1 + number for number in taken)])
    seconds, rest = divmod(microseconds, 10**6)
    return folder / EVENT_FILES.replace("*", f"{seconds:010d}.{rest:06d}.{socket.gethostname()}")


def _microseconds(name: str) -> int:
    """The number in a file's name; other programs write it without a fraction."""
    found = re.match(r"events\.out\.tfevents\.(\d+)(?:\.(\d{6})\.)?", name)
    return int(found[1]) * 10**6 + int(found[2] or 0) if found else 0


def has_events(folder: pathlib.Path) -> bool:
    """Returns whether a run's folder contains event files."""
    return any(folder.rglob(EVENT_FILES))


def address(summaries: pathlib.Path, few: str) -> str:
    """Returns the address at which a TensorBoard on this computer shows all runs of a folder.

    Where there are too many runs, it shows those whose names match the regular expression `few`.
    Curves are not smoothed, since a smoothed one ends beside its last value. The tab Time Series
    reads settings before the #, the older tabs those after it.
    """
    before, after = "smoothing=0", "_smoothingWeight=0"
    if len({path.parent for path in summaries.rglob(EVENT_FILES)}) > MOST_TICKED:
        chosen = urllib.parse.quote(few)
        before, after = f"{before}&runFilter={chosen}", f"{after}&regexInput={chosen}"
    return f"http://localhost:6006/?{before}#timeseries&{after}"


def remove_events(folder: pathlib.Path) -> None:
    """Deletes the event files of a run that starts afresh, or its curves would be doubled."""
    for path in folder.glob(f"*/{EVENT_FILES}"):
        path.unlink()
