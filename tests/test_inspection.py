"""What the page shows of batch norm: numbers of the inference graph and of the training graph."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from console.errors import InputError
from mnist import synthetic
from prediction.inspection import Inspector
from storage.checkpoints import MODEL, Checkpoint
from training.evaluator import Evaluator

IMAGES, LABELS = synthetic.draw_digits(64, seed=0)


def network_of(name, batch_norm=True):
    return model.Network(name, batch_norm, 0.9, 1e-5, "float32")


def trained(folder, network):
    """A checkpoint after a few steps; and the probabilities with the statistics of a batch of 8."""
    recipe = model.Recipe(0, 5, "adam", 1e-3, "constant")
    graph = model.training_graph(network, recipe)
    with tf.Session(graph=graph.graph) as session, graph.graph.as_default():
        session.run(graph.initializer)
        for _ in range(5):
            session.run(graph.train_op, {graph.images: IMAGES, graph.labels: LABELS})
        path = tf.train.Saver().save(session, str(folder / MODEL), global_step=5)
        logits = graph.graph.get_tensor_by_name("logits/BiasAdd:0")
        shares = session.run(tf.nn.softmax(logits), {graph.images: IMAGES[:8]})
    return Checkpoint.at(path), shares


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("small"), network_of("small"))


def test_its_two_looks_are_those_of_the_inference_graph_and_of_the_training_graph(small):
    network, (checkpoint, as_in_training) = network_of("small"), small
    with Evaluator(model.inference_graph(network)) as evaluator:
        evaluator.restore(checkpoint)
        in_inference = evaluator.values(evaluator.graph.probabilities, IMAGES[:8])
        layers = evaluator.graph.batch_norms
        before, after = (
            [evaluator.values(getattr(layer, end), IMAGES[:1]) for layer in layers]
            for end in ("inputs", "outputs")
        )
    with Inspector(network) as inspector:
        inspector.restore(checkpoint)
        alone, looks = inspector.look(IMAGES[:1]), inspector.look(IMAGES[:8])
        again = inspector.look(IMAGES[:8])
        parameters = inspector.parameters()
    for look in (alone, looks):
        np.testing.assert_allclose(look.population.probabilities, in_inference[0], rtol=1e-4)
    np.testing.assert_allclose(looks.batch.probabilities, as_in_training[0], rtol=1e-4)
    # It looks, and nothing else: no statistics are updated.
    for one, other in zip(looks.population.layers, again.population.layers, strict=True):
        np.testing.assert_array_equal(one.statistics, other.statistics)

    assert [layer.shape[-1] for layer in parameters] == [len(layer.beta) for layer in parameters]
    for layer, own_before, own_after in zip(alone.population.layers, before, after, strict=True):
        positions = tuple(range(own_before.ndim - 1))
        for moments, values in ((layer.before, own_before), (layer.after, own_after)):
            np.testing.assert_allclose(moments.mean, values.mean(positions), rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(
                moments.deviation, values.std(positions), rtol=1e-3, atol=1e-4
            )


def test_alone_in_its_batch_an_image_becomes_beta_and_every_answer_is_the_same(small):
    with Inspector(network_of("small")) as inspector:
        inspector.restore(small[0])
        one, other = inspector.look(IMAGES[:1]).batch, inspector.look(IMAGES[1:2]).batch
        *convolutions, dense = inspector.parameters()
    np.testing.assert_allclose(one.layers[-1].after.mean, dense.beta, atol=1e-6)
    np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-5)
    for learned, layer in zip(convolutions, one.layers, strict=False):
        np.testing.assert_allclose(layer.after.mean, learned.beta, atol=1e-4)
        # Of a constant channel there would be no deviation to bring to this.
        np.testing.assert_allclose(layer.after.deviation, np.abs(learned.scale), rtol=0.05)


def test_a_network_without_batch_norm_has_nothing_to_show_but_its_answer(tmp_path):
    network = network_of("mlp", batch_norm=False)
    checkpoint, _ = trained(tmp_path, network)
    with Inspector(network) as inspector:
        inspector.restore(checkpoint)
        looks = inspector.look(IMAGES[:8])
        assert inspector.parameters() == looks.batch.layers == looks.population.layers == []
    np.testing.assert_array_equal(looks.batch.probabilities, looks.population.probabilities)


def test_weights_of_another_network_are_refused(small):
    with Inspector(network_of("mlp")) as inspector, pytest.raises(InputError, match="model.ckpt"):
        inspector.restore(small[0])
