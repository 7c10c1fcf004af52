"""What the process has imported that commands are forked from: see processes.py."""

import sys

# As runtime/commands.py does, for its reasons.
sys.modules["keras"] = None

import tensorflow  # noqa: E402

tensorflow.config.list_physical_devices()
