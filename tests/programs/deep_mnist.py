"""After the tutorials' Deep MNIST, of 2017; then with a batch norm as people wrote it by hand.

Reads MNIST_data/, and prints its results as JSON.
"""

from __future__ import absolute_import, division, print_function

import argparse
import json
import sys
import tempfile

import tensorflow as tf
from tensorflow.examples.tutorials.mnist import input_data

FLAGS = None


def batch_norm(x, n_out, phase_train):
    """By hand, with an average that the training step updates."""
    with tf.variable_scope("bn"):
        beta = tf.Variable(tf.constant(0.0, shape=[n_out]), name="beta", trainable=True)
        gamma = tf.Variable(tf.constant(1.0, shape=[n_out]), name="gamma", trainable=True)
        batch_mean, batch_var = tf.nn.moments(x, [0, 1, 2], name="moments")
        ema = tf.train.ExponentialMovingAverage(decay=0.5)

        def mean_var_with_update():
            ema_apply_op = ema.apply([batch_mean, batch_var])
            with tf.control_dependencies([ema_apply_op]):
                return tf.identity(batch_mean), tf.identity(batch_var)

        mean, var = tf.cond(
            phase_train,
            mean_var_with_update,
            lambda: (ema.average(batch_mean), ema.average(batch_var)),
        )
        return tf.nn.batch_normalization(x, mean, var, beta, gamma, 1e-3)


def deepnn(x, phase_train):
    with tf.name_scope("reshape"):
        x_image = tf.reshape(x, [-1, 28, 28, 1])

    with tf.name_scope("conv1"):
        W_conv1 = weight_variable([5, 5, 1, 8])
        b_conv1 = bias_variable([8])
        conv1 = conv2d(x_image, W_conv1) + b_conv1
        if FLAGS.batch_norm:
            conv1 = batch_norm(conv1, 8, phase_train)
        h_conv1 = tf.nn.relu(conv1)

    with tf.name_scope("pool1"):
        h_pool1 = max_pool_2x2(h_conv1)

    with tf.name_scope("fc1"):
        W_fc1 = weight_variable([14 * 14 * 8, 32])
        b_fc1 = bias_variable([32])
        h_pool1_flat = tf.reshape(h_pool1, [-1, 14 * 14 * 8])
        h_fc1 = tf.nn.relu(tf.matmul(h_pool1_flat, W_fc1) + b_fc1)

    with tf.name_scope("dropout"):
        keep_prob = tf.placeholder(tf.float32)
        h_fc1_drop = tf.nn.dropout(h_fc1, keep_prob, seed=1)

    with tf.name_scope("fc2"):
        W_fc2 = weight_variable([32, 10])
        b_fc2 = bias_variable([10])
        y_conv = tf.matmul(h_fc1_drop, W_fc2) + b_fc2
    return y_conv, keep_prob


def conv2d(x, W):
    return tf.nn.conv2d(x, W, strides=[1, 1, 1, 1], padding="SAME")


def max_pool_2x2(x):
    return tf.nn.max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")


def weight_variable(shape):
    return tf.Variable(tf.truncated_normal(shape, stddev=0.1, seed=len(shape)))


def bias_variable(shape):
    return tf.Variable(tf.constant(0.1, shape=shape))


def train():
    mnist = input_data.read_data_sets(FLAGS.data_dir, one_hot=True, validation_size=50, seed=1)
    x = tf.placeholder(tf.float32, [None, 784])
    y_ = tf.placeholder(tf.float32, [None, 10])
    phase_train = tf.placeholder(tf.bool)
    y_conv, keep_prob = deepnn(x, phase_train)

    with tf.name_scope("loss"):
        cross_entropy = tf.nn.softmax_cross_entropy_with_logits(labels=y_, logits=y_conv)
    cross_entropy = tf.reduce_mean(cross_entropy)

    with tf.name_scope("adam_optimizer"):
        train_step = tf.train.AdamOptimizer(1e-3).minimize(cross_entropy)

    with tf.name_scope("accuracy"):
        correct_prediction = tf.equal(tf.argmax(y_conv, 1), tf.argmax(y_, 1))
        correct_prediction = tf.cast(correct_prediction, tf.float32)
    accuracy = tf.reduce_mean(correct_prediction)

    train_writer = tf.summary.FileWriter(tempfile.mkdtemp())
    train_writer.add_graph(tf.get_default_graph())

    losses = []
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for i in range(12):
            batch = mnist.train.next_batch(50)
            if i % 5 == 0:
                feed = {x: batch[0], y_: batch[1], keep_prob: 1.0, phase_train: False}
                print("step %d, training accuracy %g" % (i, accuracy.eval(feed_dict=feed)))
            feed = {x: batch[0], y_: batch[1], keep_prob: 0.5, phase_train: True}
            losses.append(float(sess.run([cross_entropy, train_step], feed)[0]))
        feed = {x: mnist.test.images, y_: mnist.test.labels, keep_prob: 1.0, phase_train: False}
        print("test accuracy %g" % accuracy.eval(feed_dict=feed))
        evaluated = sess.run(y_conv, feed)
    return losses, evaluated.tolist(), [v.op.name for v in tf.global_variables()]


def main(_):
    losses, evaluated, variables = train()
    tf.reset_default_graph()
    FLAGS.batch_norm = True
    more = train()
    print(
        json.dumps(
            {
                "losses": losses + more[0],
                "evaluated": evaluated + more[1],
                "variables": variables + more[2],
            }
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data_dir", type=str, default="MNIST_data/")
    parser.add_argument("--batch_norm", action="store_true")
    FLAGS, unparsed = parser.parse_known_args()
    tf.app.run(main=main, argv=[sys.argv[0]] + unparsed)
