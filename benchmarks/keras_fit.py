"""Keras 3 on TensorFlow: the same network, batch size, optimizer and data, with `Model.fit`."""

from benchmarks import contestant


def main() -> None:
    """Trains the network."""
    arguments = contestant.parse_arguments(__doc__, mode=["jit", "nojit"])
    images, labels = contestant.training_images(arguments.data_dir)

    import keras
    from keras import layers

    if arguments.precision == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    network = keras.Sequential(
        [
            layers.Input([28, 28, 1], dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 5, padding="same", use_bias=False),
            layers.BatchNormalization(epsilon=1e-5),
            # Pooled before ReLU, as in networks/architectures.py: the same function with less work.
            layers.MaxPooling2D(),
            layers.ReLU(),
            layers.Conv2D(64, 5, padding="same", use_bias=False),
            layers.BatchNormalization(epsilon=1e-5),
            layers.MaxPooling2D(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(1024, use_bias=False),
            layers.BatchNormalization(epsilon=1e-5),
            layers.ReLU(),
            layers.Dense(10, dtype="float32"),
        ]
    )
    network.compile(
        keras.optimizers.Adam(contestant.LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=arguments.mode == "jit",
    )

    def train(count: int) -> None:
        whole_batches = count // arguments.batch_size * arguments.batch_size
        network.fit(
            images[:whole_batches, ..., None],
            labels[:whole_batches],
            batch_size=arguments.batch_size,
            verbose=0,
        )

    contestant.serve(train)


if __name__ == "__main__":
    main()
