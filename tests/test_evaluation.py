"""Several runs or several looks combined, and the confidence interval of an accuracy."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from mnist import synthetic
from training import outcomes
from training.evaluator import Evaluator
from training.outcomes import Outcome


def outcome(*probabilities):
    probabilities = np.array(probabilities, np.float32)
    return Outcome(
        np.array([0, 1]), np.argmax(probabilities, axis=1), np.zeros(2, np.float32), probabilities
    )


def of_three(p0, p1, p2):
    return [p0, p1, p2, *[0.0] * 7]


def test_the_mean_of_probabilities_and_the_vote_may_differ():
    sure = outcome(of_three(0.0, 0.0, 1.0), of_three(0.0, 1.0, 0.0))
    unsure = outcome(of_three(0.6, 0.0, 0.4), of_three(0.0, 0.4, 0.6))
    mean = outcomes.combine([sure, unsure, unsure])
    np.testing.assert_array_equal(mean.predictions, [2, 1])
    np.testing.assert_allclose(mean.probabilities[0], of_three(0.4, 0, 0.6), rtol=1e-6)
    np.testing.assert_allclose(mean.cross_entropy, -np.log([0.4, 0.6]), rtol=1e-6)
    vote = outcomes.combine([sure, unsure, unsure], vote=True)
    np.testing.assert_array_equal(vote.predictions, [0, 2])
    level = outcomes.combine([sure, unsure], vote=True)
    np.testing.assert_array_equal(level.predictions, [2, 1])


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    # From the R package `binom`, and from Wilson's formula by hand at the ends.
    [(5, 10, 0.2366, 0.7634), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_wilson_interval(correct, total, low, high):
    assert outcomes.interval(correct, total) == pytest.approx((low, high), abs=5e-5)


def test_a_distorted_copy_is_another_than_the_next():
    images, labels = synthetic.draw_digits(32, seed=1)
    network = model.Network("mlp", True, 0.9, 1e-5, "float32")
    trained = model.training_graph(network, model.Recipe(0, 1, "adam", 1e-3, "constant"))
    with tf.Session(graph=trained.graph) as session:
        session.run(trained.initializer)
        variables = trained.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
        initial = session.run({variable.op.name: variable for variable in variables})
    with Evaluator(model.inference_graph(network, augment="affine")) as evaluator:
        evaluator.load(initial, "the training graph")
        looks = [evaluator.classify(images, labels, i).probabilities for i in (0, 0, 1)]
    np.testing.assert_array_equal(looks[0], looks[1])
    assert np.abs(looks[0] - looks[2]).max(axis=1).min() > 0
