"""The first import of every command: it answers for the seconds in which the others are imported.

A Python that is too old gets one line here, so this file, and a command as a whole, keep to the
syntax of Python 3.7.
"""

import sys

if not (3, 10) <= sys.version_info[:2]:
    sys.exit(
        f"{sys.argv[0]}: expected Python 3.10 to 3.13, found {sys.version_info[0]}."
        f"{sys.version_info[1]}; for example: make train PYTHON=python3.12"
    )

from console import interruption  # noqa: E402, since an older Python can't import it

interruption.end_at_once()
