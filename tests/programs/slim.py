"""A program of 2017, as it was: a conv net of tf.contrib.slim. Prints its results as JSON."""

import json
import tempfile

import numpy as np
import tensorflow as tf
import tensorflow.contrib.slim as slim
from tensorflow.contrib.framework.python.ops import arg_scope
from tensorflow.contrib.slim.python.slim import learning

flags = tf.app.flags
flags.DEFINE_integer("steps", 20, "Number of steps.")
FLAGS = flags.FLAGS

random = np.random.RandomState(0)
IMAGES = random.normal(1.0, 2.0, (64, 8, 8, 1)).astype(np.float32)
LABELS = (IMAGES[:, :4].mean((1, 2, 3)) > IMAGES[:, 4:].mean((1, 2, 3))).astype(np.int64)


def arguments_of_the_network(is_training):
    with arg_scope([slim.batch_norm], is_training=is_training, decay=0.9, scale=True):
        with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm):
            with slim.arg_scope(
                [slim.conv2d, slim.fully_connected],
                weights_regularizer=slim.l2_regularizer(0.001),
                weights_initializer=tf.random_normal_initializer(0.0, 0.3, seed=1),
            ) as arguments:
                return arguments


def network(images):
    with tf.variable_scope("net") as scope:
        end_points = scope.original_name_scope + "end_points"
        with slim.arg_scope(
            [slim.conv2d, slim.fully_connected, slim.batch_norm], outputs_collections=end_points
        ):
            net = slim.repeat(images, 2, slim.conv2d, 4, [3, 3], scope="conv")
            net = slim.max_pool2d(net, [2, 2], scope="pool")
            net = slim.dropout(slim.flatten(net), 1.0, scope="dropout")
            logits = slim.fully_connected(net, 2, activation_fn=None, scope="logits")
            return logits, slim.utils.convert_collection_to_dict(end_points)


def main(_):
    with slim.arg_scope(arguments_of_the_network(True)):
        logits, end_points = network(tf.constant(IMAGES))
    slim.losses.sparse_softmax_cross_entropy(logits, LABELS)
    loss = slim.losses.get_total_loss()
    train_op = learning.create_train_op(loss, tf.train.AdamOptimizer(0.01))
    checkpoint = tempfile.mkdtemp() + "/model"
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = [float(session.run(train_op)) for _ in range(FLAGS.steps)]
        tf.train.Saver().save(session, checkpoint)

    with tf.Graph().as_default(), tf.Session() as session:
        with slim.arg_scope(arguments_of_the_network(False)):
            logits, _ = network(tf.constant(IMAGES))
        restore = slim.assign_from_checkpoint_fn(checkpoint, slim.get_variables_to_restore())
        restore(session)
        evaluated = session.run(logits)
        names = sorted(v.op.name for v in slim.get_model_variables())
    print(
        json.dumps(
            {
                "losses": losses,
                "evaluated": evaluated.tolist(),
                "variables": names,
                "end points": sorted(end_points),
            }
        )
    )


if __name__ == "__main__":
    tf.app.run()
