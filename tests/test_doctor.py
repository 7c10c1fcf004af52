"""The doctor's rules, asked of graphs of every kind: each fault found, no error for a sound one."""

import functools
import gzip

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import doctor
from console.errors import InputError
from diagnosis import asking, report
from tests.graphs import cases, sources
from tests.graphs.cases import errors, found
from tests.graphs.sources import CHANNELS, WAYS_OF_TODAY

# --- A part of the table of sources and faults; tests/system has all of it ---


@pytest.mark.parametrize("path", cases.OF_1_15[::20], ids=lambda path: path.name[:-8])
def test_graphs_of_tf_1_15(path):
    cases.check_graph_of_1_15(path)


@pytest.mark.parametrize("way, kind", cases.CELLS[::30])
def test_graphs_of_today(way, kind):
    cases.check_graph_of_today(way, kind)


@pytest.mark.parametrize("is_v2", [True, False], ids=["If", "Switch"])
@pytest.mark.parametrize("updates", ["depend", "forgotten"])
def test_both_kinds_of_control_flow(is_v2, updates):
    (tf.enable_control_flow_v2 if is_v2 else tf.disable_control_flow_v2)()
    try:
        with tf.Graph().as_default() as graph, tf.variable_scope("", use_resource=True):
            sources.training(WAYS_OF_TODAY["bn_compat.batch_norm"], "placeholder", updates)
    finally:
        tf.disable_control_flow_v2()
    kinds = {node.op for node in graph.as_graph_def().node}

    assert bool(kinds & {"If", "StatelessIf"}) == is_v2
    assert errors(doctor.diagnose(graph)) == (["BN101"] if updates == "forgotten" else [])


def test_functions_are_looked_into():
    """A layer inside of a function that a graph calls is found there."""
    with tf.Graph().as_default() as graph:
        variables = [tf.get_variable(n, [3], use_resource=True) for n in "abcd"]

        @tf.function
        def normalized(inputs):
            scale, beta, mean, var = variables
            return tf.nn.batch_normalization(inputs, mean, tf.square(var), beta, scale, 1e-3)

        @tf.function
        def by_batch(inputs):
            scale, beta, _, _ = variables
            return tf.nn.batch_normalization(inputs, *tf.nn.moments(inputs, [0]), beta, scale, 1e-3)

        images = tf.placeholder(tf.float32, [None, 3])
        outputs = tf.identity(by_batch(images), name="outputs")
    assert errors(doctor.diagnose(graph, outputs=[outputs])) == ["BN201"]


# --- Each rule: a faulty graph, and its sound twin ---


def small(normalize, loss_of=tf.reduce_sum, train=True):
    """A graph of a dense layer and `normalize`, and its train op."""
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, 5], name="images")
        weights = tf.get_variable("weights", [5, CHANNELS])
        outputs = normalize(tf.matmul(images, weights))
        outputs = tf.identity(outputs, name="outputs")
        train_op = sources.train_op_of(loss_of(tf.square(outputs))) if train else None
    return graph, train_op, outputs


def by_hand(inputs, **options):
    return sources.by_hand(inputs, True, "norm", **options)


def without_updates(inputs):
    """The layer of Keras 3 in a TF1 graph: its averages exist, and nothing updates them."""
    with tf.variable_scope("norm"):
        beta, gamma = sources._parameters(inputs)
        sources._statistics(inputs)
        return tf.nn.batch_normalization(inputs, *tf.nn.moments(inputs, [0]), beta, gamma, 1e-3)


def test_102_averages_that_are_computed_and_not_assigned():
    def unassigned(inputs):
        outputs = without_updates(inputs)
        for average in tf.global_variables("norm/[mv]"):
            tf.add(0.9 * average, 0.1)
        return outputs

    graph, train_op, _ = small(unassigned)
    assert errors(doctor.diagnose(graph, [train_op])) == ["BN102"]


def test_102_a_layer_without_updates():
    graph, train_op, _ = small(without_updates)
    assert errors(doctor.diagnose(graph, [train_op])) == ["BN102"]
    graph, train_op, _ = small(by_hand)
    assert errors(doctor.diagnose(graph, [train_op])) == []


@pytest.mark.parametrize("way", [sources.cond_ema, sources.assign])
def test_103_updates_outside_of_the_branch(way):
    for outside, expected in ((True, ["BN103"]), (False, [])):
        with tf.Graph().as_default() as graph:
            sources.training(
                lambda inputs, phase, name, is_out=outside: way(inputs, phase, name, is_out),
                "placeholder",
            )
        assert errors(doctor.diagnose(graph)) == expected


def test_201_a_phase_that_belongs_to_another_call():
    """A Keras model has a call with a phase, for itself; the program may train another call."""
    with tf.Graph().as_default() as graph:
        phase = tf.placeholder_with_default(False, [], name="phase")
        images = tf.placeholder(tf.float32, [None, 5], name="images")
        with tf.variable_scope("norm", use_resource=True):
            beta, gamma = sources._parameters(images)
            mean, var = sources._statistics(images)
        batch = list(tf.nn.moments(images, [0]))
        updates = [tf.assign(a, 0.9 * a + 0.1 * b) for a, b in zip((mean, var), batch, strict=True)]
        used = tf.cond(phase, lambda: batch, lambda: [tf.identity(v) for v in (mean, var)])
        tf.nn.batch_normalization(images, *used, beta, gamma, 1e-3, name="model")
        outputs = tf.nn.batch_normalization(images, *batch, beta, gamma, 1e-3, name="trained")
        with tf.control_dependencies(updates):
            train_op = sources.train_op_of(tf.reduce_sum(tf.square(outputs)))
    findings = doctor.diagnose(graph, [train_op], [outputs])
    assert {one.severity for one in found(findings, "BN201")} == {"cannot_tell"}


def test_201_a_choice_that_nothing_uses():
    """The phase chooses, and the layer is then given the batch's statistics after all."""

    def normalized(is_used):
        with tf.Graph().as_default() as graph:
            phase = tf.placeholder(tf.bool, [])
            images = tf.placeholder(tf.float32, [None, 5])
            beta, gamma = sources._parameters(images)
            averages = sources._statistics(images)
            batch = list(tf.nn.moments(images, [0]))
            assigned = [
                tf.assign(a, 0.9 * a + 0.1 * b) for a, b in zip(averages, batch, strict=True)
            ]
            updates = tf.cond(phase, lambda: tf.group(*assigned), tf.no_op)
            chosen = tf.cond(phase, lambda: batch, lambda: [tf.identity(v) for v in averages])
            used = chosen if is_used else batch
            outputs = tf.nn.batch_normalization(images, *used, beta, gamma, 1e-3)
            with tf.control_dependencies([updates]):
                train_op = sources.train_op_of(tf.reduce_sum(tf.square(outputs)))
        return errors(doctor.diagnose(graph, [train_op], [outputs]))

    assert "BN201" in normalized(False)
    assert "BN201" not in normalized(True)


def test_202_a_phase_in_an_inference_graph():
    for default, expected in ((None, "warning"), (True, "error"), (False, None)):
        with tf.Graph().as_default() as graph:
            phase = (
                tf.placeholder(tf.bool, [])
                if default is None
                else tf.placeholder_with_default(default, [])
            )
            sources.inference(sources.assign, phase)
        severities = {one.severity for one in found(doctor.diagnose(graph), "BN202")}
        assert severities == ({expected} if expected else set())


def saved(folder, graph, change=None, only=None):
    """Saves a graph's initial values, or changed ones, as a checkpoint; returns its prefix."""
    with graph.as_default(), tf.Session(graph=graph) as session:
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables():
            value = (change or {}).get(variable.op.name.rpartition("/")[2])
            if value is not None:
                variable.load(np.broadcast_to(value, variable.shape), session)
        variables = [v for v in tf.global_variables() if only is None or only(v)]
        return tf.train.Saver(variables).save(
            session, str(folder / "model.ckpt"), write_meta_graph=False
        )


TRAINED = {"global_step": 1000, "b": 0.3, "g": 1.2, "m": 0.5, "v": 2.0}


def test_301_statistics_that_are_not_saved(tmp_path):
    graph, train_op, _ = small(by_hand)
    assert not doctor.diagnose(graph, [train_op], checkpoint=saved(tmp_path, graph, TRAINED))[1:]
    lacking = saved(
        tmp_path, graph, TRAINED, lambda v: v.op.name.rpartition("/")[2] not in ("m", "v")
    )
    assert errors(doctor.diagnose(graph, [train_op], checkpoint=lacking)) == ["BN301"]

    for everything, expected in ((True, []), (False, ["BN301"])):
        graph, train_op, _ = small(by_hand)
        with graph.as_default():
            tf.train.Saver(None if everything else tf.trainable_variables())
        assert errors(doctor.diagnose(graph, [train_op])) == expected


def test_301_a_saver_with_names_of_its_own(tmp_path):
    graph, train_op, _ = small(by_hand)
    with graph.as_default(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver({f"other/{v.op.name}": v for v in tf.global_variables()})
        prefix = saver.save(session, str(tmp_path / "model.ckpt"))
    assert errors(doctor.diagnose(graph, [train_op], checkpoint=prefix)) == []
    assert errors(doctor.diagnose(f"{prefix}.meta", checkpoint=prefix)) == []


def test_a_checkpoint_that_was_cut_off(tmp_path):
    graph, train_op, _ = small(by_hand)
    prefix = saved(tmp_path, graph)
    data = tmp_path / f"{prefix.rpartition('/')[2]}.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:4])
    with pytest.raises(InputError, match="can't be read"):
        doctor.diagnose(graph, [train_op], checkpoint=prefix)


def test_302_statistics_that_are_still_initial(tmp_path):
    graph, train_op, _ = small(by_hand)
    prefix = saved(tmp_path, graph, {**TRAINED, "m": 0.0, "v": 1.0})
    assert errors(doctor.diagnose(graph, [train_op], checkpoint=prefix)) == ["BN302"]
    untrained = saved(tmp_path, graph)
    assert errors(doctor.diagnose(graph, [train_op], checkpoint=untrained)) == []


def test_101_is_doubted_if_the_statistics_have_moved(tmp_path):
    with tf.Graph().as_default() as graph:
        _, train_op = sources.training(sources.by_hand, updates="forgotten")
    assert errors(doctor.diagnose(graph, [train_op])) == ["BN101"]
    prefix = saved(tmp_path, graph, TRAINED)
    findings = doctor.diagnose(graph, [train_op], checkpoint=prefix)
    assert {one.severity for one in found(findings, "BN101")} == {"cannot_tell"}
    prefix = saved(tmp_path, graph, {**TRAINED, "m": 0.0, "v": 1.0})
    findings = doctor.diagnose(graph, [train_op], checkpoint=prefix)
    assert errors(findings) == ["BN101", "BN302"]


def test_303_statistics_of_other_data(tmp_path):
    graph, _, _ = small(lambda inputs: sources.by_hand(inputs, False, "norm"), train=False)
    random = np.random.default_rng(0)
    with graph.as_default(), tf.Session(graph=graph) as session:
        session.run(tf.global_variables_initializer())
        (variable,) = [v for v in tf.global_variables() if v.op.name == "weights"]
        weights = session.run(variable)
    images = random.normal(1.0, 2.0, [500, 5]).astype(np.float32)
    inputs = images @ weights
    values = {"weights": weights, "m": inputs.mean(0), "v": inputs.var(0), "b": 0.3}
    prefix = saved(tmp_path, graph, values)

    def asked(images):
        return doctor.diagnose(graph, checkpoint=prefix, batches=[{"images": images}])

    assert asked(images) == []
    (finding,) = asked(10 * images + 100)
    assert (finding.id, finding.evidence, finding.severity) == ("BN303", "data", "error")


def test_304_a_decay_that_is_too_slow(tmp_path):
    graph, train_op, _ = small(by_hand)
    for steps, is_slow in ((10, True), (1000, False)):
        prefix = saved(tmp_path, graph, {**TRAINED, "global_step": steps})
        findings = found(doctor.diagnose(graph, [train_op], checkpoint=prefix), "BN304")
        assert bool(findings) == is_slow
        if is_slow:
            assert "35%" in findings[0].what  # 0.9 ** 10


@pytest.mark.parametrize(
    "change, severity", [({"v": np.nan}, "error"), ({"v": -1.0}, "error"), ({"g": 0.0}, "note")]
)
def test_305_values_that_cannot_be(tmp_path, change, severity):
    graph, train_op, _ = small(by_hand)
    prefix = saved(tmp_path, graph, {**TRAINED, **change})
    findings = found(doctor.diagnose(graph, [train_op], checkpoint=prefix), "BN305")
    assert [one.severity for one in findings] == [severity]


def test_401_a_layer_that_is_half_frozen():
    def frozen(inputs):
        with tf.variable_scope("", custom_getter=untrainable):
            return by_hand(inputs)

    def untrainable(getter, *arguments, **options):
        return getter(*arguments, **{**options, "trainable": False})

    graph, train_op, _ = small(frozen)
    assert found(doctor.diagnose(graph, [train_op]), "BN401")[0].severity == "warning"
    graph, train_op, _ = small(by_hand)
    assert not found(doctor.diagnose(graph, [train_op]), "BN401")


BIASED = {
    "a bias just before": (lambda inputs, bias: by_hand(inputs + bias), True),
    "a ReLU between": (lambda inputs, bias: by_hand(tf.nn.relu(inputs + bias)), False),
    "a bias for each position": (
        lambda inputs, bias: by_hand(tf.reshape(tf.tile(inputs, [1, 4]) + bias, [-1, 2, 2, 3])),
        False,
    ),
}


@pytest.mark.parametrize("kind", BIASED)
def test_402_a_bias_that_is_taken_out_again(kind):
    build, is_wasted = BIASED[kind]
    size = CHANNELS * (4 if "position" in kind else 1)
    graph, train_op, _ = small(lambda inputs: build(inputs, tf.get_variable("bias", [size])))
    notes = found(doctor.diagnose(graph, [train_op]), "BN402")
    assert [one.severity for one in notes] == (["note"] if is_wasted else [])


def test_403_a_layer_that_is_used_twice_in_a_step():
    def twice(inputs):
        one = sources.by_hand(inputs, True, "norm")
        with tf.variable_scope("", reuse=True):
            return one + sources.by_hand(2 * inputs, True, "norm")

    graph, train_op, _ = small(twice)
    assert found(doctor.diagnose(graph, [train_op]), "BN403")[0].severity == "warning"
    graph, train_op, _ = small(by_hand)
    assert not found(doctor.diagnose(graph, [train_op]), "BN403")


def test_404_another_epsilon_in_inference():
    for epsilon, is_other in ((1e-3, False), (1e-5, True)):
        with tf.Graph().as_default() as graph:
            images, labels = sources.placeholders()
            logits = sources.network(images, True, sources.layers)
            sources.train_op_of(sources.loss_of(logits, labels))
            other = functools.partial(sources.layers, epsilon=epsilon)
            sources.network(images, False, other, reuse=True)
        assert bool(found(doctor.diagnose(graph), "BN404")) == is_other


def test_405_variables_that_must_not_change():
    def penalty(outputs, names):
        chosen = [v for v in tf.global_variables() if v.op.name.rpartition("/")[2] in names]
        return tf.reduce_sum(outputs) + sum(tf.nn.l2_loss(v) for v in chosen)

    for names, severities in ((("weights",), []), (("m",), ["warning"]), (("b",), ["warning"])):
        graph, train_op, _ = small(by_hand, lambda outputs, n=names: penalty(outputs, n))
        findings = found(doctor.diagnose(graph, [train_op]), "BN405")
        assert [one.severity for one in findings] == severities

    def trainable(inputs):
        with tf.variable_scope("norm"):
            beta, gamma = sources._parameters(inputs)
            mean, var = [tf.get_variable(n, [CHANNELS]) for n in "mv"]
            return tf.nn.batch_normalization(inputs, mean, var, beta, gamma, 1e-3)

    graph, train_op, _ = small(trainable)
    assert "BN405" in errors(doctor.diagnose(graph, [train_op]))


def test_406_a_train_op_without_effect():
    with tf.Graph().as_default() as graph:
        logits, train_op = sources.training(sources.by_hand, updates="forgotten")
        dead = tf.group(logits, name="trains_nothing")
        statistics = [v.value() for v in tf.global_variables() if v.op.name.endswith(("/m", "/v"))]
        instead = tf.group(train_op, *statistics, name="tensors_for_updates")
        right = tf.group(train_op, *tf.get_collection(tf.GraphKeys.UPDATE_OPS), name="right")

    assert errors(doctor.diagnose(graph, [dead])) == ["BN406"]
    assert "BN406" in errors(doctor.diagnose(graph, [instead]))
    assert errors(doctor.diagnose(graph, [right])) == []


def test_406_dependencies_that_do_not_reach_the_train_op():
    """A loss that waits for the updates may be fetched; gradients do without its value."""

    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, CHANNELS])
        loss = tf.reduce_sum(tf.square(by_hand(images)))
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            waiting = tf.identity(loss)
        train_op = sources.train_op_of(waiting, "forgotten")

    findings = doctor.diagnose(graph, [train_op])
    assert errors(findings) == []
    assert [one.severity for one in found(findings, "BN406")] == ["warning"]
    assert {one.severity for one in found(findings, "BN101")} == {"cannot_tell"}


def test_101_a_hook_may_run_the_updates_of_one_tower():
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, CHANNELS])
        with tf.variable_scope("towers", reuse=tf.AUTO_REUSE):
            towers = [by_hand(half) for half in tf.split(images, 2)]
        tf.group(*tf.get_collection(tf.GraphKeys.UPDATE_OPS)[:2], name="of_the_first_tower")
        loss = tf.reduce_sum([tf.reduce_sum(tf.square(tower)) for tower in towers])
        train_op = sources.train_op_of(loss, "forgotten")
    findings = doctor.diagnose(graph, [train_op])
    assert {one.severity for one in found(findings, "BN101")} == {"cannot_tell"}


def test_406_dependencies_that_leave_no_trace():
    with tf.Graph().as_default() as graph:
        _, train_op = sources.training(sources.by_hand, updates="constructor")
    findings = doctor.diagnose(graph, [train_op])
    assert errors(findings) == ["BN101"]
    assert [one.severity for one in found(findings, "BN406")] == ["cannot_tell"]


def test_406_statistics_of_the_batch_in_place_of_updates():
    with tf.Graph().as_default() as graph:
        _, train_op = sources.training(sources.by_hand, updates="forgotten")
        means = [op.outputs[0] for op in graph.get_operations() if op.type == "Mean"]
        instead = tf.group(train_op, *means)
    assert "BN406" in errors(doctor.diagnose(graph, [instead]))


def test_407_statistics_over_the_wrong_axes():
    def normalized(axes):
        def way(inputs, _, name):
            with tf.variable_scope(name):
                sizes = [1 if i in axes else n for i, n in enumerate(inputs.shape.as_list())]
                beta, gamma = [tf.get_variable(n, sizes) for n in "bg"]
                mean, var = tf.nn.moments(inputs, axes, keep_dims=True)
                average = tf.get_variable("m", sizes, trainable=False)
                update = tf.assign(average, 0.9 * average + 0.1 * mean)
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
                return tf.nn.batch_normalization(inputs, mean, var, beta, gamma, 1e-3)

        return way

    for axes, is_wrong in (([0, 1, 2], False), ([0], True), ([0, 2, 3], True)):
        with tf.Graph().as_default() as graph:
            sources.training(normalized(axes))
        assert bool(found(doctor.diagnose(graph), "BN407")) == is_wrong


def test_407_a_layer_that_never_normalizes():
    with tf.Graph().as_default() as graph:
        sources.training(sources.layers, phase=False)
    assert {one.severity for one in found(doctor.diagnose(graph), "BN407")} == {"warning"}


# --- What is no batch norm of ours to judge ---


@pytest.mark.parametrize("axes", [[1], [1, 2], [3]], ids=["rows", "instances", "layer"])
def test_other_normalizations_are_none_of_its_business(axes):
    def way(inputs, _, name):
        with tf.variable_scope(name):
            beta, gamma = sources._parameters(inputs)
            mean, var = tf.nn.moments(inputs, axes, keep_dims=True)
            return tf.nn.batch_normalization(inputs, mean, var, beta, gamma, 1e-3)

    with tf.Graph().as_default() as graph:
        sources.training(way)
    assert doctor.diagnose(graph) == []


@pytest.mark.parametrize("way", [sources.layers, sources.by_hand], ids=["fused", "moments"])
def test_201_a_frozen_graph_that_normalizes_with_the_batch(way):
    """Scale and beta of a frozen graph are constants."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        logits = sources.inference(way, True)
        session.run(tf.global_variables_initializer())
        frozen = tf.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), [logits.op.name]
        )
    assert errors(doctor.diagnose(frozen)) == ["BN201"]


def test_a_layer_with_neither_scale_nor_beta():
    """The mean is then added as its negative."""

    def plain(inputs, training):
        with tf.variable_scope("norm", reuse=tf.AUTO_REUSE):
            mean, var = sources._statistics(inputs)
            if training:
                batch = tf.nn.moments(inputs, [0])
                for average, now in zip((mean, var), batch, strict=True):
                    update = tf.assign_sub(average, 0.1 * (average - now))
                    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
                mean, var = batch
            return tf.nn.batch_normalization(inputs, mean, var, None, None, 1e-3)

    for training in (True, False):
        graph, _, outputs = small(lambda inputs, t=training: plain(inputs, t), train=training)
        (layer,) = asking.examine(graph, None, [outputs]).facts.layers
        assert [node.name for node in layer.means] == ["norm/m"]
        assert [node.name for node in layer.variances] == ["norm/v"]
        assert layer.offset is None


def test_a_branch_is_no_op_that_gathers_updates():
    """Updates in a branch pass a scalar out of it, which no program fetches."""

    def way(inputs, phase, name):
        with tf.variable_scope(name):
            beta, gamma = sources._parameters(inputs)
            mean, var = sources._statistics(inputs)
            batch = tf.nn.moments(inputs, [0, 1, 2])

            def updated():
                assigned = [
                    tf.assign(average, 0.9 * average + 0.1 * now)
                    for average, now in zip((mean, var), batch, strict=True)
                ]
                with tf.control_dependencies(assigned):
                    return tf.constant(True)

            update = tf.cond(phase, updated, lambda: tf.constant(False))
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
            used = tf.cond(
                phase, lambda: list(batch), lambda: [tf.identity(v) for v in (mean, var)]
            )
            return tf.nn.batch_normalization(inputs, *used, beta, gamma, 1e-3)

    for updates, expected in (("forgotten", ["BN101"]), ("depend", [])):
        with tf.Graph().as_default() as graph:
            sources.training(way, "placeholder", updates)
        assert errors(doctor.diagnose(graph)) == expected


def test_frozen_and_folded_graphs():
    with tf.Graph().as_default() as graph, tf.Session() as session:
        logits = sources.inference(sources.layers)
        session.run(tf.global_variables_initializer())
        session.run([v.assign(v + 0.25) for v in tf.global_variables()])
        frozen = tf.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), [logits.op.name]
        )
    diagnosis = asking.examine(frozen)
    assert len(diagnosis.facts.layers.all) == 2
    assert diagnosis.findings == []
    with tf.Graph().as_default() as graph:
        tf.nn.conv2d(tf.placeholder(tf.float32, [1, 4, 4, 2]), tf.ones([1, 1, 2, 2]), 1, "SAME")
    assert "no batch norm found" in report.as_text(asking.examine(graph))


# --- Files, names, and the report ---


def test_files_that_are_no_graphs(tmp_path):
    for name, content, expected in (
        ("empty.meta", b"", "an empty file"),
        ("text.meta", b"once upon a time", "16 bytes that are none, or are damaged"),
        ("pointer.pb", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=expected):
            doctor.diagnose(tmp_path / name)
    whole = gzip.decompress((cases.FOLDER / "slim--sound.meta.gz").read_bytes())
    (tmp_path / "cut.meta").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        doctor.diagnose(tmp_path / "cut.meta")
    (tmp_path / "whole.pb").write_bytes(whole)
    with pytest.raises(InputError, match="found a MetaGraphDef"):
        doctor.diagnose(tmp_path / "whole.pb")
    with pytest.raises(InputError, match="No such file"):
        doctor.diagnose(tmp_path / "missing.meta")
    with pytest.raises(TypeError, match="must be a tf.Graph"):
        doctor.diagnose(17)


def test_names_that_are_not_in_the_graph():
    graph, _, _ = small(by_hand)
    with pytest.raises(InputError, match="did you mean outputs"):
        doctor.diagnose(graph, outputs=["output"])
    with pytest.raises(InputError, match="expected the name of an op or tensor"):
        doctor.diagnose(graph, outputs=["outputs:first"])


def test_a_checkpoint_of_another_graph(tmp_path):
    graph, _, _ = small(by_hand)
    prefix = saved(tmp_path, graph, only=lambda v: v.op.name == "weights")
    with tf.Graph().as_default() as other:
        sources.training(sources.layers)
    with pytest.raises(InputError, match="expected a checkpoint of this graph"):
        doctor.diagnose(other, checkpoint=prefix)


def test_check_raises_on_errors():
    graph, train_op, _ = small(without_updates)
    with pytest.raises(doctor.BatchNormError, match="BN102 error: norm: .* cure: "):
        doctor.check(graph, [train_op])
    graph, train_op, _ = small(by_hand)
    doctor.check(graph, [train_op])


def test_asking_leaves_the_graph_as_it_is():
    graph, train_op, _ = small(by_hand)
    before = graph.as_graph_def()
    doctor.diagnose(graph, [train_op], run_steps=1)
    assert graph.as_graph_def() == before


def test_the_report_as_json():
    graph, train_op, outputs = small(without_updates)
    diagnosis = asking.examine(graph, [train_op], [outputs])
    as_json = report.as_json(diagnosis)

    assert as_json["train_ops"] == [train_op.name]
    assert as_json["outputs"] == [outputs.name]
    assert set(as_json["layers"][0]) == {"name", "kind", "training", "statistics", "updates"}
    keys = {"id", "severity", "layer", "evidence", "what", "why", "cure"}
    assert all(set(one) == keys for one in as_json["findings"])


# --- The same questions, answered by running ---


def test_the_structure_and_the_running_agree():
    cases.check_that_running_agrees(cases.built("assign", "towers in training"))
    cases.check_that_running_agrees(cases.built("by hand", "forgotten"))
