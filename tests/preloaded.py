"""What the process that commands are forked from has imported: see processes.py."""

import gc

import tensorflow

tensorflow.config.list_physical_devices()
# Else each process forked from this one would look through all of TensorFlow, and copy it.
gc.freeze()
