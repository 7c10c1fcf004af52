"""Properties of batch_norm_wrapper in whichever layout: too many graphs for `make check`."""

import numpy as np
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_wrapper import batch_norm_wrapper
from tests.layers import batch_of, run_once

layouts = st.integers(2, 5).flatmap(
    lambda rank: st.tuples(
        st.lists(st.integers(2, 4), min_size=rank, max_size=rank),
        st.lists(
            st.integers(-rank, rank - 1),
            min_size=1,
            max_size=rank - 1,
            unique_by=lambda i: i % rank,
        ),
    )
)


@settings(max_examples=25)
@given(layouts, st.booleans(), st.floats(0.5, 3), st.floats(-2, 2))
def test_normalized_values_have_mean_beta_and_deviation_scale(layout, zero_debias, scale, beta):
    shape, axis = layout
    values = np.random.default_rng(0).normal(3, 2, shape).astype(np.float32)
    reduced = tuple(i for i in range(len(shape)) if i not in [a % len(shape) for a in axis])
    (outputs, *_), _ = run_once(
        values,
        fetch_gradients=False,
        axis=axis,
        epsilon=1e-12,
        zero_debias=zero_debias,
        initializers={
            "scale": tf.constant_initializer(scale),
            "beta": tf.constant_initializer(beta),
        },
    )
    # A channel of two nearly equal values is at the mercy of float32.
    sound = values.std(reduced) > 0.05
    np.testing.assert_allclose(outputs.mean(reduced)[sound], beta, atol=2e-3)
    np.testing.assert_allclose(outputs.std(reduced)[sound], scale, rtol=2e-3)


@settings(max_examples=8)
@given(
    layouts,
    st.sampled_from(
        [{}, {"unbiased": True}, {"zero_debias": False}, {"renorm": True}, {"center": False}]
    ),
)
def test_placeholder_constant_and_restored_inference_graph_agree(tmp_path_factory, layout, options):
    shape, axis = layout
    options = {**options, "axis": axis, "name": "layer"}
    values, others = batch_of(shape), batch_of(shape, seed=1)
    checkpoint = str(tmp_path_factory.mktemp("run") / "model.ckpt")
    trained, inferred = [], []
    for is_placeholder in (True, False):
        with tf.Graph().as_default(), tf.Session() as session:
            inputs = tf.placeholder(tf.float32, shape)
            phase_train = tf.placeholder_with_default(True, []) if is_placeholder else True
            outputs = batch_norm_wrapper(inputs, phase_train, **options)
            session.run(tf.global_variables_initializer())
            for _ in range(2):
                result = session.run(outputs, {inputs: values})
            trained.append(result)
            if is_placeholder:
                inferred.append(session.run(outputs, {inputs: others, phase_train: False}))
                tf.train.Saver().save(session, checkpoint)
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = batch_norm_wrapper(tf.constant(others), **options)
        tf.train.Saver().restore(session, checkpoint)
        inferred.append(session.run(outputs))
    np.testing.assert_allclose(trained[0], trained[1], atol=1e-5)
    np.testing.assert_array_equal(inferred[0], inferred[1])
