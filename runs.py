"""Lists the runs: how far each is, what it reached, its size, and flags unlike those of most runs.

python runs.py                                  those in checkpoints/
python runs.py --json=runs.json                 all that is known of them
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # where `python -I` does not look
from console import first  # noqa: F401, for what it does when it is imported

# isort: split
import pathlib
import shutil

import flags
from console import commands
from console.files import write_json
from console.progress import note
from storage import overview

FLAGS = flags.FLAGS
flags.define_listing()


def main() -> None:
    """Prints the table."""
    commands.check_json_flag(FLAGS.json)
    found = overview.all_runs(pathlib.Path(FLAGS.checkpoint_dir))
    for run in found:
        if "problem" in run:
            note(f"warning: {run['problem']}")
    # In a file or a pipe, a run is a line.
    width = shutil.get_terminal_size(fallback=(0, 0)).columns or None
    print(overview.table(found, width))
    if FLAGS.json:
        write_json(pathlib.Path(FLAGS.json), {"runs": found})


if __name__ == "__main__":
    commands.run(main, flags.SECTIONS)
