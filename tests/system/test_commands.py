"""The commands as a user runs them: processes, files, exit codes, the lines they print."""

import json
import re
import shutil
import signal

import numpy as np
import pytest

import model
from mnist.datasets import FILES_OF_MNIST
from tests.helpers import (
    DIGITS,
    PROJECT,
    assert_one_line_error,
    assert_same_variables,
    last_line,
    run_command,
    run_from_nothing,
    scalars,
    sessions,
    start_command,
    traced_steps,
    trained_in_one_go,
    variables,
    wait_for,
    write_noise,
)

UNREACHABLE = "http://127.0.0.1:9/"
SHORT = ("--model=mlp", "--train_steps=40", "--eval_every=20", "--save_every=10")


@pytest.mark.parametrize("run", ["small-bn", "small-nobn", "mlp-bn", "mlp-nobn"])
def test_evaluate_reads_the_number_that_train_printed(trained_runs, run):
    folder, lines = trained_runs
    assert re.fullmatch(
        rf"{DIGITS} test accuracy 0\.\d{{4}} \(\d+/\d+\) "
        rf"at step 40, checkpoints/{run}/model\.ckpt-40",
        lines[run],
    )
    evaluated = run_command("evaluate.py", f"--run={run}", "--json=result.json", cwd=folder)
    assert last_line(evaluated) == lines[run]
    first = f"evaluating checkpoints/{run}/model.ckpt-40 on 300 test images of {DIGITS}"
    assert first in evaluated.stderr.splitlines()

    result = json.loads((folder / "result.json").read_text())
    assert f"({result['correct']}/{result['total']})" in lines[run]
    matrix = evaluated.stdout.splitlines()[2:12]
    diagonal = [int(row.split()[1:11][digit].replace(".", "0")) for digit, row in enumerate(matrix)]
    assert sum(diagonal) == result["correct"]


def test_evaluate_takes_the_run_trained_last_the_best_checkpoint_and_other_splits(trained_runs):
    folder, lines = trained_runs
    assert last_line(run_command("evaluate.py", cwd=folder)) == lines["mlp-nobn"]

    record = json.loads((folder / "checkpoints/small-bn/run.json").read_text())
    best = f"checkpoints/small-bn/best.ckpt-{record['best']['step']}"
    evaluated = run_command(
        "evaluate.py", f"--checkpoint={best}.index", "--split=validation", cwd=folder
    )
    accuracy = record["best"]["validation_accuracy"]
    assert f"validation accuracy {accuracy:.4f}" in last_line(evaluated)
    assert last_line(evaluated).endswith(f"at step {record['best']['step']}, {best}")


def test_folded_into_the_weights_batch_norm_changes_no_prediction(trained_runs):
    folder, lines = trained_runs
    folded = run_command("evaluate.py", "--run=small-bn", "--fold_batch_norm", cwd=folder)
    assert last_line(folded) == lines["small-bn"]
    plain = run_command("evaluate.py", "--run=small-bn", cwd=folder)
    assert folded.stdout == plain.stdout, "not one digit moved in the confusion matrix"

    refused = run_command("evaluate.py", "--run=small-nobn", "--fold_batch_norm", cwd=folder)
    assert_one_line_error(refused, 2, "--fold_batch_norm", "checkpoints/small-nobn")


def test_a_run_says_what_its_time_went_into_and_evaluates_every_epoch(tmp_path, data_flags):
    trained = run_command("train.py", "--model=mlp", "--epochs=2", *data_flags, cwd=tmp_path)
    assert last_line(trained).startswith(f"{DIGITS} test accuracy")
    assert re.search(r"mlp-bn: [\d.]+ s of training, .*% evaluation and summaries", trained.stderr)
    checkpoints = sorted(p.name for p in (tmp_path / "checkpoints/mlp-bn").glob("model.*.index"))
    assert checkpoints == ["model.ckpt-16.index", "model.ckpt-8.index"]


def test_a_finished_run_says_so_and_repeats_its_result(trained_runs, data_flags):
    folder, lines = trained_runs
    again = run_command(
        "train.py", "--model=mlp", "--train_steps=40", "--eval_every=20", *data_flags, cwd=folder
    )
    assert last_line(again) == lines["mlp-bn"]
    for advice in ("finished", "--overwrite", "--run=NAME", "onecycle"):
        assert advice in again.stderr
    assert "its curves are not" not in again.stderr


def test_a_finished_run_without_its_curves_says_that_they_are_gone(
    tmp_path, trained_runs, data_flags
):
    folder, lines = trained_runs
    shutil.copytree(folder / "checkpoints", tmp_path / "checkpoints")
    flags = ["--model=mlp", "--train_steps=40", "--eval_every=20", *data_flags]
    again = run_command("train.py", *flags, cwd=tmp_path)
    assert last_line(again) == lines["mlp-bn"]
    assert "finished at step 40, but its curves are not in summaries/mlp-bn" in again.stderr


def test_a_run_is_not_taken_up_with_other_flags(trained_runs, data_flags):
    folder, _ = trained_runs
    before = (folder / "checkpoints/mlp-bn/run.json").read_bytes()
    refused = run_command(
        "train.py", *SHORT, "--learning_rate=0.5", "--seed=7", *data_flags, cwd=folder
    )
    assert_one_line_error(
        refused,
        2,
        "--learning_rate was 0.006, now 0.5",
        "--seed was 0, now 7",
        "--overwrite",
    )
    refused = run_command("train.py", "--model=mlp", "--noresume", *data_flags, cwd=folder)
    assert_one_line_error(refused, 2, "--noresume", "checkpoints/mlp-bn")
    assert (folder / "checkpoints/mlp-bn/run.json").read_bytes() == before


LONG = ("--model=mlp", "--train_steps=300", "--eval_every=50", "--save_every=20")


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory, data_flags):
    return trained_in_one_go(tmp_path_factory, "never-stopped", [*LONG, *data_flags])


@pytest.mark.parametrize(
    ("stop", "exit_code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_stopped_and_resumed_is_never_stopped(tmp_path, never_stopped, data_flags, stop, exit_code):
    flags = [*LONG, *data_flags, "--run=stopped"]
    process = start_command("train.py", *flags, "--overwrite", cwd=tmp_path)
    wait_for(tmp_path / "checkpoints/stopped/model.ckpt-40.index", process)
    process.send_signal(stop)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == exit_code, stderr
    assert stdout == "", "no result before the end"
    if stop != signal.SIGKILL:
        assert stop.name in stderr.splitlines()[-1] and "Traceback" not in stderr
        assert "without --overwrite" in stderr.splitlines()[-1], "which would delete it"

    resumed = run_command("train.py", *flags, cwd=tmp_path)
    assert "resuming" in resumed.stderr
    whole, line = never_stopped
    assert last_line(resumed) == line.replace("whole", "stopped")
    assert_same_variables(
        tmp_path / "checkpoints/stopped/model.ckpt-300",
        whole / "checkpoints/whole/model.ckpt-300",
    )
    assert scalars(tmp_path / "summaries/stopped/validation") == scalars(
        whole / "summaries/whole/validation"
    )
    points = scalars(tmp_path / "summaries/stopped/train")["classification/loss"]
    assert [step for step, _ in points] == list(range(10, 301, 10))
    assert traced_steps(tmp_path / "summaries/stopped/train") == ["step 10"]
    (flags,), ended = sessions(tmp_path / "summaries/stopped")
    assert flags["train_steps"] == 300 and ended == ["STATUS_SUCCESS"]


def test_an_evaluation_that_was_cut_off_is_made_up_for(tmp_path, trained_runs, data_flags):
    """Killed between the last checkpoint and its evaluation."""
    folder, lines = trained_runs
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkpoints/mlp-bn/run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "evaluated_step": 20, "result": None}))
    flags = ["--model=mlp", "--train_steps=40", "--eval_every=20", *data_flags]
    resumed = run_command("train.py", *flags, cwd=tmp_path)
    assert "resuming" in resumed.stderr
    assert last_line(resumed) == lines["mlp-bn"]
    points = scalars(tmp_path / "summaries/mlp-bn/validation")["classification/accuracy"]
    assert [step for step, _ in points] == [0, 1, 2, 4, 8, 16, 20, 40]


def test_a_run_with_a_constant_rate_can_be_made_longer(tmp_path, data_flags):
    flags = ["--model=mlp", "--lr_schedule=constant", "--eval_every=20", *data_flags]
    run_command("train.py", *flags, "--train_steps=20", "--run=longer", cwd=tmp_path)
    longer = run_command("train.py", *flags, "--train_steps=40", "--run=longer", cwd=tmp_path)
    whole = run_command("train.py", *flags, "--train_steps=40", "--run=whole", cwd=tmp_path)
    assert last_line(longer) == last_line(whole).replace("whole", "longer")
    (flags,), ended = sessions(tmp_path / "summaries/longer")
    assert flags["train_steps"] == 40 and ended == ["STATUS_SUCCESS"]


@pytest.mark.parametrize(("steps", "expected"), [(20, [4, 8, 12, 16, 20]), (8, [4, 8])])
def test_early_evaluations_end_with_the_first_on_all_images(tmp_path, data_flags, steps, expected):
    flags = ["--model=mlp", "--lr_schedule=constant", *data_flags]
    run_command("train.py", *flags, f"--train_steps={steps}", "--eval_every=4", cwd=tmp_path)
    run_command("train.py", *flags, "--train_steps=40", "--eval_every=100", cwd=tmp_path)
    points = scalars(tmp_path / "summaries/mlp-bn/validation")["classification/accuracy"]
    assert [step for step, _ in points] == [0, 1, 2, *expected, 40]


def test_early_points_on_a_few_images_have_a_chart_of_their_own(tmp_path, data_flags):
    """In one line with the others they made a bump, which was no change of the network."""
    flags = ["--model=mlp", "--train_steps=8", "--eval_every=4", "--validation_size=300"]
    run_command("train.py", *flags, *data_flags, cwd=tmp_path)
    shown = scalars(tmp_path / "summaries/mlp-bn/validation")
    for metric in ("accuracy", "loss"):
        assert [step for step, _ in shown[f"classification/{metric}"]] == [4, 8]
        assert [step for step, _ in shown[f"early/{metric} of 200 images"]] == [0, 1, 2]


def test_overwrite_starts_afresh(tmp_path, trained_runs, data_flags):
    shutil.copytree(trained_runs[0], tmp_path, dirs_exist_ok=True)
    run_command("evaluate.py", "--run=mlp-bn", "--projector", cwd=tmp_path)
    assert list((tmp_path / "summaries/mlp-bn/projector").iterdir())
    afresh = run_command(
        "train.py", *SHORT, "--train_steps=20", "--overwrite", *data_flags, cwd=tmp_path
    )
    assert "at step 20" in last_line(afresh)
    assert not list((tmp_path / "checkpoints/mlp-bn").glob("*-40*"))
    points = scalars(tmp_path / "summaries/mlp-bn/train")["classification/loss"]
    assert [step for step, _ in points] == [10, 20]
    (flags,), _ = sessions(tmp_path / "summaries/mlp-bn")
    assert flags["train_steps"] == 20
    assert not list((tmp_path / "summaries/mlp-bn/projector").iterdir()), "of the former weights"


def test_overwrite_deletes_nothing_before_the_new_run_begins(tmp_path, trained_runs, data_flags):
    """Stopped before that, it costs nothing."""
    folder, _ = trained_runs
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/mlp-bn/**/*")}
    (tmp_path / "tensorflow.py").write_text("raise KeyboardInterrupt")
    flags = ["--model=mlp", "--overwrite", *data_flags]
    stopped = run_from_nothing("train.py", *flags, cwd=folder, PYTHONPATH=str(tmp_path))
    assert stopped.returncode == 130
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/mlp-bn/**/*")} == before


def test_overwrite_deletes_nothing_but_a_run(tmp_path, data_flags):
    folder = tmp_path / "checkpoints" / "thesis"
    folder.mkdir(parents=True)
    (folder / "chapter1.txt").write_text("irreplaceable")
    for flag in ("--overwrite", "--resume"):
        refused = run_command("train.py", "--run=thesis", flag, *data_flags, cwd=tmp_path)
        assert_one_line_error(refused, 2, "checkpoints/thesis", "run.json")
    assert (folder / "chapter1.txt").read_text() == "irreplaceable"


def test_a_new_run_does_not_touch_the_curves_of_another(tmp_path, trained_runs, data_flags):
    shutil.copytree(trained_runs[0] / "summaries", tmp_path / "summaries")
    before = sorted(tmp_path.glob("summaries/**/events*"))
    flags = [*SHORT, "--checkpoint_dir=elsewhere", *data_flags]
    refused = run_command("train.py", *flags, cwd=tmp_path)
    assert_one_line_error(refused, 2, "summaries/mlp-bn", "--overwrite", "--summary_dir")
    assert sorted(tmp_path.glob("summaries/**/events*")) == before
    assert "at step 40" in last_line(run_command("train.py", *flags, "--overwrite", cwd=tmp_path))


def test_what_the_flags_say_of_the_training_is_what_is_trained(tmp_path, data_flags):
    recipe = model.Recipe(
        seed=7,
        train_steps=2,
        optimizer="momentum",
        learning_rate=0.01,
        lr_schedule="cosine",
        dropout=0.2,
        augment="affine",
        label_smoothing=0.1,
        weight_decay=0.3,
        weight_average=0.9,
        init_stddev=0.04,
    )
    flags = [f"--{name}={value}" for name, value in recipe._asdict().items()]
    flags += ["--model=mlp", "--bn_decay=0.5", "--bn_epsilon=0.25", "--precision=bfloat16"]
    run_command("train.py", *flags, "--batch_size=8", "--run=all", *data_flags, cwd=tmp_path)
    record = json.loads((tmp_path / "checkpoints/all/run.json").read_text())
    assert model.recipe_of(record["flags"]) == recipe
    assert model.network_of(record["flags"], record["dataset"]) == model.Network(
        "mlp", True, 0.5, 0.25, "bfloat16"
    )
    flags += ["--batch_size=8", "--run=all", *data_flags]
    refused = run_command("train.py", *flags, "--augment=none", cwd=tmp_path)
    assert_one_line_error(refused, 2, "--augment was affine, now none")


def test_exact_population_statistics_are_those_of_all_training_images(
    tmp_path, dataset, data_flags
):
    flags = (*SHORT, "--population=exact", "--bn_decay=0.5", *data_flags)
    trained = run_command("train.py", *flags, cwd=tmp_path)
    assert last_line(trained).endswith("checkpoints/mlp-bn/exact.ckpt-40")
    assert last_line(run_command("evaluate.py", cwd=tmp_path)) == last_line(trained)

    exact = variables(tmp_path / "checkpoints/mlp-bn/exact.ckpt-40")
    averaged = variables(tmp_path / "checkpoints/mlp-bn/model.ckpt-40")
    images = dataset.train.images.reshape(-1, 784)
    inputs = images.astype(np.float64) / 255 @ exact["dense1/weights"]
    for name, expected in (("pop_mean", inputs.mean(0)), ("pop_var", inputs.var(0, ddof=1))):
        name = f"dense1/batch_norm/{name}"
        np.testing.assert_allclose(exact[name], expected, rtol=1e-3, atol=1e-3)
        assert not np.allclose(averaged[name], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(exact["logits/weights"], averaged["logits/weights"])


def test_offline_the_first_command_works_and_is_honest(tmp_path):
    """No MNIST, no network: drawn digits, announced loudly and on every result line."""
    trained = run_command("train.py", *SHORT, cwd=tmp_path, MNIST_MIRROR=UNREACHABLE)
    assert last_line(trained).startswith("synthetic test accuracy")
    assert "SYNTHETIC" in trained.stderr and FILES_OF_MNIST in trained.stderr.splitlines()
    again = run_command("train.py", *SHORT, cwd=tmp_path, MNIST_MIRROR=UNREACHABLE)
    assert last_line(again) == last_line(trained)
    about_data, about_run, *hints = again.stderr.splitlines()
    assert "SYNTHETIC" in about_data and "is finished" in about_run
    assert all(line.startswith("to ") for line in hints), "once it has been said"
    evaluated = run_command("evaluate.py", cwd=tmp_path, MNIST_MIRROR=UNREACHABLE)
    assert last_line(evaluated) == last_line(trained)

    missing = run_command(
        "train.py", "--dataset=mnist", "--run=real", cwd=tmp_path, MNIST_MIRROR=UNREACHABLE
    )
    assert missing.returncode == 1
    assert "--dataset=synthetic" in missing.stderr.splitlines()[-1]
    assert not (tmp_path / "checkpoints/real").exists()


def test_a_set_of_ones_own_that_is_not_there_any_more_is_asked_for(tmp_path):
    folder = write_noise(tmp_path / "fashion")
    flags = ["--model=mlp", "--train_steps=5", "--batch_size=8", "--data_dir=fashion"]
    trained = run_command("train.py", *flags, cwd=tmp_path)
    assert last_line(trained).startswith("fashion test accuracy")
    moved = folder.rename(tmp_path / "moved")
    refused = run_command("evaluate.py", cwd=tmp_path, MNIST_MIRROR=UNREACHABLE)
    assert_one_line_error(refused, 2, "--data_dir", "images of fashion")
    moved.rename(folder)
    assert last_line(run_command("evaluate.py", cwd=tmp_path)) == last_line(trained)


def test_drawn_digits_teach_to_read_real_ones(tmp_path, real_mnist):
    """The drawn digits are a credible stand-in: what is learned from them carries over to MNIST."""
    trained = run_command("train.py", "--dataset=synthetic", "--epochs=2", cwd=tmp_path)
    assert last_line(trained).startswith("synthetic test accuracy")
    evaluated = run_command("evaluate.py", f"--data_dir={real_mnist}", cwd=tmp_path)
    assert "was trained on synthetic, is evaluated on mnist" in evaluated.stderr
    accuracy = re.match(r"mnist test accuracy ([\d.]+)", last_line(evaluated))
    assert float(accuracy[1]) >= 0.90


def test_one_epoch_of_mnist_is_labelled_so_and_learned(tmp_path, real_mnist):
    trained = run_command("train.py", "--epochs=1", f"--data_dir={real_mnist}", cwd=tmp_path)
    accuracy = re.match(r"mnist test accuracy ([\d.]+) \(\d+/10000\)", last_line(trained))
    assert float(accuracy[1]) >= 0.97
    assert last_line(run_command("evaluate.py", cwd=tmp_path)) == last_line(trained)


def test_wrong_flags_get_one_line(tmp_path):
    """test_flags.py covers which are wrong."""
    marked, wide = (tmp_path.with_name(f"{name}.flags") for name in ("marked", "wide"))
    marked.write_text("\ufeff--model=mlp\n", encoding="utf-8")
    wide.write_text("--model=mlp\n", encoding="utf-16")
    cases = {
        "--epoch=3": "epochs",
        "--nobatchnorm": "did you mean --nobatch_norm",
        "train": "'train'",
        "--bn_decay=1": "bn_decay",
        "--flagfile=presets/missing.flags": "presets/missing.flags",
        "--flagfile=fast": "presets/ has accurate.flags, ",
        "--batch_norm=no": "--batch_norm: expected --batch_norm or --nobatch_norm, found",
        "--run=checkpoints/cnn-bn": "did you mean --run=cnn-bn?",
        f"--flagfile={marked}": "byte order mark",
        f"--flagfile={wide}": "--flagfile: expected a file in UTF-8",
    }
    for flag, fragment in cases.items():
        refused = run_command("train.py", flag, cwd=tmp_path)
        assert_one_line_error(refused, 2, fragment, "--help")
        assert not list(tmp_path.iterdir())


def test_the_default_network_is_trained_and_read_back(tmp_path, data_flags):
    trained = run_command("train.py", "--train_steps=5", *data_flags, cwd=tmp_path)
    for flags in ([], ["--fold_batch_norm"]):
        evaluated = run_command("evaluate.py", *flags, cwd=tmp_path)
        assert last_line(evaluated) == last_line(trained)
    assert "checkpoints/cnn-bn/model.ckpt-5" in last_line(trained)


def test_the_last_values_that_flags_allow_are_values(tmp_path, data_flags):
    trained = run_command(
        "train.py",
        "--model=mlp",
        "--train_steps=2",
        "--bn_decay=0.99999",
        "--bn_epsilon=1.2e-38",
        "--learning_rate=1.2e-38",
        f"--seed={2**63 - 1}",
        f"--eval_every={10**30}",
        f"--save_every={10**30}",
        *data_flags,
        cwd=tmp_path,
    )
    assert "at step 2" in last_line(trained)
    assert "Warning" not in trained.stderr
    assert last_line(run_command("evaluate.py", cwd=tmp_path)) == last_line(trained)


def test_wrong_input_gets_one_line_before_any_work(tmp_path, data_flags):
    (tmp_path / "file").write_text("not a folder")
    cases = {
        "--json=missing/result.json": "missing/result.json",
        "--json=/proc/result.json": "/proc/result.json",
        "--batch_size=1000000": "1000000",
        "--validation_size=1000000": "--validation_size: expected less than",
        "--summary_dir=file": "file/cnn-bn",
        "--checkpoint_dir=file": "file: expected a folder",
        **{
            f"--{flag}=\udcff": f"--{flag}=\\udcff: expected a path in UTF-8"
            for flag in ("checkpoint_dir", "summary_dir", "data_dir")
        },
    }
    for flag, fragment in cases.items():
        refused = run_command("train.py", *data_flags, flag, cwd=tmp_path)
        assert_one_line_error(refused, 2, fragment)
    assert not list(tmp_path.glob("**/*.ckpt*")) and not list(tmp_path.glob("**/events*"))


def test_what_is_wrong_is_told_without_the_seconds_that_tensorflow_takes(
    tmp_path, trained_runs, data_flags
):
    folder, lines = trained_runs
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    cases = {
        ("train.py", "--epoch=3"): "epochs",
        ("train.py", "--json=missing/result.json"): "missing/result.json",
        ("train.py", "--batch_size=1000000"): "1000000",
        ("train.py", "--model=mlp", "--seed=7"): "--seed was 0, now 7",
        ("evaluate.py", "--run=missing"): "checkpoints/missing",
        ("evaluate.py", "--run=mlp-nobn", "--fold_batch_norm"): "checkpoints/mlp-nobn",
        ("evaluate.py", "--checkpoint=checkpoints/mlp-bn/model.ckpt-1"): "has model.ckpt-40, ",
        ("compare.py", "--study=everything"): "everything",
    }
    for command_line, fragment in cases.items():
        flags = [] if command_line[0] == "evaluate.py" else data_flags
        refused = run_from_nothing(*command_line, *flags, cwd=folder, PYTHONPATH=str(tmp_path))
        assert_one_line_error(refused, 2, fragment)
    flags = ["--model=mlp", "--train_steps=40", "--eval_every=20", *data_flags]
    finished = run_from_nothing("train.py", *flags, cwd=folder, PYTHONPATH=str(tmp_path))
    assert last_line(finished) == lines["mlp-bn"]


def test_no_command_waits_for_keras_which_tensorflow_imports_by_itself(tmp_path, trained_runs):
    folder, lines = trained_runs
    (tmp_path / "keras.py").write_text("raise SystemExit('Keras was imported')")
    evaluated = run_from_nothing(
        "evaluate.py", "--run=mlp-bn", cwd=folder, PYTHONPATH=str(tmp_path)
    )
    assert last_line(evaluated) == lines["mlp-bn"]


def test_evaluate_refuses_what_it_cannot_read(tmp_path, trained_runs):
    assert_one_line_error(run_command("evaluate.py", cwd=tmp_path), 2, "python train.py")

    folder, _ = trained_runs
    shutil.copytree(folder / "checkpoints/mlp-bn", tmp_path / "checkpoints/damaged")
    with open(tmp_path / "checkpoints/damaged/model.ckpt-40.index", "r+b") as file:
        file.truncate(100)
    refused = run_command("evaluate.py", "--run=damaged", cwd=tmp_path)
    assert refused.returncode == 2 and refused.stdout == ""
    assert "model.ckpt-40" in refused.stderr and "Traceback" not in refused.stderr

    refused = run_command("evaluate.py", "--checkpoint=nowhere/model.ckpt-1", cwd=tmp_path)
    assert_one_line_error(refused, 2, "nowhere")


def test_evaluate_refuses_to_write_points_where_it_cannot(tmp_path, trained_runs):
    folder, _ = trained_runs
    (tmp_path / "file").write_text("not a folder")
    flags = ["--run=mlp-bn", "--projector", f"--summary_dir={tmp_path}/file"]
    refused = run_command("evaluate.py", *flags, cwd=folder)
    assert_one_line_error(refused, 2, "file/mlp-bn")


def test_help_lists_every_flag(tmp_path):
    shown = run_command("train.py", "--help", cwd=tmp_path).stdout
    for flag in ("--[no]batch_norm", "--lr_schedule", "--[no]overwrite", "--json"):
        assert flag in shown


RECIPE_OF_THE_TUTORIAL = {
    "batch_size": 50,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "lr_schedule": "constant",
    "bn_decay": 0.99,
    "bn_epsilon": 1e-5,
}


@pytest.mark.parametrize(
    "preset", sorted((PROJECT / "presets").glob("*.flags")), ids=lambda p: p.stem
)
def test_presets_are_accepted(tmp_path, data_flags, preset):
    short = "--epochs=0.25" if "--epochs" in preset.read_text() else "--train_steps=2"
    # Not in bfloat16, which some processors emulate: that takes minutes.
    flags = [f"--flagfile={preset}", short, "--precision=float32", *data_flags]
    trained = run_command("train.py", *flags, cwd=tmp_path)
    assert f"{DIGITS} test accuracy" in last_line(trained)
    if preset.stem == "blog":
        flags = json.loads((tmp_path / "checkpoints/cnn-bn/run.json").read_text())["flags"]
        assert RECIPE_OF_THE_TUTORIAL.items() <= flags.items()
