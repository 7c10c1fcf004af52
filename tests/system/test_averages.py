"""The moving averages: a weighted mean of what was seen, whatever happens to a layer.

For every face, kind of variables, control flow and phase: too many for `make check`.
"""

import contextlib
import functools
import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import bn_compat
from bn_wrapper import batch_norm_wrapper
from tests.layers import variable

POPULATION = ("pop_mean", "pop_var", "moving_mean", "moving_variance")

FACES = {
    "wrapper": lambda x, decay, **options: batch_norm_wrapper(
        x, True, decay, name="bn", reuse=tf.AUTO_REUSE, **options
    ),
    "wrapper, not debiased": lambda x, decay, **options: batch_norm_wrapper(
        x, True, decay, name="bn", reuse=tf.AUTO_REUSE, zero_debias=False, **options
    ),
    "renorm": lambda x, decay, **options: batch_norm_wrapper(
        x, True, decay, name="bn", reuse=tf.AUTO_REUSE, renorm=True, renorm_decay=decay, **options
    ),
    # Its kernel averages the unbiased variance.
    "contrib": lambda x, decay, fused=False, **options: bn_compat.batch_norm(
        x, decay, scope="bn", reuse=tf.AUTO_REUSE, updates_collections=None, fused=fused, **options
    ),
}
DEBIASED = ("wrapper", "renorm")
# For the longer tests: contrib represents the faces without a weight.
MOST_FACES = ("wrapper", "renorm", "contrib")
of_every_face = pytest.mark.parametrize("face", FACES)
of_both_kinds = pytest.mark.parametrize("use_resource", [False, True], ids=["ref", "resource"])


def population():
    return [v for v in tf.global_variables() if v.op.name.split("/")[-1] in POPULATION]


def of_statistics(session):
    """Values of the averages, float64: mean and variance."""
    return [np.float64(value) for value in session.run(population())]


def batch_with(mean, var):
    """Two values of one channel, with this mean and variance."""
    return np.float32([[mean - var**0.5], [mean + var**0.5]])


class Reference:
    """The average in float64, computed from the total weight of the batches so far."""

    def __init__(self, values, weight):
        self.values, self.weight = np.float64(values), weight

    def update(self, batch, decay):
        self.weight = decay * self.weight + 1 - decay
        share = (1 - decay) / self.weight
        self.values = (1 - share) * self.values + share * np.float64(batch)


@of_both_kinds
@pytest.mark.parametrize("decays", [(0.9, 0.999, 0.5), (0.999, 0.9), (0.0, 0.99, 0.0, 0.9)])
def test_a_decay_may_change_at_every_step(decays, use_resource):
    reference = Reference([0, 1], weight=0)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 1])
        with tf.variable_scope("net", use_resource=use_resource):
            steps = [FACES["wrapper"](inputs, decay) for decay in decays]
        session.run(tf.global_variables_initializer())
        for i in range(3 * len(decays)):
            mean, var = 3.0 + i, 4.0 + i
            session.run(steps[i % len(decays)], {inputs: batch_with(mean, var)})
            reference.update([mean, var], decays[i % len(decays)])
            np.testing.assert_allclose(np.ravel(of_statistics(session)), reference.values, 1e-6)


@of_both_kinds
@pytest.mark.parametrize("first, then", [(0.9, 0.999), (0.5, 0.99999)])
def test_a_run_may_resume_with_another_decay(tmp_path, first, then, use_resource):
    """500 steps at 0.9 and one at 0.999 gave 7.61 and 10.15 for a mean of 3 and a variance of 4."""
    checkpoint = str(tmp_path / "model.ckpt")
    for decay in (first, then):
        with tf.Graph().as_default(), tf.Session() as session:
            with tf.variable_scope("net", use_resource=use_resource):
                outputs = FACES["wrapper"](tf.constant(batch_with(3, 4)), decay)
            session.run(tf.global_variables_initializer())
            if decay == then:
                tf.train.Saver().restore(session, checkpoint)
            for _ in range(50 if decay == first else 3):
                session.run(outputs)
            np.testing.assert_allclose(np.ravel(of_statistics(session)), [3, 4], 1e-6)
            tf.train.Saver().save(session, checkpoint)


def as_loaded(session, mean, var):
    for each in population():
        value = mean if each.op.name.endswith("mean") else var
        each.load(np.full(each.shape.as_list(), value, np.float32), session)


def as_restored(session, mean, var, folder):
    """Restores the variables that an inference graph has, or a program without debiasing."""
    saver = tf.train.Saver([v for v in tf.global_variables() if "pop_weight" not in v.op.name])
    as_loaded(session, mean, var)
    saver.save(session, str(folder / "model.ckpt"))
    session.run(tf.global_variables_initializer())
    saver.restore(session, str(folder / "model.ckpt"))


@pytest.mark.parametrize("how", ["loaded", "restored", "initializers"])
def test_given_statistics_move_by_the_share_of_a_batch(tmp_path, how):
    """The first batch used to replace them."""
    layers = list(itertools.product(FACES, (0.5, 0.999), (False, True)))
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = []
        for i, (face, decay, use_resource) in enumerate(layers):
            options = initial_values(face, 4.9, 7.0) if how == "initializers" else {}
            with tf.variable_scope(f"net{i}", use_resource=use_resource):
                outputs.append(FACES[face](tf.constant(batch_with(22.3, 4.0)), decay, **options))
        session.run(tf.global_variables_initializer())
        if how == "loaded":
            as_loaded(session, 4.9, 7.0)
        elif how == "restored":
            as_restored(session, 4.9, 7.0, tmp_path)
        references = [Reference([4.9, 7.0], weight=1) for _ in layers]
        for _ in range(3):
            session.run(outputs)
            found = np.reshape(of_statistics(session), [len(layers), 2])
            for layer, reference, statistics in zip(layers, references, found, strict=True):
                reference.update([22.3, 4.0], layer[1])
                np.testing.assert_allclose(statistics, reference.values, 1e-5, err_msg=str(layer))


def initial_values(face, mean, var):
    mean, var = tf.constant_initializer(mean), tf.constant_initializer(var)
    if face == "contrib":
        return {"param_initializers": {"moving_mean": mean, "moving_variance": var}}
    return {"initializers": {"pop_mean": mean, "pop_var": var}}


def test_a_collection_of_the_layers_variables_has_all_that_a_checkpoint_needs(tmp_path):
    def build():
        outputs = batch_norm_wrapper(
            tf.constant(batch_with(3, 4)), True, 0.9, variables_collections="mine"
        )
        return outputs, tf.train.Saver(tf.get_collection("mine"))

    with tf.Graph().as_default(), tf.Session() as session:
        outputs, saver = build()
        session.run(tf.global_variables_initializer())
        session.run(outputs)
        session.run(outputs)
        saver.save(session, str(tmp_path / "model.ckpt"))
        weight = session.run(variable("pop_weight"))
    with tf.Graph().as_default(), tf.Session() as session:
        outputs, saver = build()
        saver.restore(session, str(tmp_path / "model.ckpt"))
        assert session.run(variable("pop_weight")) == weight == np.float32(1 - 0.9**2)


@of_every_face
@pytest.mark.parametrize("decay", [0.999, 0.99999])
def test_the_share_of_a_batch_is_the_float32_nearest_to_it(decay, face):
    """In float32, 1 - 0.99999 has a relative error of 1.4e-3."""
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = FACES[face](tf.constant(batch_with(1.0, 1.0)), decay)
        session.run(tf.global_variables_initializer())
        mean, var = population()
        mean.load([0.0], session)
        var.load([2.0], session)  # So that the statistics are not those of a new layer.
        session.run(outputs)
        assert session.run(mean)[0] == np.float32(1 - decay)


@pytest.mark.parametrize("face", DEBIASED)
@pytest.mark.parametrize("var", [1e-12, 1e-8, 1e8])
def test_a_first_batch_leaves_nothing_of_the_initial_values(var, face):
    """Moving by the difference from them would: 1 - (1 - 1e-8) is 0 in float32."""
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = FACES[face](tf.constant(batch_with(0.0, var)), 0.999)
        session.run(tf.global_variables_initializer())
        session.run(outputs)
        np.testing.assert_allclose(of_statistics(session)[1], var, 1e-5)


@pytest.mark.parametrize("face", ["wrapper", "contrib"])
@pytest.mark.parametrize("far, shape", [(1e6, (16, 2, 3, 1)), (1e9, (16, 1)), (3e38, (16, 1))])
def test_padding_that_weighs_nothing_takes_no_part_whatever_it_is(face, far, shape):
    """-1e9 beside 16 values around 5 used to give a mean and variance of 0, and outputs of 200."""
    real = np.random.default_rng(0).normal(5.0, 1.0, shape).astype(np.float32)
    padded = np.concatenate([real, np.full(shape, -far, np.float32)])
    weights = np.float32([1.0] * 16 + [0.0] * 16)
    results = []
    for values, options in ((real, {"fused": False}), (padded, {"batch_weights": weights})):
        with tf.Graph().as_default(), tf.Session() as session:
            inputs = tf.constant(values)
            outputs = FACES[face](inputs, 0.0, scale=True, **options)[:16]
            gradients = tf.gradients(
                tf.reduce_sum(outputs**3 * real), [inputs, *tf.trainable_variables()]
            )
            session.run(tf.global_variables_initializer())
            outputs, (of_inputs, *gradients) = session.run((outputs, gradients))
            results.append([outputs, of_inputs[:16], *gradients, *of_statistics(session)])
            assert not of_inputs[16:].any()
    for alone, with_padding in zip(*results, strict=True):
        np.testing.assert_allclose(with_padding, alone, rtol=2e-4, atol=2e-4)


EMPTY = {
    **{f"{face}, {fused}": (face, {"fused": fused}) for face in FACES for fused in (None, False)},
    "ghost batches": ("wrapper", {"virtual_batch_size": 2}),
    "unbiased": ("renorm", {"unbiased": True}),
    "tf.layers, renorm": ("tf.layers", {"renorm": True}),
}


@pytest.mark.parametrize("face, options", EMPTY.values(), ids=EMPTY)
def test_nothing_is_learned_from_an_empty_batch(face, options):
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 1])
        if face == "tf.layers":
            outputs = bn_compat.batch_normalization(inputs, training=True, **options)
            with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
                outputs = tf.identity(outputs)
        else:
            outputs = FACES[face](inputs, 0.9, **options)
        gradients = tf.gradients(tf.reduce_sum(outputs**2), tf.trainable_variables())
        session.run(tf.global_variables_initializer())
        for batch in (np.zeros([0, 1]), batch_with(3, 4), np.zeros([0, 1])):
            before = session.run(tf.global_variables())
            results = session.run([outputs, *gradients], {inputs: batch})
            assert all(np.isfinite(result).all() for result in results)
            if not len(batch):
                after = session.run(tf.global_variables())
                for one, other in zip(before, after, strict=True):
                    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("options", [{"unbiased": True}, {"renorm": True, "unbiased": True}])
def test_weights_of_zero_leave_an_unbiased_variance_alone(options):
    """It used to be multiplied by 0 / 0."""
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = batch_norm_wrapper(
            tf.constant(batch_with(3, 4)), True, name="bn", batch_weights=[0.0, 0.0], **options
        )
        session.run(tf.global_variables_initializer())
        assert np.isfinite(session.run(outputs)).all()
        np.testing.assert_array_equal(np.ravel(of_statistics(session)), [0, 1])


def test_a_batch_that_another_worker_took_in_meanwhile_is_no_given_average():
    """Beside averages no longer initial, a weight still initial used to count one batch in full."""
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = FACES["wrapper"](tf.constant(batch_with(3, 4)), 0.99)
        session.run(tf.global_variables_initializer())
        session.run(outputs)
        name = variable("pop_weight").op.name + "/are_given:0"
        session.run(outputs, {name: True})
        np.testing.assert_allclose(session.run(variable("pop_weight")), 1 - 0.99**2, rtol=1e-6)


def test_renorm_corrects_each_round_of_a_loop_with_what_the_one_before_left():
    """It used to read its averages at the start of an iteration, not once it had the batch."""
    batches = np.random.default_rng(0).normal(10.0, 0.5, [6, 16, 2]).astype(np.float32)
    results = []
    for is_loop in (True, False):
        with tf.Graph().as_default(), tf.Session() as session:
            with tf.variable_scope("net", use_resource=True):
                layer = functools.partial(FACES["renorm"], decay=0.5)

                def step(before, batch, layer=layer):
                    return layer(batch + 0.1 * before)

                if is_loop:
                    outputs = tf.scan(step, tf.constant(batches), tf.zeros([16, 2]))
                else:
                    outputs = [tf.zeros([16, 2])]
                    for batch in batches:
                        outputs.append(step(outputs[-1], tf.constant(batch)))
                    outputs = tf.stack(outputs[1:])
            session.run(tf.global_variables_initializer())
            results.append(session.run(outputs))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [[1, 4], [3], [4, 1], []])
@pytest.mark.parametrize("face", ["wrapper", "contrib"])
def test_weights_that_are_not_one_an_example_are_refused_when_they_are_fed(face, shape):
    with tf.Graph().as_default(), tf.Session() as session:
        weights = tf.placeholder(tf.float32)
        outputs = FACES[face](tf.ones([4, 3]), 0.9, batch_weights=weights)
        session.run(tf.global_variables_initializer())
        message = (
            rf"batch_weights must be one for each example.*\[4\].*\[{' '.join(map(str, shape))}\]"
        )
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            session.run(outputs, {weights: np.ones(shape)})
        session.run(outputs, {weights: np.ones([4])})


@pytest.mark.parametrize("face, fused", list(itertools.product(FACES, (None, False))))
def test_one_value_a_channel_is_no_reason_for_nan(face, fused):
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 1])
        outputs = FACES[face](inputs, 0.9, fused=fused)
        gradients = tf.gradients(tf.reduce_sum(outputs**2), [inputs, *tf.trainable_variables()])
        session.run(tf.global_variables_initializer())
        for batch in ([[7.0]], batch_with(3, 4), [[7.0]]):
            results = session.run([outputs, *gradients], {inputs: batch})
            assert all(np.isfinite(result).all() for result in results)
        assert np.isfinite(of_statistics(session)).all()


@contextlib.contextmanager
def control_flow(version):
    """Makes `tf.cond` and `tf.while_loop` build TF1's control flow, 1, or TF2's, 2."""
    was_v2 = tf.control_flow_v2_enabled()
    (tf.enable_control_flow_v2 if version == 2 else tf.disable_control_flow_v2)()
    try:
        yield
    finally:
        (tf.enable_control_flow_v2 if was_v2 else tf.disable_control_flow_v2)()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("is_placeholder", [False, True], ids=["constant", "placeholder"])
def test_calls_in_one_step_leave_the_range_of_what_they_saw_in_no_order(is_placeholder, version):
    """Each of up to four calls may read before the others write."""
    layers = list(itertools.product(MOST_FACES, ((2, 0.5), (4, 0.9)), (False, True)))
    with control_flow(version), tf.Graph().as_default(), tf.Session() as session:
        phase = tf.placeholder_with_default(True, []) if is_placeholder else True
        batches = tf.placeholder(tf.float32, [4, None, 1])
        calls = []
        for i, (face, (count, decay), use_resource) in enumerate(layers):
            with tf.variable_scope(f"net{i}", use_resource=use_resource):
                for batch in tf.unstack(batches)[:count]:
                    calls.append(call_with_phase(face, batch, decay, phase))
        session.run(tf.global_variables_initializer())
        feed = {batches: np.stack([batch_with(3.0 + i / 3, 4.0) for i in range(4)])}
        for _ in range(4):
            session.run(calls, feed)
            statistics = np.reshape(of_statistics(session), [len(layers), 2])
            for (face, *_), (mean, var) in zip(layers, statistics, strict=True):
                lowest = (3.0, 4.0) if face in DEBIASED else (0.0, 1.0)
                assert lowest[0] - 1e-5 <= mean <= 4 + 1e-5, face
                assert lowest[1] - 1e-5 <= var <= 4 + 1e-5, face


def call_with_phase(face, inputs, decay, phase):
    if face == "contrib":
        return FACES[face](inputs, decay, is_training=phase)
    options = {
        "wrapper": {},
        "wrapper, not debiased": {"zero_debias": False},
        "renorm": {"renorm": True, "renorm_decay": decay},
    }[face]
    return batch_norm_wrapper(inputs, phase, decay, name="bn", reuse=tf.AUTO_REUSE, **options)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("is_placeholder", [False, True], ids=["constant", "placeholder"])
def test_calls_that_wait_for_each_other_are_averaged_in_their_order(is_placeholder, version):
    decays, means = (0.9, 0.0, 0.99, 0.5), (3.0, 5.0, 1.0, 9.0)
    layers = list(itertools.product(MOST_FACES, (False, True)))
    with control_flow(version), tf.Graph().as_default(), tf.Session() as session:
        phase = tf.placeholder_with_default(True, []) if is_placeholder else True
        last = []
        for i, (face, use_resource) in enumerate(layers):
            before = []
            with tf.variable_scope(f"net{i}", use_resource=use_resource):
                for decay, mean in zip(decays, means, strict=True):
                    with tf.control_dependencies(before):
                        inputs = tf.identity(tf.constant(batch_with(mean, 4.0)))
                    before = [call_with_phase(face, inputs, decay, phase)]
            last += before
        session.run(tf.global_variables_initializer())
        session.run(last)
        found = np.reshape(of_statistics(session), [len(layers), 2])
    for (face, use_resource), statistics in zip(layers, found, strict=True):
        reference = Reference([0, 1], weight=0 if face in DEBIASED else 1)
        for decay, mean in zip(decays, means, strict=True):
            reference.update([mean, 4.0], decay)
        message = f"{face}, {'resource' if use_resource else 'reference'}"
        np.testing.assert_allclose(statistics, reference.values, 1e-6, err_msg=message)


def in_a_map(layer, batches):
    return tf.map_fn(layer, batches, parallel_iterations=1)


def with_a_caching_device(layer, batches):
    outputs = []
    with tf.variable_scope(tf.get_variable_scope(), caching_device="/cpu:0"):
        for batch in tf.unstack(batches):
            with tf.control_dependencies(outputs[-1:]):
                outputs.append(layer(tf.identity(batch)))
    return tf.stack(outputs)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("loop", [in_a_map, with_a_caching_device])
def test_a_loop_that_caches_variables_averages_as_it_would_unrolled(loop, version):
    """Iterations used to read the value before the loop: a mean of 30, a variance of -1.3."""
    batches = np.random.default_rng(0).normal(10.0, 0.5, [6, 16, 2]).astype(np.float32)
    layers = list(itertools.product(MOST_FACES, (False, True)))
    with control_flow(version), tf.Graph().as_default(), tf.Session() as session:
        outputs = []
        for i, (face, use_resource) in enumerate(layers):
            layer = functools.partial(FACES[face], decay=0.9, fused=False)
            with tf.variable_scope(f"net{i}", use_resource=use_resource):
                outputs.append(loop(layer, tf.constant(batches)))
        session.run(tf.global_variables_initializer())
        assert np.isfinite(session.run(outputs)).all()
        found = np.reshape(of_statistics(session), [len(layers), 2, 2])
    for (face, use_resource), statistics in zip(layers, found, strict=True):
        reference = Reference([[0, 0], [1, 1]], weight=0 if face in DEBIASED else 1)
        for batch in batches:
            reference.update([batch.mean(0), batch.var(0)], 0.9)
        message = f"{face}, {'resource' if use_resource else 'reference'}"
        np.testing.assert_allclose(statistics, reference.values, 1e-5, err_msg=message)


def test_a_loop_whose_rounds_overlap_leaves_the_range_of_what_it_saw_in_no_order():
    batches = np.stack([batch_with(3.0 + i / 30, 4.0) for i in range(30)])
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("net", use_resource=True):
            outputs = tf.map_fn(functools.partial(FACES["wrapper"], decay=0.5), batches)
        session.run(tf.global_variables_initializer())
        session.run(outputs)
        mean, var = of_statistics(session)
    assert 3 <= mean <= 4
    np.testing.assert_allclose(var, 4, rtol=1e-5)


@pytest.mark.parametrize("is_placeholder, use_resource", [(False, False), (True, True)])
@pytest.mark.parametrize("face", ["wrapper", "wrapper, not debiased", "contrib"])
def test_nothing_is_learned_from_weights_that_are_all_zero(face, use_resource, is_placeholder):
    seen, unseen = np.float32([[1.0], [5.0], [3.0]]), np.float32([[9.0], [-7.0], [1e9]])
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [3, 1])
        weights = tf.placeholder(tf.float32, [None])
        phase = tf.placeholder_with_default(True, []) if is_placeholder else True
        with tf.variable_scope("net", use_resource=use_resource):
            options = {"batch_weights": weights}
            if face == "contrib":
                outputs = FACES[face](inputs, 0.9, is_training=phase, **options)
            else:
                options["zero_debias"] = face == "wrapper"
                outputs = batch_norm_wrapper(inputs, phase, 0.9, name="bn", **options)
        gradients = tf.gradients(tf.reduce_sum(outputs**2), [inputs, *tf.trainable_variables()])
        session.run(tf.global_variables_initializer())
        for batches in ([unseen], [seen, unseen, unseen]):
            for batch in batches:
                before = session.run(tf.global_variables())
                feed = {inputs: batch, weights: [0.0] * 3 if batch is unseen else [1.0] * 3}
                results = session.run([outputs, *gradients], feed)
                assert all(np.isfinite(result).all() for result in results)
                if batch is unseen:
                    after = session.run(tf.global_variables())
                    for one, other in zip(before, after, strict=True):
                        np.testing.assert_array_equal(one, other)
        mean, var = of_statistics(session)
        expected = (unseen - mean) / np.sqrt(var + (1e-3 if face == "contrib" else 1e-5))
        np.testing.assert_allclose(results[0], expected, rtol=1e-4)


# What can happen to a layer: a step with a decay, several calls, given statistics, a new session.
numbers = st.floats(-100, 100, width=32)
variances = st.floats(0.0625, 100, width=32)
events = st.one_of(
    st.tuples(st.just("step"), numbers, variances, st.integers(0, 2)),
    st.tuples(st.just("calls"), numbers, variances, st.integers(0, 2)),
    st.tuples(st.just("given"), numbers, variances, st.just(0)),
    st.tuples(st.just("resume"), st.just(0.0), st.just(1.0), st.just(0)),
)
DECAYS = (0.0, 0.9, 0.999)


@functools.lru_cache(None)
def playground(use_resource):
    """A graph, made once: for each decay, a step and two calls in no order."""
    graph = tf.Graph()
    with graph.as_default():
        inputs = tf.placeholder(tf.float32, [2, None, 1])
        with tf.variable_scope("net", use_resource=use_resource):
            steps = [FACES["wrapper"](inputs[0], decay) for decay in DECAYS]
            calls = [[FACES["wrapper"](one, d) for one in tf.unstack(inputs)] for d in DECAYS]
        return graph, inputs, steps, calls, tf.global_variables_initializer(), tf.train.Saver()


@settings(max_examples=15)
@given(st.lists(events, min_size=1, max_size=12), st.booleans())
def test_no_history_takes_an_average_out_of_the_range_of_what_was_seen(
    tmp_path_factory, history, use_resource
):
    graph, inputs, steps, calls, initializer, saver = playground(use_resource)
    checkpoint = str(tmp_path_factory.getbasetemp() / "playground.ckpt")
    reference, seen, is_ordered = Reference([0, 1], weight=0), [], True
    with graph.as_default(), contextlib.ExitStack() as stack:
        session = stack.enter_context(tf.Session())
        session.run(initializer)
        for kind, mean, var, which in history:
            batch = batch_with(mean, var)
            if kind == "given":
                as_loaded(session, mean, var)
                variable("pop_weight").load(1.0, session)
                reference, seen, is_ordered = Reference([mean, var], 1), [[mean, var]], True
            elif kind == "resume":
                saver.save(session, checkpoint)
                session = stack.enter_context(tf.Session())
                saver.restore(session, checkpoint)
            elif kind == "step":
                session.run(steps[which], {inputs: [batch, batch]})
                seen.append([mean, var])
                reference.update([mean, var], DECAYS[which])
            else:
                other = batch_with(mean + 1, var + 1)
                session.run(calls[which], {inputs: [batch, other]})
                seen += [[mean, var], [mean + 1, var + 1]]
                is_ordered = False
            if not seen:
                continue
            found = np.ravel(of_statistics(session))
            # A batch's own moments are off by the rounding of its values.
            slack = 1e-5 * (1 + np.abs(seen).max(0)) + [0, 1e-6 * np.abs(seen).max() ** 2]
            assert np.all(found >= np.min(seen, 0) - slack), (found, seen)
            assert np.all(found <= np.max(seen, 0) + slack), (found, seen)
            if is_ordered:
                assert np.all(np.abs(found - reference.values) <= slack), (found, reference.values)
