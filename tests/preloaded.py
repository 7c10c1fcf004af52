"""What the process that commands are forked from has imported: see processes.py."""

import sys

# As in console/importing.py, for the same reasons.
sys.modules["keras"] = None

import tensorflow  # noqa: E402

tensorflow.config.list_physical_devices()
