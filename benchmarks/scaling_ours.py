"""The suite as one of several workers: the steps of train.py, or only what they exchange."""

import json

import tensorflow.compat.v1 as tf

import model
from benchmarks.scaling_contestant import parse_arguments, random_images, serve
from cluster import joining
from cluster.workers import Workers
from runtime.alone import Alone
from runtime.training import take_step

NETWORK = model.Network("cnn", True, 0.9, 1e-5, "float32")
RECIPE = model.Recipe(0, 10**6, "adam", 1e-3, "constant")
MODES = ["sync", "nosync", "gradients", "gradients_whole", "gradients_apart", "statistics"]


def main() -> None:
    """Trains, or exchanges."""
    arguments = parse_arguments(MODES)
    is_sync = arguments.mode == "sync"
    with joining.started(arguments.batch_size, sync_batch_norm=is_sync) as workers:
        if arguments.mode in ("sync", "nosync"):
            _train(workers, arguments.batch_size, is_sync)
        else:
            assert isinstance(workers, Workers), "one worker has nothing to exchange"
            _exchange(workers, arguments.mode)


def _train(workers: Alone, batch_size: int, is_sync: bool) -> None:
    replica = workers.replica
    if replica is None and is_sync:
        replica = _alone_without_kernel(batch_size)
    graph = model.training_graph(NETWORK, RECIPE, replica)
    images, labels = (part[workers.part] for part in random_images(batch_size))
    with workers.session(graph) as session:
        if workers.is_chief:
            session.run(graph.initializer)
        workers.share_weights(session)
        serve(lambda: take_step(session, graph, images, labels))


def _alone_without_kernel(batch_size: int) -> model.Replica:
    """Returns a replica that exchanges with itself, at no cost: it takes no fused kernel."""
    return model.Replica(
        first_image=0,
        images=batch_size,
        batch_size=batch_size,
        sync_batch_norm=True,
        gather=lambda vector: vector[tf.newaxis],
        add_up_all=list,
        hold_back=lambda updates, until: None,
    )


def _exchange(workers: Workers, mode: str) -> None:
    with tf.Graph().as_default() as graph:
        contents = [tf.ones([size]) for size in _sizes(mode)]
        if mode == "gradients":
            arrived = workers.replica.add_up_all(contents)
        elif mode == "gradients_whole":
            arrived = [workers.exchange.add_up(tf.concat(contents, axis=0))]
        elif mode == "gradients_apart":
            arrived = [workers.replica.add_up_all([content])[0] for content in contents]
        else:
            arrived = []
            for content in contents:  # one waits for the other, as layers do
                with tf.control_dependencies(arrived[-1:]):
                    arrived.append(workers.replica.gather(tf.identity(content)))
        op = tf.group(*arrived)
        with workers.plain_session(graph) as session:
            serve(lambda: session.run(op))


def _sizes(mode: str) -> list[int]:
    """Returns the number of float32 values in each message, or in each gradient."""
    sent: list[int] = []

    def gather(vector: tf.Tensor) -> tf.Tensor:
        sent.append(vector.shape.num_elements())
        return vector[tf.newaxis]

    replica = _alone_without_kernel(1)._replace(gather=gather)
    graph = model.training_graph(NETWORK, RECIPE, replica)
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
