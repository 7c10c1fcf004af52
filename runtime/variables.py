"""The values of variables, out of the checkpoints that the Saver wrote."""

import numpy as np
import tensorflow.compat.v1 as tf

from runtime import checkpoints
from runtime.errors import InputError, reason


def restore(saver: tf.train.Saver, session: tf.Session, checkpoint: str) -> None:
    """Restores the saver's variables.

    Raises:
        InputError: the checkpoint is missing, damaged, or of another network.
    """
    _check_existence(checkpoint)
    try:
        saver.restore(session, checkpoint)
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(
            f"{checkpoint}: can't be restored into this network: {reason(error)}"
        ) from error


def read(checkpoint: str) -> dict[str, np.ndarray]:
    """Returns the values of all variables in a checkpoint, by name.

    Raises:
        InputError: the checkpoint is missing or damaged.
    """
    _check_existence(checkpoint)
    try:
        reader = tf.train.load_checkpoint(checkpoint)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f"{checkpoint}: can't be read: {reason(error)}") from error


def _check_existence(checkpoint: str) -> None:
    if not checkpoints.exists(checkpoint):
        raise InputError(f"{checkpoint}: expected a checkpoint, found no such file")
