"""The machine's own ceiling: a large matrix product, with the library that TensorFlow uses."""

import tensorflow.compat.v1 as tf

from benchmarks import contestant

SIZE = 4096
FLOP = 2 * SIZE**3
# As much work as a burst of the other contestants.
PRODUCTS = round(contestant.BURST_IMAGES * contestant.TRAINING_FLOP / FLOP)
BURST_FLOP = PRODUCTS * FLOP


def main() -> None:
    """Multiplies matrices."""
    arguments = contestant.parse_arguments(__doc__)
    with tf.Graph().as_default():
        factors = [
            tf.get_variable(
                name,
                initializer=tf.cast(
                    tf.random.stateless_normal([SIZE, SIZE], [0, 0]), arguments.precision
                ),
            )
            for name in ("left", "right")
        ]
        product = tf.matmul(*factors)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())

            def multiply(_: int) -> None:
                for _ in range(PRODUCTS):
                    # The op, not its value, which TensorFlow would copy.
                    session.run(product.op)

            contestant.serve(multiply)


if __name__ == "__main__":
    main()
