"""The suite itself: the same graph, batches and step that train.py runs."""

import itertools

from benchmarks import contestant


def main() -> None:
    """Trains the default network on images distorted according to the mode."""
    arguments = contestant.parse_arguments(__doc__, mode=["none", "affine", "elastic"])
    images, labels = contestant.training_images(arguments.data_dir)

    import tensorflow.compat.v1 as tf

    import model
    from mnist.batches import Batches
    from training.loop import take_step

    network = model.Network("cnn", True, 0.9, 1e-5, arguments.precision)
    recipe = model.Recipe(
        0, 10_000, "adam", contestant.LEARNING_RATE, "constant", augment=arguments.mode
    )
    graph = model.training_graph(network, recipe)
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
