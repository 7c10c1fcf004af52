"""Keras's objects, given to the layers of tf.layers and contrib; prints what they do as JSON."""

import json

import tensorflow as tf

INPUTS = [[1.0, 5.0], [3.0, 2.0], [8.0, 4.0]]
k = tf.keras


def layers_with(**options):
    return lambda: tf.layers.batch_normalization(tf.constant(INPUTS), training=True, **options)


def contribs_with(**options):
    options.update(scale=True, param_regularizers={"gamma": k.regularizers.l2(0.1)})
    return lambda: tf.contrib.layers.batch_norm(tf.constant(INPUTS), **options)


found = {}
for name, build in [
    ("initializer", layers_with(gamma_initializer=k.initializers.Constant(2.0))),
    ("regularizer", layers_with(gamma_regularizer=k.regularizers.l2(0.1))),
    ("constraint", layers_with(beta_constraint=k.constraints.NonNeg())),
    ("contrib", contribs_with()),
    ("contrib, in place", contribs_with(updates_collections=None)),
]:
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = build()
        losses = tf.losses.get_regularization_losses()
        loss = tf.reduce_sum(tf.square(outputs - 3.0)) + sum(losses)
        loss += tf.add_n([tf.reduce_sum(3.0 * v) for v in tf.trainable_variables()])
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        session.run(tf.global_variables_initializer())
        kept = [float(value) for value in session.run(losses)]
        session.run(train)
        values = session.run(tf.trainable_variables())
        found[name] = [[round(value, 4) for value in kept]]
        found[name] += [[round(float(x), 3) for x in value] for value in values]
print(json.dumps(found))
