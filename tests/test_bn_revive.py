"""Graphs that TF1 exported. What `install` puts where is tested in system/test_install.py."""

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import bn_compat
import bn_revive
from tests.originals import exported, golden

META = f"{golden.EXPORTED}.meta"


@pytest.fixture
def session():
    with tf.Graph().as_default(), tf.Session() as session:
        yield session


def read():
    meta_graph = tf.MetaGraphDef()
    meta_graph.ParseFromString(golden.EXPORTED.with_suffix(".meta").read_bytes())
    return meta_graph


def test_a_graph_that_tf1_exported_trains_as_it_did(session):
    saver = bn_compat.import_meta_graph(META)
    assert isinstance(saver, tf.train.Saver)
    expected = json.loads(golden.EXPORTED.with_suffix(".json").read_text())
    np.testing.assert_allclose(exported.losses(session), expected, rtol=1e-5)
    assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == 2
    assert tf.get_collection("notes") == [b"of the program's own"]


def test_shapes_that_are_not_stale_are_kept(session):
    given = read()
    untouched = given.SerializeToString(deterministic=True)
    bn_compat.import_meta_graph(given, import_scope="old")
    assert given.SerializeToString(deterministic=True) == untouched
    reshaped = tf.get_default_graph().get_tensor_by_name("old/reshaped:0")
    assert reshaped.shape.as_list() == [None, 4, 4, 3]


def test_a_shape_that_is_refused_elsewhere_goes_alone(session):
    meta_graph = read()
    (relu,) = [node for node in meta_graph.graph_def.node if node.name == "Relu"]
    relu.attr["_output_shapes"].list.shape[0].dim[3].size = 7
    bn_revive.remove_stale_shapes(meta_graph.graph_def)
    assert "_output_shapes" not in relu.attr
    (loss,) = [node for node in meta_graph.graph_def.node if node.name == "loss"]
    assert "_output_shapes" in loss.attr


def test_what_else_is_wrong_with_a_graph_is_tensorflows_error(session, tmp_path):
    meta_graph = read()
    meta_graph.graph_def.node[0].op = "NoSuchOp"
    with pytest.raises((ValueError, tf.errors.OpError), match="NoSuchOp"):
        bn_compat.import_meta_graph(meta_graph)
    with pytest.raises(OSError, match="nowhere.meta"):
        bn_compat.import_meta_graph(str(tmp_path / "nowhere.meta"))
