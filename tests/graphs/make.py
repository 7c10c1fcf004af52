"""Makes tests/graphs/*.meta.gz, graphs that programs of TF 1.15.5 export.

PYTHONPATH=. .venv-tf115/bin/python -m tests.graphs.make

A file is named WAY--KIND, a key of `sources.WAYS_OF_OLD` and one of `KINDS`.
"""

from __future__ import annotations

import gzip
import os
import pathlib

import tensorflow.compat.v1 as tf

from tests.graphs import sources

FOLDER = pathlib.Path(__file__).parent
KINDS = {
    "sound": lambda way: sources.training(way),
    "placeholder": lambda way: sources.training(way, "placeholder"),
    "forgotten": lambda way: sources.training(way, updates="forgotten"),
    "some": lambda way: sources.training(way, updates="some"),
    "hook": lambda way: sources.training(way, updates="hook"),
    "inference": lambda way: sources.inference(way),
    "inference in training": lambda way: sources.inference(way, True),
    "towers": lambda way: sources.two_towers(way),
    "towers in training": lambda way: sources.two_towers(way, evaluated_in_training=True),
}


def main():
    for name, way in sources.WAYS_OF_OLD.items():
        for kind, build in KINDS.items():
            if name == "tf.keras" and kind.startswith("towers"):
                continue  # Its layers are shared as objects, not by their names.
            with tf.Graph().as_default() as graph:
                build(way)
                saver = tf.train.Saver()
                meta_graph = tf.train.export_meta_graph(
                    graph=graph, saver_def=saver.saver_def, strip_default_attrs=True
                )
            path = FOLDER / ("%s--%s.meta.gz" % (name, kind)).replace(" ", "_")
            content = meta_graph.SerializeToString(deterministic=True)
            path.write_bytes(gzip.compress(content, 9))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf.logging.set_verbosity(tf.logging.ERROR)
    main()
