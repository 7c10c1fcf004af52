"""The training curve: what its points say."""

import types

import pytest

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
    """Lets a second pass in four steps, and a hundred in each evaluation; keeps the points."""

    def __init__(self):
        self.now = 0.0
        self.points = {}

    def on_start(self, training, step):
        self.training = training

    def on_step(self, step, taken):
        self.now += 0.25

    def on_pause(self, step):
        with self.training.clock.stopped(EVALUATING):
            self.now += 100

    def on_point(self, step, scalars):
        self.points[step] = scalars


@pytest.mark.parametrize("part", [slice(None), slice(0, 16)], ids=["alone", "one of two"])
def test_images_a_second_are_those_of_all_workers_in_the_seconds_of_training(
    monkeypatch, dataset, part
):
    clockwork = Clockwork()
    monkeypatch.setattr(curve, "time", types.SimpleNamespace(monotonic=lambda: clockwork.now))
    network = model.Network("mlp", False, 0.99, 1e-5, "float32", hidden_layers=1)
    graph = model.training_graph(network, model.Recipe(0, 40, "sgd", 1e-3, "constant"))
    batches = Batches(*dataset.train, 32, seed=0)
    plan = Plan(40, save_every=5, eval_every=5, has_validation=True)
    Training(graph, batches.taking(part), plan, Keeper(), Worker(), [clockwork]).run()
    # A point has the step that it is in, but not yet the time of it.
    assert clockwork.points[10][curve.SPEED_TAG] == pytest.approx(10 * 32 / 2.25)
    for step in (20, 30, 40):
        assert clockwork.points[step][curve.SPEED_TAG] == pytest.approx(10 * 32 / 2.5)
