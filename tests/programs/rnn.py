"""A program of 2017, as it was: recurrent cells of tf.nn and contrib. Prints its results as JSON."""

import json

import numpy as np
import tensorflow as tf
from tensorflow.contrib import rnn
from tensorflow.contrib.rnn import GRUCell, RNNCell

assert tf.nn.rnn_cell.BasicLSTMCell is rnn.BasicLSTMCell
assert tf.nn.rnn_cell.LSTMStateTuple is tf.contrib.rnn.LSTMStateTuple

random = np.random.RandomState(0)
SERIES = random.normal(1.0, 2.0, (16, 6, 5)).astype(np.float32)
LABELS = (SERIES[:, :3].mean((1, 2)) > SERIES[:, 3:].mean((1, 2))).astype(np.int64)
Z_DIM = 8


class NormalizedCell(RNNCell):
    """A cell as programs wrote them, with a batch norm in it."""

    def __init__(self, num_units, training):
        super(NormalizedCell, self).__init__()
        self._num_units = num_units
        self._training = training

    @property
    def state_size(self):
        return self._num_units

    @property
    def output_size(self):
        return self._num_units

    def __call__(self, inputs, state, scope=None):
        with tf.variable_scope(scope or "normalized_cell"):
            size = inputs.get_shape()[-1].value + self._num_units
            w = tf.get_variable("w", [size, self._num_units])
            hidden = tf.matmul(tf.concat([inputs, state], 1), w)
            output = tf.tanh(tf.layers.batch_normalization(hidden, training=self._training))
        return output, output


def network(series, training):
    normal = tf.random_normal_initializer(0.0, 0.3, seed=1)
    with tf.variable_scope("net", initializer=normal):
        forward = rnn.BasicLSTMCell(Z_DIM / 2, forget_bias=1.0)
        backward = rnn.BasicLSTMCell(Z_DIM / 2, forget_bias=1.0)
        outputs, _, _ = rnn.static_bidirectional_rnn(
            forward, backward, tf.unstack(series, 6, 1), dtype=tf.float32
        )
        cells = [
            rnn.DropoutWrapper(GRUCell(4), output_keep_prob=1.0),
            tf.nn.rnn_cell.LSTMCell(4, use_peepholes=True, num_proj=3),
            tf.nn.rnn_cell.ResidualWrapper(tf.nn.rnn_cell.BasicRNNCell(3)),
        ]
        cell = rnn.MultiRNNCell(cells)
        state = cell.zero_state(tf.shape(series)[0], tf.float32)
        net, _ = tf.nn.dynamic_rnn(cell, tf.stack(outputs, 1), initial_state=state)
        net, _ = rnn.static_rnn(NormalizedCell(4, training), tf.unstack(net, 6, 1), tf.zeros([16, 4]))
        w = tf.get_variable("w", [Z_DIM / 2, 2])
        return tf.matmul(net[-1], w)


training = tf.placeholder(tf.bool, [])
logits = network(SERIES, training)
loss = tf.losses.sparse_softmax_cross_entropy(labels=LABELS, logits=logits)
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = tf.train.AdamOptimizer(0.01).minimize(loss)
losses = []
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for _ in range(10):
        losses.append(float(session.run([loss, train_op], {training: True})[0]))
    evaluated = session.run(logits, {training: False})
names = [v.op.name for v in tf.global_variables()]
print(json.dumps({"losses": losses, "evaluated": evaluated.tolist(), "variables": names}))
