"""The suite as one of several workers: the steps of train.py, or only what they exchange."""

import json

import tensorflow.compat.v1 as tf

import model
from benchmarks.scaling_contestant import parse_arguments, random_images, serve
from cluster import joining
from cluster.workers import OneOfSeveral
from training.loop import take_step
from training.worker import Worker

NETWORK = model.Network("cnn", True, 0.9, 1e-5, "float32")
RECIPE = model.Recipe(0, 10**6, "adam", 1e-3, "constant")
MODES = ["sync", "nosync", "gradients", "gradients_whole", "gradients_apart", "statistics"]


def main() -> None:
    """Trains, or exchanges."""
    arguments = parse_arguments(MODES)
    is_sync = arguments.mode in ("sync", "statistics")
    with joining.started(arguments.batch_size, sync_batch_norm=is_sync) as worker:
        if arguments.mode in ("sync", "nosync"):
            _train(worker, arguments.batch_size, is_sync)
        else:
            assert isinstance(worker, OneOfSeveral), "one worker has nothing to exchange"
            _exchange(worker, arguments.mode)


def _train(worker: Worker, batch_size: int, is_sync: bool) -> None:
    worker.check_agreement({})
    replica = worker.replica
    if worker.count == 1 and is_sync:
        replica = replica._replace(gather=_its_own)
    graph = model.training_graph(NETWORK, RECIPE, replica)
    images, labels = (part[worker.part] for part in random_images(batch_size))
    with worker.session(graph) as session:
        if worker.is_chief:
            session.run(graph.initializer)
        worker.share_weights(session)
        serve(lambda: take_step(session, graph, images, labels))


def _its_own(vector: tf.Tensor) -> tf.Tensor:
    """A `Replica.gather` at no cost, among one worker: batch norm then takes no fused kernel."""
    return vector[tf.newaxis]


def _exchange(worker: OneOfSeveral, mode: str) -> None:
    with tf.Graph().as_default() as graph:
        contents = [tf.ones([size]) for size in _sizes(mode)]
        if mode == "gradients":
            arrived = worker.replica.add_up_all(contents)
        elif mode == "gradients_whole":
            arrived = [worker.exchange.add_up(tf.concat(contents, axis=0))]
        elif mode == "gradients_apart":
            arrived = [worker.replica.add_up_all([content])[0] for content in contents]
        else:
            gather = worker.replica.gather
            assert gather is not None, "it was asked to exchange statistics"
            arrived = []
            for content in contents:  # one waits for the other, as layers do
                with tf.control_dependencies(arrived[-1:]):
                    arrived.append(gather(tf.identity(content)))
        op = tf.group(*arrived)
        with worker.plain_session(graph) as session:
            serve(lambda: session.run(op))


def _sizes(mode: str) -> list[int]:
    """Returns the number of float32 values in each message, or in each gradient."""
    sent: list[int] = []

    def gather(vector: tf.Tensor) -> tf.Tensor:
        sent.append(vector.shape.num_elements())
        return vector[tf.newaxis]

    graph = model.training_graph(NETWORK, RECIPE, model.Replica(gather=gather))
    if mode == "statistics":
        return sent
    trained = graph.graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES)
    return [variable.shape.num_elements() for variable in trained[::-1]]


def print_messages() -> None:
    """Prints how many messages a worker sends in a step, and how many bytes."""
    mode = parse_arguments(MODES).mode
    sizes = _sizes(mode)
    messages = 1 if mode == "gradients_whole" else len(sizes)
    if mode == "gradients":
        with tf.Graph().as_default():
            from cluster import collectives

            groups = collectives.groups([tf.ones([size]) for size in sizes])
            vectors = [tf.concat(group, axis=0) for group in groups]
            messages = sum(len(collectives.message_sizes(vector)) for vector in vectors)
    print(json.dumps([messages, 4 * sum(sizes)]))


if __name__ == "__main__":
    main()
