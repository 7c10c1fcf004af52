"""The suite itself: the very graph, batches and step that train.py runs."""

import itertools

from benchmarks import contestant


def main() -> None:
    """Trains the default network."""
    arguments = contestant.parse_arguments(__doc__)
    images, labels = contestant.training_images(arguments.data_dir)

    import tensorflow.compat.v1 as tf

    import model
    from mnist.batches import Batches
    from runtime.training import take_step

    network = model.Network("cnn", True, 0.9, 1e-5, arguments.precision)
    graph = model.training_graph(
        network,
        seed=0,
        train_steps=10_000,
        optimizer="adam",
        learning_rate=contestant.LEARNING_RATE,
        lr_schedule="constant",
    )
    batches = Batches(images, labels, arguments.batch_size, seed=0)
    with tf.Session(graph=graph.graph) as session:
        session.run(graph.initializer)
        upcoming = batches.ahead(0, 10**9)

        def train(count: int) -> None:
            for batch in itertools.islice(upcoming, count // arguments.batch_size):
                take_step(session, graph, *batch)

        contestant.serve(train)


if __name__ == "__main__":
    main()
