"""Several runs together, several looks at an image, weights that are averages."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from mnist import datasets, synthetic
from runtime import checkpoints, evaluation
from runtime.evaluation import Evaluator, Outcome
from tests.helpers import (
    assert_one_line_error,
    assert_same_variables,
    command,
    last_line,
    run_command,
    wait_for,
)


def outcome(*probabilities):
    probabilities = np.array(probabilities, np.float32)
    return Outcome(
        np.array([0, 1]), np.argmax(probabilities, axis=1), np.zeros(2, np.float32), probabilities
    )


def of_three(p0, p1, p2):
    return [p0, p1, p2, *[0.0] * 7]


def test_the_mean_of_probabilities_and_the_vote_may_differ():
    sure = outcome(of_three(0.0, 0.0, 1.0), of_three(0.0, 1.0, 0.0))
    unsure = outcome(of_three(0.6, 0.0, 0.4), of_three(0.0, 0.4, 0.6))
    mean = evaluation.combine([sure, unsure, unsure])
    np.testing.assert_array_equal(mean.predictions, [2, 1])
    np.testing.assert_allclose(mean.probabilities[0], of_three(0.4, 0, 0.6), rtol=1e-6)
    np.testing.assert_allclose(mean.cross_entropy, -np.log([0.4, 0.6]), rtol=1e-6)
    vote = evaluation.combine([sure, unsure, unsure], vote=True)
    np.testing.assert_array_equal(vote.predictions, [0, 2])
    level = evaluation.combine([sure, unsure], vote=True)
    np.testing.assert_array_equal(level.predictions, [2, 1])


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    # Of the R package `binom`, and of Wilson's formula by hand at the ends.
    [(5, 10, 0.2366, 0.7634), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_wilson_interval(correct, total, low, high):
    assert evaluation.interval(correct, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("flags", [[], ["--vote"]])
def test_runs_together(trained_runs, data_name, flags):
    folder, lines = trained_runs
    names = ["cnn-bn", "cnn-nobn", "mlp-bn"]
    together = run_command(
        "evaluate.py", f"--run={','.join(names)}", *flags, "--json=all.json", cwd=folder
    )
    last = last_line(together)
    figures = rf"{data_name} test accuracy [\d.]+ \(\d+/\d+\)"
    how = ", by vote" if flags else ""
    assert re.fullmatch(f"{figures} of 3 runs together{how}", last)
    for name in names:
        assert f"{lines[name]}; 95 % interval" in together.stdout, "as the run by itself"
    result = json.loads((folder / "all.json").read_text())
    assert len(result["members"]) == 3 and result["vote"] == bool(flags)
    assert result["correct"] > min(member["correct"] for member in result["members"])


def test_a_distorted_copy_is_another_than_the_next():
    images, labels = synthetic.draw_digits(32, seed=1)
    network = model.Network("mlp", True, 0.9, 1e-5, "float32")
    trained = model.training_graph(network, model.Recipe(0, 1, "adam", 1e-3, "constant"))
    with tf.Session(graph=trained.graph) as session:
        session.run(trained.initializer)
        variables = trained.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
        initial = {variable.op.name: session.run(variable) for variable in variables}
    with Evaluator(model.inference_graph(network, augment="affine")) as evaluator:
        evaluator.load(initial, "the training graph")
        looks = [evaluator.classify(images, labels, i).probabilities for i in (0, 0, 1)]
    np.testing.assert_array_equal(looks[0], looks[1])
    assert np.abs(looks[0] - looks[2]).max(axis=1).min() > 0


@pytest.mark.parametrize("flags", [[], ["--fold_batch_norm"]])
def test_a_checkpoint_of_another_network_is_named(trained_runs, tmp_path, flags):
    """As that of a network which an earlier version built with other layers."""
    shutil.copytree(trained_runs[0] / "checkpoints/mlp-bn", tmp_path / "checkpoints/mlp-bn")
    path = tmp_path / "checkpoints/mlp-bn/run.json"
    record = json.loads(path.read_text())
    record["flags"]["model"] = "small"
    path.write_text(json.dumps(record))
    refused = run_command("evaluate.py", *flags, cwd=tmp_path)
    assert_one_line_error(refused, 2, "checkpoints/mlp-bn/model.ckpt-40")


def test_looking_at_distorted_copies_as_well(trained_runs):
    folder, _ = trained_runs
    looks = [run_command("evaluate.py", "--run=mlp-bn", "--tta=2", cwd=folder) for _ in range(2)]
    assert last_line(looks[0]) == last_line(looks[1])
    assert last_line(looks[0]).endswith("model.ckpt-40, each image and 2 distorted copies of it")
    folded = run_command("evaluate.py", "--run=mlp-bn", "--tta=2", "--fold_batch_norm", cwd=folder)
    assert last_line(folded) == last_line(looks[0])


@pytest.mark.parametrize(
    ("flags", "fragment"),
    [
        (["--run=cnn-bn,mlp-bn", "--projector"], "one run"),
        (["--run=cnn-bn", "--vote"], "--run=a,b,c"),
        (["--run=cnn-bn,../x"], "../x"),
        (["--run=cnn-bn,none"], "none"),
        (["--run=cnn-bn,mlp-bn,cnn-bn"], "once"),
        (["--run=cnn-bn,cnn-nobn", "--fold_batch_norm"], "cnn-nobn was trained without"),
        (["--tta=-1"], "tta"),
    ],
)
def test_what_does_not_go_together_is_refused(trained_runs, flags, fragment):
    assert_one_line_error(run_command("evaluate.py", *flags, cwd=trained_runs[0]), 2, fragment)


def test_averaged_weights_need_statistics_of_their_own(tmp_path, data_flags, data_name):
    """Batch norm's trap: with the statistics of the weights themselves, their average is bad."""
    flags = ["--model=small", "--train_steps=400", "--learning_rate=0.1", "--lr_schedule=constant"]
    flags += ["--weight_average=0.995", *data_flags]
    trained = run_command("train.py", *flags, cwd=tmp_path)
    assert last_line(trained).endswith("checkpoints/small-bn/exact.ckpt-400")
    assert last_line(run_command("evaluate.py", cwd=tmp_path)) == last_line(trained)

    dataset = datasets.load(data_name, data_flags[-1].removeprefix("--data_dir="))
    checkpoint = str(tmp_path / "checkpoints/small-bn/model.ckpt-400")
    run_flags = json.loads((tmp_path / "checkpoints/small-bn/run.json").read_text())["flags"]
    variables = checkpoints.read(checkpoint)
    with Evaluator(model.inference_graph(model.network_of(run_flags))) as evaluator:
        evaluator.load(
            {name: variables.get(name + evaluation.AVERAGE, variables[name]) for name in variables},
            checkpoint,
        )
        with_statistics_of_others = evaluator.classify(*dataset.test)
        evaluator.restore_average(checkpoint, *dataset.train)
        with_its_own = evaluator.classify(*dataset.test)
    assert f"({with_its_own.correct}/" in last_line(trained)
    assert with_its_own.accuracy > with_statistics_of_others.accuracy
    assert with_its_own.loss < 0.9 * with_statistics_of_others.loss


def test_killed_and_resumed_with_all_that_makes_a_run_accurate(tmp_path, data_flags):
    flags = [
        "--model=mlp",
        "--train_steps=300",
        "--save_every=20",
        "--eval_every=150",
        "--augment=elastic",
        "--dropout=0.1",
        "--label_smoothing=0.05",
        "--weight_decay=1e-3",
        "--weight_average=0.99",
        *data_flags,
    ]
    whole = run_command("train.py", *flags, "--run=whole", cwd=tmp_path)
    process = subprocess.Popen(
        command("train.py", *flags, "--run=killed"), cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    wait_for(tmp_path / "checkpoints/killed/model.ckpt-40.index", process)
    process.kill()
    process.wait()
    resumed = run_command("train.py", *flags, "--run=killed", cwd=tmp_path)
    assert "resuming" in resumed.stderr
    assert last_line(resumed) == last_line(whole).replace("whole", "killed")
    for name in ("model.ckpt-300", "exact.ckpt-300"):
        assert_same_variables(
            tmp_path / "checkpoints/killed" / name, tmp_path / "checkpoints/whole" / name
        )


def test_checkpoints_for_inference_are_the_newest_of_their_kind(tmp_path, data_flags):
    """Longer and longer, and stopped before its end: what is evaluated is what was trained last."""
    flags = ["--model=mlp", "--lr_schedule=constant", "--save_every=5", "--eval_every=5"]
    # Without batch norm there is an average of the weights too, but nothing to compute for it.
    flags += ["--weight_average=0.9", "--nobatch_norm", *data_flags]
    for steps in (10, 20):
        run_command("train.py", *flags, f"--train_steps={steps}", cwd=tmp_path)
    folder = tmp_path / "checkpoints/mlp-nobn"
    kept = [path.stem for path in folder.glob("*.index")]
    assert "exact.ckpt-20" in kept
    assert len([name for name in kept if name.startswith("exact")]) == 1
    assert len([name for name in kept if name.startswith("best")]) == 1

    process = subprocess.Popen(
        command("train.py", *flags, "--train_steps=100000"),
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    wait_for(folder / "model.ckpt-40.index", process)
    process.terminate()
    process.wait()
    evaluated = run_command("evaluate.py", cwd=tmp_path)
    assert int(re.search(r"model\.ckpt-(\d+)$", last_line(evaluated))[1]) >= 40
    assert "not with their average" in evaluated.stderr


def test_trained_on_all_images(tmp_path, trained_runs, data_flags):
    flags = ["--model=mlp", "--train_steps=20", "--validation_size=0", *data_flags]
    trained = run_command("train.py", *flags, cwd=tmp_path)
    shutil.copytree(trained_runs[0] / "checkpoints/cnn-bn", tmp_path / "checkpoints/cnn-bn")
    refused = run_command("evaluate.py", "--run=cnn-bn,mlp-bn", "--split=validation", cwd=tmp_path)
    assert_one_line_error(refused, 2, "--split", "mlp-bn")
    evaluated = run_command("evaluate.py", "--run=mlp-bn", cwd=tmp_path)
    assert last_line(evaluated) == last_line(trained)
    record = json.loads((tmp_path / "checkpoints/mlp-bn/run.json").read_text())
    assert record["dataset"]["validation"] == 0 and record["best"] is None
    refused = run_command("evaluate.py", "--run=mlp-bn", "--split=validation", cwd=tmp_path)
    assert_one_line_error(refused, 2, "--split", "validation")
