"""The training curve: what its points say."""

import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from mnist.batches import Batches
from training import curve
from training.curve import EVALUATING
from training.keeper import Keeper
from training.loop import Training
from training.observer import Observer
from training.plan import Plan
from training.worker import Worker


class Clockwork(Observer):
    """Lets a second pass in four steps, and a hundred in each evaluation; keeps the points.

    After step 25, it once makes the training diverge.
    """

    def __init__(self):
        self.now = 0.0
        self.points = {}
        self.has_diverged = False

    def on_start(self, training, step):
        self.training = training

    def on_step(self, step, taken):
        self.now += 0.25
        if step == 25 and not self.has_diverged:
            self.has_diverged = True
            with self.training.weights.graph.graph.as_default():
                weights = tf.trainable_variables()[0]
            weights.load(np.full(weights.shape, np.nan), self.training.weights.session)

    def on_pause(self, step):
        with self.training.clock.stopped(EVALUATING):
            self.now += 100

    def on_point(self, step, scalars):
        self.points.setdefault(step, []).append(scalars)


class Resumed(Keeper):
    """Begins, and begins again, with weights that were saved three steps after a point."""

    def begin(self, weights):
        self._weights = weights
        weights.initialize()

    def go_back(self, diverged_at):
        self._weights.initialize()

    def unfinished_point(self):
        return [[100.0, 0.0]] * 3


@pytest.mark.parametrize("part", [slice(None), slice(0, 16)], ids=["alone", "one of two"])
def test_images_a_second_are_those_of_all_workers_in_the_seconds_of_training(
    monkeypatch, dataset, part
):
    clockwork = Clockwork()
    monkeypatch.setattr(curve, "time", types.SimpleNamespace(monotonic=lambda: clockwork.now))
    network = model.Network("mlp", False, 0.99, 1e-5, "float32", hidden_layers=1)
    graph = model.training_graph(network, model.Recipe(0, 40, "sgd", 1e-3, "constant"))
    batches = Batches(*dataset.train, 32, seed=0)
    plan = Plan(40, save_every=5, eval_every=5, has_validation=True, on_nan="rollback")
    Training(graph, batches.taking(part), plan, Resumed(), Worker(), [clockwork]).run()
    speeds = {
        step: [point[curve.SPEED_TAG] for point in points]
        for step, points in clockwork.points.items()
    }
    # A point has the step that it is in, but not yet the time of it; the first one after a start
    # has the losses of the steps before, but not their images.
    assert speeds[10] == pytest.approx([10 * 32 / 2.25] * 2)
    assert speeds[20] == pytest.approx([10 * 32 / 2.5] * 2)
    assert speeds[30] == speeds[40] == pytest.approx([10 * 32 / 2.5])
    assert all(point[curve.LOSS_TAG] > 300 / 13 for point in clockwork.points[10])
    assert all(point[curve.LOSS_TAG] < 300 / 13 for point in clockwork.points[20])
