"""What programs took from contrib's small parts, and what TF1 refused or took; as JSON."""

import json
import os

import numpy as np
import tensorflow as tf
from tensorflow.contrib.framework import list_variables, load_variable
from tensorflow.contrib.tensorboard.plugins import projector

found = {}
with tf.Graph().as_default(), tf.Session() as session:
    tf.get_variable("w", initializer=[3.0, 1.0, 2.0])
    session.run(tf.global_variables_initializer())
    path = tf.train.Saver().save(session, os.path.join(os.getcwd(), "model"))
    found["list_variables"] = list_variables(path)
    found["load_variable"] = load_variable(path, "w").tolist()
    found["sort"] = session.run(tf.contrib.framework.sort(tf.constant([3, 1, 2]))).tolist()
    config = projector.ProjectorConfig()
    config.embeddings.add().tensor_name = "w"
    projector.visualize_embeddings(tf.summary.FileWriter(os.getcwd()), config)
    found["projector"] = open("projector_config.pbtxt").read().split()
    normal = tf.contrib.distributions.Normal(0.0, 2.0)
    found["log_prob"] = round(float(session.run(normal.log_prob(1.0))), 5)


def tried(function):
    with tf.Graph().as_default():
        try:
            return str(function())
        except ValueError as error:
            return str(error).split(" (")[0].rstrip(".")


x, labels = np.zeros([2, 3], np.float32), np.zeros([2], np.int32)
nn = tf.nn
found["entropies"] = [
    tried(lambda: nn.sigmoid_cross_entropy_with_logits(x, x)),
    tried(lambda: nn.softmax_cross_entropy_with_logits(x, x)),
    tried(lambda: nn.sparse_softmax_cross_entropy_with_logits(x, labels)),
    tried(lambda: nn.sigmoid_cross_entropy_with_logits(labels=x, logits=x).shape),
    tried(lambda: nn.sparse_softmax_cross_entropy_with_logits(None, labels, x).shape),
]
found["sizes"] = [
    [
        tried(lambda: tf.get_variable("w", [3, size]).shape),
        tried(lambda: tf.get_variable("w", (size,), initializer=tf.zeros_initializer()).shape),
        tried(lambda: tf.placeholder(tf.float32, [5, size]).shape),
        tried(lambda: tf.TensorShape([size])),
    ]
    for size in (4 / 2, np.float64(4), 5 / 2)
]
print(json.dumps(found))
