"""A program of 2018, as it was: a conv net of tf.layers. Prints its results as JSON."""

import json
import tempfile

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tensorflow.python.layers.normalization import BatchNormalization

random = np.random.RandomState(0)
IMAGES = random.normal(1.0, 2.0, (64, 8, 8, 1)).astype(np.float32)
LABELS = (IMAGES[:, :4].mean((1, 2, 3)) > IMAGES[:, 4:].mean((1, 2, 3))).astype(np.int64)


def network(images, training):
    def normal(seed):
        return tf.random_normal_initializer(0.0, 0.3, seed=seed)

    net = tf.layers.conv2d(images, 4, 3, padding="same", kernel_initializer=normal(1))
    net = tf.layers.batch_normalization(net, momentum=0.9, training=training, fused=True)
    net = tf.layers.max_pooling2d(tf.nn.relu(net), 2, 2)
    net = BatchNormalization(momentum=0.9, name="second")(net, training=training)
    net = tf1.layers.dropout(tf1.layers.flatten(net), 0.0, training=training)
    net = tf.layers.Dense(8, kernel_initializer=normal(2))(net)
    net = tf.compat.v1.layers.batch_normalization(net, momentum=0.9, training=training)
    return tf.layers.dense(net, 2, kernel_initializer=normal(3))


def main():
    images = tf.placeholder(tf.float32, [None, 8, 8, 1])
    training = tf.placeholder_with_default(False, [])
    logits = network(images, training)
    loss = tf.losses.sparse_softmax_cross_entropy(labels=LABELS, logits=logits)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = tf.train.AdamOptimizer(0.01).minimize(loss)
    checkpoint = tempfile.mkdtemp() + "/model"
    losses = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(20):
            feed = {images: IMAGES, training: True}
            losses.append(float(session.run([loss, train_op], feed)[0]))
        tf.train.Saver().save(session, checkpoint)

    with tf.Graph().as_default(), tf.Session() as session:
        logits = network(IMAGES, False)
        tf.train.Saver().restore(session, checkpoint)
        evaluated = session.run(logits)
        names = [v.op.name for v in tf.global_variables()]
    print(json.dumps({"losses": losses, "evaluated": evaluated.tolist(), "variables": names}))


main()
