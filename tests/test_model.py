"""The two graphs of each network."""

import functools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from networks import optimization

# Smaller than MNIST's, which no test here depends on unless it says so.
SIDE = 8
NETWORKS = [
    model.Network(name, batch_norm, 0.99, 1e-5, precision, image_size=(SIDE, SIDE))
    for name in model.NETWORKS
    for batch_norm in (True, False)
    for precision in ("float32", "bfloat16")
]
IN_FLOAT32 = [network for network in NETWORKS if network.precision == "float32"]
WITH_BATCH_NORM = [network for network in NETWORKS if network.batch_norm]
CNN = WITH_BATCH_NORM[0]
MLP = CNN._replace(name="mlp", hidden_layers=1)
WITHOUT = MLP._replace(batch_norm=False)
BATCH = {
    "images": np.random.default_rng(0).integers(0, 256, [16, SIDE, SIDE], np.uint8),
    "labels": np.arange(16, dtype=np.uint8) % 10,
}


def new_training_graph(network, **settings):
    recipe = model.Recipe(0, 100, "sgd", 1.0, "constant")
    return finalized(model.training_graph(network, recipe._replace(**settings)))


def finalized(graph):
    graph.graph.finalize()
    return graph


# Building a graph takes longer than running it. No test can change these, for they are finalized.
training_graph = functools.cache(new_training_graph)


@functools.cache
def inference_graph(network):
    return finalized(model.inference_graph(network))


@functools.cache
def folded_inference_graph(network):
    return finalized(model.folded_inference_graph(network))


def shapes(graph):
    with graph.as_default():
        return {v.op.name: v.shape.as_list() for v in tf.global_variables()}


def label(network):
    return f"{network.name}-{'bn' if network.batch_norm else 'nobn'}-{network.precision}"


@pytest.mark.parametrize("network", NETWORKS, ids=label)
def test_the_inference_graph_holds_nothing_that_only_training_needs(network):
    graph = inference_graph(network).graph
    nodes = graph.as_graph_def().node
    nodes = [*nodes, *(n for f in graph.as_graph_def().library.function for n in f.node_def)]

    assert {n.name for n in nodes if n.op == "Placeholder"} == {"images", "labels"}
    # Means and variances; control flow, which a phase switch would need; a kernel in training mode.
    batch_statistics = {"Mean", "SquaredDifference", "Var"}
    control_flow = {"If", "StatelessIf", "Switch", "Merge"}
    assert not [n.name for n in nodes if n.op in batch_statistics | control_flow]
    assert not [n.name for n in nodes if "is_training" in n.attr and n.attr["is_training"].b]
    assert not [n.name for n in nodes if "moments" in n.name or "gradients" in n.name]

    last_parts = {name.rpartition("/")[2] for name in shapes(graph)}
    expected = {"weights", "bias"}
    if network.batch_norm:
        expected |= {"scale", "beta", "pop_mean", "pop_var"}
    assert last_parts == expected


@pytest.mark.parametrize("network", [*IN_FLOAT32, CNN._replace(precision="bfloat16")], ids=label)
def test_a_checkpoint_of_the_training_graph_has_all_that_inference_needs(network):
    trained = shapes(training_graph(network).graph)
    needed = shapes(inference_graph(network).graph)
    assert needed.items() <= trained.items()


def test_cnn_is_the_network_of_the_tutorial():
    variables = shapes(inference_graph(CNN._replace(image_size=(28, 28))).graph)
    weights = {name: shape for name, shape in variables.items() if name.endswith("weights")}
    assert weights == {
        "conv1/weights": [5, 5, 1, 32],
        "conv2/weights": [5, 5, 32, 64],
        "dense/weights": [7 * 7 * 64, 1024],
        "logits/weights": [1024, 10],
    }
    # No bias where batch norm follows: its beta is one.
    assert [name for name in variables if name.endswith("bias")] == ["logits/bias"]


def test_mlp_is_the_network_of_the_paper():
    network = CNN._replace(name="mlp", image_size=(28, 28))
    variables = shapes(inference_graph(network).graph)
    weights = {name: shape for name, shape in variables.items() if name.endswith("weights")}
    assert weights == {
        "dense1/weights": [784, 100],
        "dense2/weights": [100, 100],
        "dense3/weights": [100, 100],
        "logits/weights": [100, 10],
    }


def test_without_batch_norm_each_layer_has_a_bias():
    variables = shapes(inference_graph(CNN._replace(batch_norm=False)).graph)
    biases = [name for name in variables if name.endswith("bias")]
    assert biases == ["conv1/bias", "conv2/bias", "dense/bias", "logits/bias"]


def initial_weights(network, **settings):
    graph = training_graph(network, **settings)
    trainable = graph.graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES)
    weights = {v.op.name: v for v in trainable if v.op.name.endswith("weights")}
    with tf.Session(graph=graph.graph) as session:
        session.run(graph.initializer)
        return session.run(weights)


def test_initial_weights_follow_from_the_seed_and_not_from_batch_norm():
    """So runs with and without batch norm start from the same weights."""
    with_bn = initial_weights(CNN)
    without = initial_weights(CNN._replace(batch_norm=False))
    other_seed = initial_weights(CNN._replace(batch_norm=False), seed=2)
    for name, values in with_bn.items():
        np.testing.assert_array_equal(values, without[name])
        assert not np.allclose(values, other_seed[name])
    # He et al.: variance 2 / fan-in.
    fan_in = 2 * 2 * 64
    assert with_bn["dense/weights"].std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.01)


def test_initial_weights_of_a_given_deviation():
    weights = initial_weights(CNN._replace(batch_norm=False), init_stddev=0.3)
    for values in weights.values():
        assert values.std() == pytest.approx(0.3, rel=0.15)


def losses(graph, steps):
    """The loss of the first steps, all on the same batch, with weights that do not move."""
    feed = {graph.images: BATCH["images"], graph.labels: BATCH["labels"]}
    with tf.Session(graph=graph.graph) as session:
        session.run(graph.initializer)
        feed[graph.rate_factor] = 0.0
        return [session.run([graph.loss, graph.train_op], feed)[0] for _ in range(steps)]


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        (CNN._replace(name="small", batch_norm=False), {"dropout": 0.5}),
        (WITHOUT._replace(hidden_layers=2), {"dropout": 0.5}),
        (WITHOUT, {"augment": "affine"}),
        (WITHOUT, {"augment": "elastic"}),
    ],
)
def test_what_is_random_is_a_function_of_seed_and_step(network, settings):
    once = losses(training_graph(network, **settings), 4)
    again = losses(new_training_graph(network, **settings), 4)
    assert once == again, "or a resumed run would not repeat"
    assert len(set(once)) == 4, "each step leaves out other units, or distorts otherwise"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("share", [0.3, 0.004])
def test_dropout_keeps_the_expected_value_and_is_gone_from_inference(precision, share):
    """In bfloat16 too, in which random numbers would be multiples of 1/128."""
    network = CNN._replace(name="small", batch_norm=False, precision=precision)
    graph = training_graph(network, dropout=share)
    dropped = graph.graph.get_tensor_by_name("dense/stateless_dropout/SelectV2:0")
    whole = graph.graph.get_tensor_by_name("dense/Relu:0")
    images = np.repeat(BATCH["images"], 8, axis=0)
    with tf.Session(graph=graph.graph) as session:
        session.run(graph.initializer)
        before, after = session.run([whole, dropped], {graph.images: images})
    before = before.astype(np.float32)
    units = np.sum(before > 0)
    deviation = np.sqrt(share * (1 - share) / units)
    assert np.mean(after[before > 0] == 0) == pytest.approx(share, abs=4 * deviation)
    np.testing.assert_allclose(after[after > 0], before[after > 0] / (1 - share), rtol=1e-5)
    assert "dropout" not in str(inference_graph(network).graph.as_graph_def())


def test_layers_and_seeds_leave_out_other_units():
    masks = []
    for seed in (0, 1):
        settings = {"seed": seed} if seed else {}
        graph = training_graph(WITHOUT._replace(hidden_layers=2), dropout=0.5, **settings)
        names = [f"dense{i}/stateless_dropout/SelectV2:0" for i in (1, 2)]
        with tf.Session(graph=graph.graph) as session:
            session.run(graph.initializer)
            feed = {graph.images: BATCH["images"]}
            masks += [dropped != 0 for dropped in session.run(names, feed)]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert np.mean(one == other) == pytest.approx(0.5, abs=0.1)


def steps_of(graph, count):
    """The initial variables, and those after each step, by name."""
    feed = {graph.images: BATCH["images"], graph.labels: BATCH["labels"]}
    variables = {v.op.name: v for v in graph.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)}
    with tf.Session(graph=graph.graph) as session:
        session.run(graph.initializer)
        seen = [session.run(variables)]
        for _ in range(count):
            session.run(graph.train_op, feed)
            seen.append(session.run(variables))
    return seen


def test_weight_decay_is_decoupled_and_only_of_weights():
    """A step with it is the step without it, after which the weights shrink by a fraction."""
    settings = {"optimizer": "adam", "learning_rate": 0.01}
    (_, without) = steps_of(training_graph(MLP, **settings), 1)
    (_, decayed) = steps_of(training_graph(MLP, **settings, weight_decay=0.5), 1)
    assert without.keys() == decayed.keys()
    for name, value in without.items():
        share = 0.01 * 0.5 if name.endswith("/weights") else 0
        np.testing.assert_allclose(decayed[name], value * (1 - share), rtol=1e-6, err_msg=name)


def test_the_average_of_the_weights_is_that_of_all_steps():
    seen = steps_of(training_graph(MLP, learning_rate=0.01, weight_average=0.5), 6)
    for name in ("dense1/weights", "dense1/batch_norm/scale", "logits/bias"):
        average = seen[0][name]
        for step, values in enumerate(seen[1:], 1):
            decay = min(0.5, (1 + step) / (10 + step))
            average = decay * average + (1 - decay) * values[name]
        kept = seen[-1][f"{name}/ExponentialMovingAverage"]
        np.testing.assert_allclose(kept, average, rtol=1e-5, atol=1e-6, err_msg=name)


def test_smooth_labels_are_for_training_only():
    """The step uses smoothed labels; the loss in the curves uses the labels themselves."""
    feed = {"images:0": BATCH["images"], "labels:0": BATCH["labels"]}
    graph = training_graph(MLP, label_smoothing=0.2)
    (bias,) = [v for v in graph.graph.get_collection("variables") if v.op.name == "logits/bias"]
    with tf.Session(graph=graph.graph) as session:
        session.run(graph.initializer)
        # The loss and the logits before the step.
        loss, logits, _ = session.run([graph.loss, "logits/BiasAdd:0", graph.train_op], feed)
        bias = session.run(bias)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.eye(10)[BATCH["labels"]]
    sharp = -np.log((probabilities * labels).sum(axis=1))
    np.testing.assert_allclose(loss, sharp.mean(), rtol=1e-5)
    # The gradient of cross-entropy with respect to the logits; the bias was 0.
    expected = (0.8 * labels + 0.2 / 10 - probabilities).mean(axis=0)
    np.testing.assert_allclose(bias, expected, rtol=1e-4, atol=1e-6)


def test_a_session_that_begins_again_begins_with_averages_of_the_initial_weights():
    """A rollback before the first checkpoint does this, when the weights are already NaN."""
    graph = training_graph(MLP, learning_rate=0.01, weight_average=0.5)
    variables = {v.op.name: v for v in graph.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)}
    averages = [name for name in variables if name.endswith("/ExponentialMovingAverage")]
    with tf.Session(graph=graph.graph) as session:
        session.run(graph.initializer)
        for variable in variables.values():
            if variable.dtype.is_floating:
                variable.load(np.full(variable.shape, np.nan), session)
        session.run(graph.initializer)
        values = session.run(variables)
    assert len(averages) == 5
    for name in averages:
        np.testing.assert_array_equal(values[name], values[name.rpartition("/")[0]], err_msg=name)


def learning_rates(schedule, train_steps=100):
    graph = training_graph(
        WITHOUT, lr_schedule=schedule, train_steps=train_steps, learning_rate=0.5
    )
    rates = []
    with tf.Session(graph=graph.graph) as session:
        for step in range(train_steps):
            graph.global_step.load(step, session)
            rates.append(session.run(graph.learning_rate))
    return rates


def test_learning_rate_schedules():
    constant, cosine, onecycle = map(learning_rates, ("constant", "cosine", "onecycle"))
    assert set(constant) == {0.5}
    assert cosine[0] == 0.5 and all(np.diff(cosine) < 0) and 0 < cosine[-1] < 0.001
    assert onecycle[0] == pytest.approx(0.05)
    assert int(np.argmax(onecycle)) == 25 and onecycle[25] == pytest.approx(0.5)
    assert all(np.diff(onecycle[25:]) < 0) and 0 < onecycle[-1] < 0.01


@pytest.mark.parametrize("optimizer", optimization.OPTIMIZERS)
def test_every_optimizer_learns_a_batch_by_heart(optimizer):
    rate = {"adam": 0.01, "momentum": 0.1, "sgd": 0.5}[optimizer]
    graph = training_graph(MLP, optimizer=optimizer, learning_rate=rate)
    feed = {graph.images: BATCH["images"], graph.labels: BATCH["labels"]}
    with tf.Session(graph=graph.graph) as session:
        session.run(graph.initializer)
        first = session.run(graph.loss, feed)
        for _ in range(30):
            session.run(graph.train_op, feed)
        assert session.run(graph.global_step) == 30
        assert session.run(graph.loss, feed) < 0.5 * first


@pytest.mark.parametrize("images", [128, 1024])
def test_of_large_layers_the_factors_of_the_gradient_are_exchanged_if_they_are_small(images):
    """A worker that is not alone, but has the whole batch, takes the step of one that is alone."""
    sent = []

    def gather_rows(rows):
        sent.append(rows.shape.as_list()[1])
        return tf.pad(rows, [[0, 3], [0, 0]])

    def add_up_all(tensors):
        sent.extend(tensor.shape.num_elements() for tensor in tensors)
        return list(tensors)

    replica = model.Replica(batch_size=images, gather_rows=gather_rows, add_up_all=add_up_all)
    recipe = model.Recipe(0, 100, "sgd", 1.0, "constant")
    stepped = []
    for graph in (training_graph(CNN), model.training_graph(CNN, recipe, replica)):
        with tf.Session(graph=graph.graph) as session:
            session.run(graph.initializer)
            session.run(
                graph.train_op, {graph.images: BATCH["images"], graph.labels: BATCH["labels"]}
            )
            stepped.append(session.run(graph.graph.get_collection("trainable_variables")))
    assert ([256, 1024] == sent[:2]) == (images == 128)
    assert (256 * 1024 in sent) == (images == 1024)
    for alone, other in zip(*stepped, strict=True):
        np.testing.assert_allclose(other, alone, rtol=0, atol=1e-5 * np.abs(alone).max())


def load(session, values):
    """Gives every variable of the session's graph its value, by name."""
    variables = session.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
    feed = {v.initial_value: values[v.op.name] for v in variables}
    session.run([v.initializer for v in variables], feed)


def test_the_loss_is_finite_where_log_of_softmax_is_not():
    graph = inference_graph(MLP)
    values = {name: np.ones(shape) for name, shape in shapes(graph.graph).items()}
    with tf.Session(graph=graph.graph) as session:
        load(session, {**values, "logits/bias": np.eye(10)[3] * 1000})
        loss = session.run(
            graph.cross_entropy, {graph.images: BATCH["images"], graph.labels: [5] * 16}
        )
    np.testing.assert_allclose(loss, 1000, atol=50)


def test_bfloat16_leaves_statistics_and_weights_in_float32():
    """In the graph that actually runs, after Grappler has rewritten it."""
    graph = training_graph(CNN._replace(precision="bfloat16"), optimizer="adam")
    with tf.Session(graph=graph.graph) as session:
        session.run(graph.initializer)
        ran = tf.RunMetadata()
        session.run(
            graph.train_op,
            {graph.images: BATCH["images"], graph.labels: BATCH["labels"]},
            options=tf.RunOptions(output_partition_graphs=True),
            run_metadata=ran,
        )
    nodes = [node for partition in ran.partition_graphs for node in partition.node]
    in_bfloat16 = [n for n in nodes if n.attr["T"].type == tf.bfloat16.as_datatype_enum]
    kinds = " ".join(n.op for n in in_bfloat16)
    assert all(kind in kinds for kind in ("Conv2DBackpropFilter", "MatMul", "FusedBatchNorm"))
    # U is the type of the kernel's scale, offset, mean and variance.
    kernels = [n for n in in_bfloat16 if "FusedBatchNorm" in n.op]
    assert {n.attr["U"].type for n in kernels} == {tf.float32.as_datatype_enum}
    averages = [n.name for n in in_bfloat16 if "MovingAverage" in n.name]
    updates = [n.name for n in in_bfloat16 if "Adam" in n.name or "Assign" in n.op]
    losses = [n.name for n in in_bfloat16 if "CrossEntropy" in n.op]
    assert not averages + updates + losses


@functools.cache
def answers(build, network):
    """What an inference graph with some weights answers, and all its variables."""
    generator = np.random.default_rng(0)
    values = {
        name: np.abs(1 + generator.normal(size=shape)) / np.prod(shape[:-1])
        for name, shape in shapes(inference_graph(network).graph).items()
    }
    graph = build(network)
    if graph.fold:
        values = graph.fold(values)
    variables = graph.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
    with tf.Session(graph=graph.graph) as session:
        load(session, values)
        return session.run(
            (
                graph.embedding,
                graph.logits,
                graph.probabilities,
                graph.filters,
                {v.op.name: v for v in variables},
            ),
            {graph.images: BATCH["images"], graph.labels: BATCH["labels"]},
        )


@pytest.mark.parametrize("network", WITH_BATCH_NORM, ids=label)
def test_folded_it_is_the_same_function(network):
    _, plain, *_ = answers(inference_graph, network)
    _, folded, *_, variables = answers(folded_inference_graph, network)
    assert not [name for name in variables if "batch_norm" in name]
    tolerance = {"float32": 1e-4, "bfloat16": 0.05}[network.precision]
    np.testing.assert_allclose(folded, plain, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("build", "network"),
    [(inference_graph, network) for network in NETWORKS]
    + [(folded_inference_graph, network) for network in WITH_BATCH_NORM],
)
def test_the_logits_are_made_of_the_embedding_and_the_probabilities_of_the_logits(build, network):
    embedding, logits, probabilities, filters, variables = answers(build, network)
    weights, bias = variables["logits/weights"], variables["logits/bias"]
    first = next(value for name, value in variables.items() if name.endswith("weights"))
    assert {a.dtype for a in (embedding, probabilities, filters)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(embedding @ weights + bias, logits, rtol=1e-3, atol=1e-4)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-6)
    side = SIDE if network.name == "mlp" else 5
    assert filters.shape == (side, side, first.shape[-1])
    np.testing.assert_array_equal(filters.ravel(), first.astype(np.float32).ravel())


@pytest.mark.parametrize(
    "form",
    [([28], 10), ([28, 28], 0), ([28, -1], 10), ([28, True], 10), ([28, 28], 257), ([1e3, 28], 10)],
)
def test_a_record_without_a_sound_form_of_the_data_has_no_network(form):
    flags = {"model": "mlp", "batch_norm": True, "bn_decay": 0.9, "bn_epsilon": 1e-5}
    with pytest.raises(ValueError, match="height and width"):
        data = dict(zip(("image_size", "classes"), form, strict=True))
        model.network_of({**flags, "precision": "float32"}, data)


def _children(graph, scope=""):
    """What TensorBoard shows where this scope is opened."""
    inside = [op.name for op in graph.get_operations() if op.name.startswith(scope)]
    return {name[len(scope) :].split("/")[0] for name in inside}


def test_the_graphs_read_like_the_network_and_a_layer_like_the_algorithm():
    """A node of every layer, no stray ones: these made TensorBoard set the layers aside."""
    layers = {"images", "labels", "scale_pixels", "channel", "conv1", "conv2", "dense", "logits"}
    graph = training_graph(CNN, optimizer="adam", weight_average=0.9).graph
    steps = {"loss", "accuracy", "learning_rate", "train", "global_step"}
    assert _children(graph) == layers | steps | {"initialize", "checkpoint"}
    variables = {"scale", "beta", "pop_mean", "pop_var", "pop_weight"}
    updates = {f"update_{name}" for name in ("pop_mean", "pop_var", "pop_weight")}
    algorithm = {"batch_statistics", "normalize", "weight_of_batch", "population", "updated"}
    outputs = {"EnsureShape", "IdentityN"}
    assert _children(graph, "conv1/batch_norm/") == variables | updates | algorithm | outputs
    results = {"loss", "probabilities", "predictions", "summaries", "filters"}
    assert _children(inference_graph(CNN).graph) == layers | results
