"""`predict.py` as people run it: answers, files, what is refused, Ctrl-C."""

import csv
import json
import os
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

import model
from mnist import synthetic
from storage import finding
from tests import processes
from tests.helpers import (
    assert_one_line_error,
    command,
    run_command,
    start_command,
    write_idx,
    write_noise,
)
from training.evaluator import Evaluator


@pytest.fixture(scope="module")
def folder(trained_runs):
    """A folder with trained runs, and pictures of ten drawn digits, in inks that vary."""
    pictures = trained_runs[0] / "pictures"
    pictures.mkdir()
    for number, digit in enumerate(synthetic.draw_digits(10, seed=9)[0]):
        shades = digit if number % 2 else 255 - digit
        Image.fromarray(shades).resize((140, 140), Image.Resampling.NEAREST).save(
            pictures / f"{number}.png"
        )
    return trained_runs[0]


def probabilities_of(folder, run):
    """What a network says of the drawn digits, not by way of `predict.py`."""
    found, checkpoint = finding.find_checkpoint(str(folder / "checkpoints"), run, None)
    images = synthetic.draw_digits(10, seed=9)[0]
    with Evaluator(
        model.inference_graph(model.network_of(found.flags, found.dataset))
    ) as evaluator:
        evaluator.restore(checkpoint)
        return evaluator.values(evaluator.graph.probabilities, images)


def test_answers_are_those_of_the_networks_together(folder):
    predicted = run_command(
        "predict.py",
        "--run=small-bn,mlp-bn",
        "--min_probability=0",
        "--json=said.json",
        "--csv=said.csv",
        "--show=seen.png",
        "pictures",
        cwd=folder,
    )
    assert predicted.returncode == 0, predicted.stderr
    expected = (probabilities_of(folder, "small-bn") + probabilities_of(folder, "mlp-bn")) / 2
    said = json.loads((folder / "said.json").read_text())
    assert [one["run"] for one in said["runs"]] == ["small-bn", "mlp-bn"]
    found = [one["digits"][0]["probabilities"] for one in said["pictures"]]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    for number, line in enumerate(predicted.stdout.splitlines()):
        digit = expected[number].argmax()
        assert line.startswith(f"pictures/{number}.png: {digit} ({expected[number].max():.3f}"[:-2])
    rows = list(csv.DictReader((folder / "said.csv").read_text().splitlines()))
    assert [int(row["digit"]) for row in rows] == expected.argmax(axis=1).tolist()
    with Image.open(folder / "seen.png") as seen:
        assert seen.format == "PNG" and seen.width > 28 * 10


def test_one_unreadable_picture_is_named_and_the_rest_answered(folder):
    (folder / "none.png").write_text("no picture")
    flags = ["--run=small-bn", "--min_probability=0"]
    predicted = run_command("predict.py", "none.png", "pictures/3.png", *flags, cwd=folder)
    assert predicted.returncode == 1
    assert len(predicted.stdout.splitlines()) == 1 and "3.png: " in predicted.stdout
    errors = predicted.stderr.splitlines()
    assert "none.png: can't be read: no picture" in errors
    assert errors[-1] == "predict.py: 1 of 2 can't be read"


def test_from_standard_input(folder):
    piped = processes.Process(
        command("predict.py", "-", "--run=small-bn", "--min_probability=0"),
        folder,
        dict(os.environ),
        stdin=folder / "pictures/3.png",
    )
    stdout, stderr = piped.communicate(timeout=120)
    assert piped.returncode == 0, stderr
    digit = probabilities_of(folder, "small-bn")[3].argmax()
    assert stdout.startswith(f"standard input: {digit} (")


def test_what_to_do_next_is_said(folder):
    two = Image.new("L", (300, 140), 255)
    for left, number in ((0, 2), (150, 4)):
        two.paste(Image.open(folder / f"pictures/{number}.png"), (left, 0))
    two.save(folder / "two.png")
    flags = ["--run=small-bn", "two.png", "pictures/1.png"]
    predicted = run_command("predict.py", "--min_probability=1", *flags, cwd=folder)
    assert predicted.returncode == 0
    assert "two.png: several digits: 2" in predicted.stdout
    assert "1.png: unsure: " in predicted.stdout
    assert "--many" in predicted.stderr and "--show=seen.png" in predicted.stderr
    assert "trained on digits, not on MNIST" in predicted.stderr
    read = run_command("predict.py", "--many", "--min_probability=0", *flags, cwd=folder)
    expected = probabilities_of(folder, "small-bn").argmax(axis=1)
    assert read.stdout.startswith(f"two.png: {expected[2]}{expected[4]} (")
    assert "--many" not in read.stderr


def test_what_is_wrong_is_said_in_a_line(folder, tmp_path):
    for flags, *fragments in (
        ([], "expected pictures, found none", "predict.py my_digit.png"),
        (["pictures", "--json=missing/said.json"], "--json", "missing/said.json"),
        (["pictures", "--show=pictures"], "--show", "pictures"),
        (["pictures", "--min_probability=2"], "min_probability", "[0, 1]"),
        (["pictures", "--run=missing"], "missing", "small-bn"),
    ):
        assert_one_line_error(run_command("predict.py", *flags, cwd=folder), 2, *fragments)
    shutil.copytree(folder / "pictures", tmp_path / "pictures")
    refused = run_command("predict.py", "pictures", cwd=tmp_path)
    assert_one_line_error(refused, 2, "no run in checkpoints; train one: python train.py")


def test_a_network_for_other_images_is_refused(tmp_path, folder):
    write_noise(tmp_path / "wide", size=(8, 20))
    flags = ["--model=mlp", "--train_steps=2", "--batch_size=50", "--data_dir=wide"]
    assert run_command("train.py", *flags, cwd=tmp_path).returncode == 0
    refused = run_command("predict.py", folder / "pictures", cwd=tmp_path)
    assert_one_line_error(refused, 2, "checkpoints/mlp-bn", "28x28", "8x20")


def test_ctrl_c_ends_it_and_leaves_no_files(folder, tmp_path):
    images, labels = synthetic.draw_digits(10, seed=1)
    many = np.tile(images, (3000, 1, 1))
    write_idx(tmp_path / "many", (many, np.tile(labels, 3000)), (images, labels))
    shutil.copytree(folder / "checkpoints", tmp_path / "checkpoints")
    path = "many/train-images-idx3-ubyte.gz"
    process = start_command("predict.py", path, "--json=said.json", cwd=tmp_path)
    process.wait_for_message("trained on digits")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "stopped by Ctrl-C" in process.printed()[1]
    assert not os.path.exists(tmp_path / "said.json")
