"""From the Saver's checkpoints into a session, or into memory."""

import numpy as np
import tensorflow.compat.v1 as tf

from console.errors import InputError, reason
from storage.checkpoints import Checkpoint


def restore(saver: tf.train.Saver, session: tf.Session, checkpoint: Checkpoint) -> None:
    """Restores the saver's variables.

    Raises:
        InputError: the checkpoint is missing, damaged, or from another network.
    """
    _check_existence(checkpoint)
    try:
        saver.restore(session, str(checkpoint))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(
            f"{checkpoint}: can't be restored into this network: {reason(error)}"
        ) from error


def read(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Returns the values of all variables in a checkpoint, by name.

    Raises:
        InputError: the checkpoint is missing or damaged.
    """
    _check_existence(checkpoint)
    try:
        reader = tf.train.load_checkpoint(str(checkpoint))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f"{checkpoint}: can't be read: {reason(error)}") from error


def _check_existence(checkpoint: Checkpoint) -> None:
    if not checkpoint.exists():
        raise InputError(f"{checkpoint}: expected a checkpoint, found no such file")
