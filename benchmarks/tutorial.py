"""The program that the suite descends from, as in tutorials on batch norm in TensorFlow 1.

Images are fed as float32; the moments are taken in a `tf.cond` on a placeholder; each step also
fetches the accuracy. Only the API names are today's.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks import contestant


def batch_norm(inputs: tf.Tensor, is_training: tf.Tensor, decay: float = 0.99) -> tf.Tensor:
    """Normalizes over all dimensions but the last, as the tutorials did."""
    channels = inputs.shape.as_list()[-1]
    scale = tf.Variable(tf.ones([channels]))
    beta = tf.Variable(tf.zeros([channels]))
    pop_mean = tf.Variable(tf.zeros([channels]), trainable=False)
    pop_var = tf.Variable(tf.ones([channels]), trainable=False)

    def with_batch():
        mean, var = tf.nn.moments(inputs, list(range(inputs.shape.ndims - 1)))
        train_mean = tf.assign(pop_mean, pop_mean * decay + mean * (1 - decay))
        train_var = tf.assign(pop_var, pop_var * decay + var * (1 - decay))
        with tf.control_dependencies([train_mean, train_var]):
            return tf.nn.batch_normalization(inputs, mean, var, beta, scale, 1e-5)

    def with_population():
        return tf.nn.batch_normalization(inputs, pop_mean, pop_var, beta, scale, 1e-5)

    return tf.cond(is_training, with_batch, with_population)


def weights(*shape: int) -> tf.Variable:
    """Small random weights."""
    return tf.Variable(tf.truncated_normal(shape, stddev=0.1))


def main() -> None:
    """Trains the network."""
    arguments = contestant.parse_arguments(__doc__)
    images, labels = contestant.training_images(arguments.data_dir)
    pixels = images.reshape(-1, 784).astype(np.float32) / 255
    one_hot = np.eye(10, dtype=np.float32)[labels]

    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 784])
        y = tf.placeholder(tf.float32, [None, 10])
        is_training = tf.placeholder(tf.bool, [])
        hidden = tf.reshape(x, [-1, 28, 28, 1])
        for channels_in, channels_out in ((1, 32), (32, 64)):
            hidden = tf.nn.conv2d(hidden, weights(5, 5, channels_in, channels_out), 1, "SAME")
            hidden = tf.nn.relu(batch_norm(hidden, is_training))
            hidden = tf.nn.max_pool2d(hidden, 2, 2, "SAME")
        hidden = tf.matmul(tf.reshape(hidden, [-1, 7 * 7 * 64]), weights(7 * 7 * 64, 1024))
        hidden = tf.nn.relu(batch_norm(hidden, is_training))
        logits = tf.matmul(hidden, weights(1024, 10)) + tf.Variable(tf.zeros([10]))
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits))
        is_right = tf.equal(tf.argmax(logits, 1), tf.argmax(y, 1))
        accuracy = tf.reduce_mean(tf.cast(is_right, tf.float32))
        train_step = tf.train.AdamOptimizer(contestant.LEARNING_RATE).minimize(loss)
        generator = np.random.default_rng(0)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())

            def train(count: int) -> None:
                order = generator.permutation(len(labels))
                for k in range(count // arguments.batch_size):
                    chosen = order[k * arguments.batch_size : (k + 1) * arguments.batch_size]
                    feed = {x: pixels[chosen], y: one_hot[chosen], is_training: True}
                    session.run((train_step, loss, accuracy), feed)

            contestant.serve(train)


if __name__ == "__main__":
    main()
