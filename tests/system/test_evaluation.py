"""Several runs together, several looks at an image, averaged weights."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

import model
from mnist import datasets, synthetic
from storage import checkpoints, finding, variables
from storage.checkpoints import Checkpoint
from storage.run import load_run
from tests.helpers import (
    DIGITS,
    assert_one_line_error,
    assert_same_variables,
    last_line,
    run_command,
    start_command,
    wait_for,
)
from training import outcomes
from training.evaluator import Evaluator
from training.weights import AVERAGE


@pytest.mark.parametrize("flags", [[], ["--vote"]])
def test_runs_together(trained_runs, dataset, flags):
    folder, lines = trained_runs
    names = ["small-bn", "small-nobn", "mlp-bn"]
    together = run_command(
        "evaluate.py", f"--run={','.join(names)}", *flags, "--json=all.json", cwd=folder
    )
    last = last_line(together)
    figures = rf"{DIGITS} test accuracy [\d.]+ \(\d+/\d+\)"
    how = ", by vote" if flags else ""
    assert re.fullmatch(f"{figures} of 3 runs together{how}", last)
    for name in names:
        assert f"{lines[name]}; 95 % interval" in together.stdout, "as the run by itself"
    result = json.loads((folder / "all.json").read_text())
    assert len(result["members"]) == 3 and result["vote"] == bool(flags)
    several = [look(folder, name, dataset.test) for name in names]
    mean, vote = outcomes.combine(several), outcomes.combine(several, vote=True)
    expected = vote if flags else mean
    assert result["correct"] == expected.correct
    assert outcomes.report(expected) in together.stdout


def look(folder, name, test, distortion=None):
    """The outcome of a run on test images."""
    run, checkpoint = finding.find_checkpoint(str(folder / "checkpoints"), name, None)
    augment = "none" if distortion is None else "affine"
    with Evaluator(
        model.inference_graph(model.network_of(run.flags, run.dataset), augment)
    ) as evaluator:
        evaluator.restore(checkpoint)
        return evaluator.classify(*test, distortion)


@pytest.mark.parametrize("flags", [[], ["--fold_batch_norm"]])
def test_a_checkpoint_of_another_network_is_named(trained_runs, tmp_path, flags):
    """Such as that of a network which an earlier version built with other layers."""
    shutil.copytree(trained_runs[0] / "checkpoints/mlp-bn", tmp_path / "checkpoints/mlp-bn")
    path = tmp_path / "checkpoints/mlp-bn/run.json"
    record = json.loads(path.read_text())
    record["flags"]["model"] = "small"
    path.write_text(json.dumps(record))
    refused = run_command("evaluate.py", *flags, cwd=tmp_path)
    assert_one_line_error(refused, 2, "checkpoints/mlp-bn/model.ckpt-40")


def test_looking_at_distorted_copies_as_well(trained_runs, dataset):
    folder, _ = trained_runs
    flags = ["--run=mlp-bn", "--tta=2", "--json=looks.json"]
    looked = run_command("evaluate.py", *flags, cwd=folder)
    assert last_line(looked).endswith("model.ckpt-40, each image and 2 distorted copies of it")
    assert "was trained without --augment" in looked.stderr
    test = dataset.test
    batches = 3 * math.ceil(len(test.labels) / 1000)
    assert f"test images: step {batches}/{batches}, mlp-bn, 0 s left" in looked.stderr
    several = [look(folder, "mlp-bn", test, distortion) for distortion in (None, 0, 1)]
    expected = outcomes.combine(several)
    assert json.loads((folder / "looks.json").read_text())["correct"] == expected.correct
    assert outcomes.report(expected) in looked.stdout
    assert np.abs(expected.probabilities - several[0].probabilities).max() > 0.01
    folded = run_command("evaluate.py", *flags, "--fold_batch_norm", cwd=folder)
    assert last_line(folded) == last_line(looked)


@pytest.mark.parametrize(
    ("flags", "fragment"),
    [
        (["--run=small-bn,mlp-bn", "--projector"], "one run"),
        (["--run=small-bn", "--vote"], "--run=a,b,c"),
        (["--run=small-bn,../x"], "../x"),
        (["--run=small-bn,none"], "none"),
        (["--run=small-bn,mlp-bn,small-bn"], "once"),
        (["--run=small-bn,small-nobn", "--fold_batch_norm"], "small-nobn was trained without"),
        (["--tta=-1"], "tta"),
    ],
)
def test_what_does_not_go_together_is_refused(trained_runs, flags, fragment):
    assert_one_line_error(run_command("evaluate.py", *flags, cwd=trained_runs[0]), 2, fragment)


def test_averaged_weights_need_statistics_of_their_own(tmp_path, trained_runs, dataset):
    assert_averages_need_their_own_statistics(tmp_path, trained_runs[0], dataset)


def test_averaged_weights_need_statistics_of_their_own_on_mnist(tmp_path, real_mnist):
    flags = ["--model=small", "--train_steps=40", f"--data_dir={real_mnist}"]
    assert last_line(run_command("train.py", *flags, cwd=tmp_path))
    mnist = datasets.load("mnist", str(real_mnist))
    assert_averages_need_their_own_statistics(tmp_path, tmp_path, mnist)


def assert_averages_need_their_own_statistics(tmp_path, folder, dataset):
    """Batch norm's trap: weights in training are their average plus noise (Polyak and Juditsky),
    and noise makes activations larger. So the statistics of the weights themselves are too large
    for their average.
    """
    run, checkpoint = finding.find_checkpoint(str(folder / "checkpoints"), "small-bn", None)
    random = np.random.default_rng(0)
    average, noisy = variables.read(checkpoint), {}
    for name, value in average.items():
        is_noisy = name.endswith("/weights")
        noisy[name] = value + random.normal(0, value.std(), value.shape) if is_noisy else value
    some = dataset.train.images[:1000], dataset.train.labels[:1000]

    with Evaluator(model.inference_graph(model.network_of(run.flags, run.dataset))) as evaluator:
        evaluator.restore(checkpoint)
        without_averages = evaluator.classify(*dataset.test).accuracy
        evaluator.load(noisy, "weights in training")
        evaluator.compute_population(*some)
        in_training = variables.read(evaluator.save(checkpoints.BEST, tmp_path, step=40))
        averages = {
            name + AVERAGE: average[name]
            for name in in_training
            if not name.rpartition("/")[2].startswith("pop_")
        }
        saved = Checkpoint.at(save(tmp_path / "model.ckpt-40", in_training | averages))

        statistics = {name: in_training[name] for name in in_training if "/pop_" in name}
        evaluator.load(average | statistics, "the average, with statistics of the noisy weights")
        with_statistics_of_others = evaluator.classify(*dataset.test).accuracy
        evaluator.restore_average(saved, *some)
        with_its_own = evaluator.classify(*dataset.test).accuracy
    print(f"{with_its_own:.3f} with statistics of its own, {with_statistics_of_others:.3f} without")
    assert with_its_own > with_statistics_of_others + 0.05
    assert with_its_own > without_averages - 0.01


def save(path, values):
    """Writes variables with these values to a checkpoint."""
    with tf.Graph().as_default(), tf.Session() as session:
        variables = {name: tf.Variable(value) for name, value in values.items()}
        session.run(tf.global_variables_initializer())
        return tf.train.Saver(variables).save(session, str(path))


def test_a_run_with_averaged_weights_ends_with_their_statistics(tmp_path, dataset, data_flags):
    flags = ["--model=mlp", "--train_steps=40", "--weight_average=0.9", *data_flags]
    trained = run_command("train.py", *flags, cwd=tmp_path)
    assert last_line(trained).endswith("checkpoints/mlp-bn/exact.ckpt-40")
    assert last_line(run_command("evaluate.py", cwd=tmp_path)) == last_line(trained)

    run = load_run(tmp_path / "checkpoints/mlp-bn")
    with Evaluator(model.inference_graph(model.network_of(run.flags, run.dataset))) as evaluator:
        evaluator.restore_average(Checkpoint.at(run.folder / "model.ckpt-40"), *dataset.train)
        assert f"({evaluator.classify(*dataset.test).correct}/" in last_line(trained)


def test_killed_and_resumed_with_all_that_makes_a_run_accurate(tmp_path, data_flags):
    flags = [
        "--model=mlp",
        "--train_steps=80",
        "--save_every=10",
        "--eval_every=40",
        "--augment=elastic",
        "--dropout=0.1",
        "--label_smoothing=0.05",
        "--weight_decay=1e-3",
        "--weight_average=0.99",
        *data_flags,
    ]
    whole = run_command("train.py", *flags, "--run=whole", cwd=tmp_path)
    process = start_command("train.py", *flags, "--run=killed", cwd=tmp_path)
    wait_for(tmp_path / "checkpoints/killed/model.ckpt-20.index", process)
    process.kill()
    process.wait()
    resumed = run_command("train.py", *flags, "--run=killed", cwd=tmp_path)
    assert "resuming" in resumed.stderr
    assert last_line(resumed) == last_line(whole).replace("whole", "killed")
    for name in ("model.ckpt-80", "exact.ckpt-80"):
        assert_same_variables(
            tmp_path / "checkpoints/killed" / name, tmp_path / "checkpoints/whole" / name
        )


def test_checkpoints_for_inference_are_the_newest_of_their_kind(tmp_path, data_flags):
    """A run made longer twice, then stopped early: what was trained last is what is evaluated."""
    flags = ["--model=mlp", "--lr_schedule=constant", "--save_every=5", "--eval_every=5"]
    # Without batch norm there is an average of the weights too, but no statistics to compute.
    flags += ["--weight_average=0.9", "--nobatch_norm", *data_flags]
    for steps in (10, 20):
        run_command("train.py", *flags, f"--train_steps={steps}", cwd=tmp_path)
    folder = tmp_path / "checkpoints/mlp-nobn"
    kept = [path.stem for path in folder.glob("*.index")]
    assert "exact.ckpt-20" in kept
    assert len([name for name in kept if name.startswith("exact")]) == 1
    assert len([name for name in kept if name.startswith("best")]) == 1

    process = start_command("train.py", *flags, "--train_steps=100000", cwd=tmp_path)
    wait_for(folder / "model.ckpt-40.index", process)
    process.terminate()
    process.wait()
    evaluated = run_command("evaluate.py", cwd=tmp_path)
    assert int(re.search(r"model\.ckpt-(\d+)$", last_line(evaluated))[1]) >= 40
    assert "not with their average" in evaluated.stderr


def test_as_many_validation_images_as_are_asked_for(tmp_path, data_flags):
    flags = ["--model=mlp", "--train_steps=20", "--validation_size=300", *data_flags]
    run_command("train.py", *flags, cwd=tmp_path)
    record = json.loads((tmp_path / "checkpoints/mlp-bn/run.json").read_text())
    assert record["dataset"]["validation"] == 300
    flags = ["--checkpoint=checkpoints/mlp-bn/best.ckpt-20", "--split=validation"]
    accuracy = record["best"]["validation_accuracy"]
    again = last_line(run_command("evaluate.py", *flags, cwd=tmp_path))
    assert f"validation accuracy {accuracy:.4f}" in again and "/300)" in again


def test_trained_on_all_images(tmp_path, trained_runs, data_flags):
    flags = ["--model=mlp", "--train_steps=20", "--validation_size=0", *data_flags]
    trained = run_command("train.py", *flags, cwd=tmp_path)
    shutil.copytree(trained_runs[0] / "checkpoints/small-bn", tmp_path / "checkpoints/small-bn")
    refused = run_command(
        "evaluate.py", "--run=small-bn,mlp-bn", "--split=validation", cwd=tmp_path
    )
    assert_one_line_error(refused, 2, "--split", "mlp-bn")
    evaluated = run_command("evaluate.py", "--run=mlp-bn", cwd=tmp_path)
    assert last_line(evaluated) == last_line(trained)
    record = json.loads((tmp_path / "checkpoints/mlp-bn/run.json").read_text())
    assert record["dataset"]["validation"] == 0 and record["best"] is None
    refused = run_command("evaluate.py", "--run=mlp-bn", "--split=validation", cwd=tmp_path)
    assert_one_line_error(refused, 2, "--split", "validation")


def test_a_folder_of_pictures_is_trained_on_and_found_again(tmp_path):
    images, labels = synthetic.draw_digits(600, seed=1)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / f"drawn/{label}/{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    flags = ["--data_dir=drawn", "--model=mlp", "--train_steps=40"]
    trained = run_command("train.py", *flags, cwd=tmp_path)
    line = last_line(trained)
    correct, total = re.match(r"drawn test accuracy [\d.]+ \((\d+)/(\d+)\)", line).groups()
    assert int(total) in range(90, 101) and int(correct) > 0.5 * int(total)
    assert "reading drawn: picture 600/600" in trained.stderr
    evaluated = run_command("evaluate.py", cwd=tmp_path)
    assert last_line(evaluated) == line
    assert "picture 600" not in evaluated.stderr, "what was read is stored"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "drawn/.pictures.npz").unlink()
    assert last_line(run_command("evaluate.py", cwd=tmp_path)) == line
    assert not (tmp_path / "drawn/.pictures.npz").exists(), "nobody named this folder but a record"
    shutil.move(tmp_path / "drawn", tmp_path / "elsewhere/drawn")
    assert_one_line_error(
        run_command("evaluate.py", cwd=tmp_path), 2, "expected the images of drawn, found none"
    )
    moved = run_command("evaluate.py", "--data_dir=elsewhere/drawn", cwd=tmp_path)
    assert last_line(moved) == line and "was trained on" not in moved.stderr
    (tmp_path / "elsewhere/drawn/3/none.png").write_text("no picture")
    refused = run_command("train.py", "--data_dir=elsewhere/drawn", cwd=tmp_path)
    assert refused.returncode == 2 and refused.stdout == ""
    last = refused.stderr.splitlines()[-1]
    assert "found 1 of 601 that can't: 3/none.png (no picture)" in last
