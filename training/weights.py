"""The weights of a training graph, in its session."""

from collections.abc import Collection

import numpy as np
import tensorflow.compat.v1 as tf

from model import TrainingGraph

# The suffix that `tf.train.ExponentialMovingAverage` appends to a variable's name.
AVERAGE = "/ExponentialMovingAverage"


class Weights:
    """All variables of a training graph: weights, statistics, the optimizer's, the step."""

    def __init__(self, graph: TrainingGraph, session: tf.Session):
        """Takes the graph, and a session on it."""
        self.graph = graph
        self.session = session

    def initialize(self) -> None:
        """Gives all variables their initial values."""
        self.session.run(self.graph.initializer)

    def step(self) -> int:
        """Returns how many steps the weights have been trained for."""
        return int(self.session.run(self.graph.global_step))

    def are_finite(self) -> bool:
        """Returns whether no variable is infinite or not a number."""
        return bool(self.session.run(self.graph.is_finite))

    def values(self, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Returns the values of variables by name.

        Args:
            names: of the variables; those of their averages, if any, are returned as well. None
                means all.
        """
        with self.graph.graph.as_default():
            chosen = {
                variable.op.name: variable
                for variable in tf.global_variables()
                if names is None or variable.op.name.removesuffix(AVERAGE) in names
            }
        return self.session.run(chosen)
