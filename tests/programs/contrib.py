"""A program of 2017, as it was: a conv net of tf.contrib.layers. Prints its results as JSON."""

import json
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow.contrib.layers import batch_norm, fully_connected
from tensorflow.contrib.layers.python.layers import batch_norm as batch_norm_by_its_path
from tensorflow.contrib.layers.python.layers.layers import batch_norm as by_the_longest_path

assert batch_norm is batch_norm_by_its_path is by_the_longest_path

random = np.random.RandomState(0)
IMAGES = random.normal(1.0, 2.0, (64, 8, 8, 1)).astype(np.float32)
LABELS = (IMAGES[:, :4].mean((1, 2, 3)) > IMAGES[:, 4:].mean((1, 2, 3))).astype(np.int64)


def network(images, is_training, reuse=None):
    params = {"is_training": is_training, "decay": 0.9, "updates_collections": None, "scale": True}
    with tf.variable_scope("net", reuse=reuse):
        net = tf.contrib.layers.conv2d(
            images,
            num_outputs=4,
            kernel_size=4,
            stride=2,
            normalizer_fn=batch_norm,
            normalizer_params=params,
            weights_initializer=tf.random_normal_initializer(0.0, 0.3, seed=1),
            trainable=True,
            scope="conv",
        )
        net = tf.reshape(net, [-1, 4 * 4 * 4])
        return fully_connected(
            net,
            2,
            activation_fn=None,
            weights_initializer=tf.random_normal_initializer(0.0, 0.3, seed=2),
            scope="logits",
        )


def main(_):
    images = tf.placeholder(tf.float32, [None, 8, 8, 1])
    labels = tf.placeholder(tf.int64, [None])
    is_training = tf.placeholder(tf.bool, [])
    logits = network(images, is_training)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    train_op = tf.train.AdamOptimizer(0.01).minimize(loss)
    saver = tf.train.Saver()
    checkpoint = tempfile.mkdtemp() + "/model"
    losses = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(20):
            feed = {images: IMAGES, labels: LABELS, is_training: True}
            losses.append(float(session.run([loss, train_op], feed)[0]))
        saver.save(session, checkpoint)

    with tf.Graph().as_default(), tf.Session() as session:
        logits = network(IMAGES, False)
        tf.train.Saver().restore(session, checkpoint)
        evaluated = session.run(logits)
        names = [v.op.name for v in tf.global_variables()]
    print(json.dumps({"losses": losses, "evaluated": evaluated.tolist(), "variables": names}))


if __name__ == "__main__":
    tf.app.run()
