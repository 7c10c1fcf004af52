"""The suite as one of several workers: the steps of train.py, or only what they exchange."""

import argparse
import json
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow.compat.v1 as tf

import model
from benchmarks.scaling_contestant import parse_arguments, random_images, serve
from cluster import collectives, joining
from cluster.workers import OneOfSeveral
from training.loop import take_step
from training.worker import Worker

NETWORK = model.Network("cnn", True, 0.9, 1e-5, "float32")
RECIPE = model.Recipe(0, 10**6, "adam", 1e-3, "constant")
EXCHANGES = ["step", "gradients", "gradients_whole", "gradients_apart", "statistics"]
MODES = ["sync", "nosync", *EXCHANGES]


def main() -> None:
    """Trains, or exchanges."""
    arguments = parse_arguments(MODES)
    is_sync = arguments.mode == "sync"
    with joining.started(arguments.batch_size, sync_batch_norm=is_sync) as worker:
        worker.check_agreement({})
        if arguments.mode not in EXCHANGES:
            _train(worker, arguments.batch_size, is_sync)
        else:
            assert isinstance(worker, OneOfSeveral), "one worker has nothing to exchange"
            _exchange(worker, arguments)


def _train(worker: Worker, batch_size: int, is_sync: bool) -> None:
    replica = worker.replica
    if worker.count == 1 and is_sync:
        replica = replica._replace(gather=_its_own)
    graph = model.training_graph(NETWORK, RECIPE, replica)
    images, labels = (part[worker.part] for part in random_images(batch_size))
    with worker.session(graph) as session:
        if worker.is_chief:
            session.run(graph.initializer)
        worker.share_weights()
        serve(lambda: take_step(session, graph, images, labels))


def _its_own(vector: tf.Tensor) -> tf.Tensor:
    """A `Replica.gather` at no cost, among one worker: batch norm then takes no fused kernel."""
    return vector[tf.newaxis]


def _exchange(worker: OneOfSeveral, arguments: argparse.Namespace) -> None:
    assert worker.replica.gather_rows is not None, "all workers are on this machine"
    with tf.Graph().as_default() as graph:
        op = _exchanged(arguments, worker.count, worker.exchange)
        with worker.plain_session(graph) as session:
            serve(lambda: session.run(op))


def _exchanged(
    arguments: argparse.Namespace, workers: int, exchange: collectives.Exchange
) -> tf.Operation:
    """Builds what the workers exchange, without computing it."""
    mode = arguments.mode
    sent = _sent(arguments.batch_size, by_factors=mode == "step")
    gradients = [tf.ones([size]) for size in sent.added]
    if mode == "step":
        most = -(-arguments.batch_size // workers)
        rows = [exchange.gather_rows(tf.ones([most, size]), most) for size in sent.rows]
        return tf.group(*rows, *exchange.add_up_all(gradients))
    if mode == "gradients":
        return tf.group(*exchange.add_up_all(gradients))
    if mode == "gradients_whole":
        return tf.group(exchange.add_up(tf.concat(gradients, axis=0)))
    if mode == "gradients_apart":
        return tf.group(*(exchange.add_up_all([gradient])[0] for gradient in gradients))
    arrived: list[tf.Tensor] = []
    for size in sent.statistics:  # one waits for the other, as layers do
        with tf.control_dependencies(arrived[-1:]):
            arrived.append(exchange.gather(tf.identity(tf.ones([size]))))
    return tf.group(*arrived)


class Sent(NamedTuple):
    """What a worker sends in a step: the numbers of float32 values."""

    statistics: list[int]  # in each vector
    rows: list[int]  # in each row, of which there is one for an image
    added: list[int]  # in each gradient that is added up


def _sent(batch_size: int, *, by_factors: bool) -> Sent:
    sent = Sent([], [], [])

    def gather(vector: tf.Tensor) -> tf.Tensor:
        sent.statistics.append(vector.shape.num_elements())
        return vector[tf.newaxis]

    def gather_rows(rows: tf.Tensor) -> tf.Tensor:
        sent.rows.append(rows.shape.as_list()[1])
        return rows

    def add_up_all(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        sent.added.extend(tensor.shape.num_elements() for tensor in tensors)
        return list(tensors)

    replica = model.Replica(
        batch_size=batch_size,
        gather=gather,
        add_up_all=add_up_all,
        gather_rows=gather_rows if by_factors else None,
    )
    model.training_graph(NETWORK, RECIPE, replica)
    return sent


def print_messages() -> None:
    """Prints how many messages a worker sends in a step, and how many bytes."""
    arguments = parse_arguments(MODES)
    with tf.Graph().as_default() as graph:
        exchange = collectives.Exchange(arguments.workers, rank=0, first_key=1)
        _exchanged(arguments, arguments.workers, exchange)
        sent = [op.inputs[0] for op in graph.get_operations() if op.type.startswith("Collective")]
    size = sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in sent)
    print(json.dumps([len(sent), size]))


if __name__ == "__main__":
    main()
