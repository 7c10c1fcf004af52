"""What the process that commands are forked from has imported: see processes.py."""

import tensorflow

tensorflow.config.list_physical_devices()
