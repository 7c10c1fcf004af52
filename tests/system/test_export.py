"""`export.py`, and programs that load what it wrote, each in a process of its own."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tests import processes
from tests.helpers import (
    DIGITS,
    PROJECT,
    assert_one_line_error,
    last_line,
    made_once,
    run_command,
    run_from_nothing,
    start_command,
    write_noise,
)

HAS_ONNX = all(map(importlib.util.find_spec, ("tf2onnx", "onnx", "onnxruntime")))
needs_onnx = pytest.mark.skipif(
    not HAS_ONNX, reason="needs ONNX: pip install -r requirements-export.txt"
)
EXPORTS = {
    "saved_model": ["--format=saved_model"],
    "frozen_graph": ["--format=frozen_graph"],
    "tflite": ["--format=tflite"],
    "tflite-int8": ["--format=tflite", "--precision=int8"],
    "onnx": ["--format=onnx"],
}
EACH = [pytest.param(name, marks=[needs_onnx] * (name == "onnx")) for name in EXPORTS]


@pytest.fixture(scope="session")
def exported(tmp_path_factory, trained_once):
    """A folder with small-bn in each format, and for each what the command printed and wrote."""

    def export(folder):
        shutil.copytree(trained_once, folder, dirs_exist_ok=True)
        for name, flags in EXPORTS.items():
            if name == "onnx" and not HAS_ONNX:
                continue
            command = ["export.py", "--run=small-bn", *flags, f"--json={name}.json"]
            completed = run_command(*command, cwd=folder)
            assert completed.returncode == 0, completed.stderr
            (folder / f"{name}.out").write_text(completed.stdout)
            (folder / f"{name}.err").write_text(completed.stderr)

    return made_once(tmp_path_factory, "exported", export)


def place(exported, name):
    folder = exported / "exports/small-bn" / name
    return folder / "40" if name == "saved_model" else folder


def record(folder):
    (path,) = folder.rglob("export.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", EACH)
def test_an_export_says_what_it_answers_and_carries_the_record_of_its_run(
    exported, trained_runs, name
):
    *rows, last = (exported / f"{name}.out").read_text().splitlines()
    assert re.match(r"where +accuracy", rows[0]) and rows[1].startswith("evaluate.py, float32")
    result = json.loads((exported / f"{name}.json").read_text())
    folder = place(exported, name)
    assert last.startswith(f"{folder.relative_to(exported)} (")
    assert result["bytes"] == sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    for answers in result["results"][1:]:
        assert answers["total"] == 300
        assert answers["milliseconds_for_one_image"] > 0 and answers["images_per_second"] > 0
        if name != "tflite-int8":
            assert answers["other_classes"] == 0 and answers["largest_logit_difference"] < 1e-3
            correct, total = re.search(r"\((\d+)/(\d+)\)", trained_runs[1]["small-bn"]).groups()
            assert (answers["correct"], answers["total"]) == (int(correct), int(total))
    if name != "tflite-int8":
        assert last.endswith(f"the same class for all 300 {DIGITS} test images")
    assert (exported / f"{name}.err").read_text().splitlines()[-1].startswith("exporting ")

    kept = record(folder)
    assert kept == result["record"]
    of_run = json.loads((exported / "checkpoints/small-bn/run.json").read_text())
    assert kept["run"]["flags"] == of_run["flags"]
    assert kept["run"]["dataset"] == of_run["dataset"]
    assert kept["checkpoint"]["name"] == "model.ckpt-40"
    assert kept["checkpoint"]["sha256"] == of_run["checkpoints"]["model.ckpt-40"]
    assert kept["test"]["dataset"] == DIGITS and kept["test"]["total"] == 300
    assert kept["inputs"] == {"images": {"dtype": "uint8", "shape": ["n", 28, 28]}}


# Of docs/serving.md: the program that serves each format, by a word in it.
PROGRAMS = re.findall(
    r"^```python\n(.*?)^```", (PROJECT / "docs/serving.md").read_text(), re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_the_programs_of_the_document_serve_it(exported, tmp_path, dataset, program):
    """With one image, with many, and with one again."""
    if "onnxruntime" in program and not HAS_ONNX:
        pytest.skip("needs ONNX: pip install -r requirements-export.txt")
    program = program.replace("cnn-bn", "small-bn").replace("1287", "40")
    np.save(tmp_path / "images.npy", dataset.test.images)
    *loading, classifying = program.strip().splitlines()
    printed = run_program(
        "import numpy as np, json\n"
        f"all_images = np.load('{tmp_path}/images.npy')\n"
        + "\n".join(loading)
        + "\nfound = []\n"
        + "for count in (1, len(all_images), 1):\n"
        + "    images = all_images[:count]\n"
        + f"    {classifying}\n"
        + "    found.append(classes.tolist())\n"
        + "print(json.dumps(found))\n",
        cwd=exported,
    )
    one, many, again = json.loads(printed.splitlines()[-1])
    assert one == again == many[:1] and len(many) == 300
    correct = int(np.sum(many == dataset.test.labels))
    assert correct == record(place(exported, "frozen_graph"))["test"]["correct"]


def run_program(text, cwd):
    completed = processes.run([sys.executable, "-c", text], cwd, dict(os.environ))
    assert completed.returncode == 0, completed.stderr[-3000:]
    return completed.stdout


def test_the_signatures_have_names_and_types(exported):
    printed = run_program(
        textwrap.dedent(
            """
            import tensorflow as tf
            loaded = tf.saved_model.load("exports/small-bn/saved_model/40")
            signature = loaded.signatures["serving_default"]
            for each in (signature.structured_input_signature[1], signature.structured_outputs):
                print({k: (v.dtype.name, v.shape.as_list()) for k, v in sorted(each.items())})
            for folder in ("tflite", "tflite-int8"):
                lite = tf.lite.Interpreter(f"exports/small-bn/{folder}/model.tflite")
                print(lite.get_signature_list())
            """
        ),
        cwd=exported,
    )
    inputs, outputs, *lite = printed.splitlines()
    assert inputs == "{'images': ('uint8', [None, 28, 28])}"
    assert outputs == str(
        {
            "classes": ("int64", [None]),
            "logits": ("float32", [None, 10]),
            "probabilities": ("float32", [None, 10]),
        }
    )
    names = {"inputs": ["images"], "outputs": ["classes", "logits", "probabilities"]}
    assert lite == [str({"serving_default": names})] * 2


def test_a_saved_model_is_laid_out_for_tensorflow_serving(exported):
    folder = place(exported, "saved_model")
    assert folder.name == "40" and not list(folder.glob("variables/*")), "all are constants"
    kept = record(folder)["files"]
    assert set(kept) == {"saved_model.pb", "assets.extra/tf_serving_warmup_requests"}


WRITE_AGAIN = """
import pathlib
import sys

sys.path.insert(0, {project!r})
import model
from mnist import datasets
from serving import exporting, formats, graph
from storage import finding, variables

run, checkpoint = finding.find_checkpoint("checkpoints", "small-bn", None)
network = model.network_of(run.flags, run.dataset)
images = datasets.load("mnist", run.data_dir).train.images[: exporting.CALIBRATION_IMAGES]
for name in {names!r}:
    kind, _, precision = name.partition("-")
    folder = pathlib.Path({folder!r}, name)
    folder.mkdir()
    served = graph.served(
        network, variables.read(checkpoint), folded=True, precision=precision or "float32"
    )
    formats.module_of(kind).write(served, folder, images)
"""


def test_the_same_run_is_exported_to_the_same_bytes(exported, tmp_path):
    """Written again by another process, without the comparison."""
    names = [name for name in EXPORTS if (exported / f"{name}.json").exists()]
    program = WRITE_AGAIN.format(project=str(PROJECT), names=names, folder=str(tmp_path))
    run_program(program, cwd=exported)
    for name in names:
        files = record(place(exported, name))["files"]
        assert files
        for path in files:
            again = (tmp_path / name / path).read_bytes()
            assert again == (place(exported, name) / path).read_bytes(), f"{name}/{path}"


@needs_onnx
def test_images_of_another_size_and_averaged_weights(tmp_path):
    """Also unfolded, and with an odd number of pixels to pool."""
    write_noise(tmp_path / "noise", size=(17, 23), classes=12)
    flags = ["--model=small", "--train_steps=5", "--batch_size=8", "--data_dir=noise"]
    flags += ["--precision=bfloat16", "--weight_average=0.9"]
    last_line(run_command("train.py", *flags, cwd=tmp_path))
    for more in ([], ["--nofold_batch_norm"]):
        exported = run_command("export.py", "--format=onnx", *more, cwd=tmp_path)
        assert last_line(exported).endswith("the same class for all 20 noise test images")
        assert "evaluate.py, bfloat16" in exported.stdout
    kept = record(tmp_path / "exports/small-bn/onnx")
    assert kept["checkpoint"]["name"] == "exact.ckpt-5", "as evaluate.py picks it"
    assert kept["outputs"]["logits"]["shape"] == ["n", 12]
    assert kept["folded_batch_norm"]
    assert not record(tmp_path / "exports/small-bn/onnx-unfolded")["folded_batch_norm"]


def test_what_is_in_the_way_is_left_alone(exported, tmp_path):
    shutil.copytree(exported / "checkpoints", tmp_path / "checkpoints")
    shutil.copytree(exported / "exports", tmp_path / "exports")
    flags = ["export.py", "--run=small-bn", "--format=tflite"]
    before = (tmp_path / "exports/small-bn/tflite/model.tflite").stat().st_mtime_ns
    refused = run_command(*flags, cwd=tmp_path)
    assert_one_line_error(refused, 2, "exports/small-bn/tflite", "--overwrite", "--output_dir")
    assert (tmp_path / "exports/small-bn/tflite/model.tflite").stat().st_mtime_ns == before

    (tmp_path / "mine/small-bn/tflite").mkdir(parents=True)
    (tmp_path / "mine/small-bn/tflite/thesis.txt").write_text("irreplaceable")
    refused = run_command(*flags, "--overwrite", "--output_dir=mine", cwd=tmp_path)
    assert_one_line_error(refused, 2, "mine/small-bn/tflite", "something else")
    assert (tmp_path / "mine/small-bn/tflite/thesis.txt").read_text() == "irreplaceable"

    (tmp_path / "file").write_text("")
    refused = run_command(*flags, "--output_dir=file", cwd=tmp_path)
    assert_one_line_error(refused, 2, "file/small-bn", "Not a directory")


def test_wrong_input_is_refused_before_tensorflow_is_imported(trained_once, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    shutil.copytree(trained_once / "checkpoints", tmp_path / "checkpoints")
    data = tmp_path / "checkpoints/small-nobn/model.ckpt-40.data-00000-of-00001"
    content = data.read_bytes()
    data.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    cases = {
        (): "--format must have a value",
        ("--format=keras",): "saved_model|frozen_graph|tflite|onnx",
        ("--format=frozen_graph", "--precision=int8"): "TFLite",
        ("--format=tflite", "--run=missing"): "checkpoints/missing",
        ("--format=tflite", "--run=small-nobn"): "has changed since it was written",
        ("--format=tflite", "--json=missing/result.json"): "missing/result.json",
    }
    for flags, fragment in cases.items():
        refused = run_from_nothing("export.py", *flags, cwd=tmp_path, PYTHONPATH=str(tmp_path))
        assert_one_line_error(refused, 2, fragment)
    assert not (tmp_path / "exports").exists()


def test_a_checkpoint_of_another_network_is_named(trained_once, tmp_path):
    shutil.copytree(trained_once / "checkpoints/small-bn", tmp_path / "checkpoints/foreign")
    path = tmp_path / "checkpoints/foreign/run.json"
    path.write_text(path.read_text().replace('"model": "small"', '"model": "mlp"'))
    refused = run_command("export.py", "--format=frozen_graph", cwd=tmp_path)
    assert refused.returncode == 2 and refused.stdout == ""
    assert "model.ckpt-40: can't be restored into this network" in refused.stderr.splitlines()[-1]
    assert not list((tmp_path / "exports/foreign").iterdir())


@pytest.mark.parametrize("name", ["saved_model", "tflite"])
def test_a_full_disk_ends_it_with_one_line_and_leaves_nothing(trained_once, small_disk, name):
    subprocess.run(["mount", "-o", "remount,size=200k", small_disk], check=True)
    flags = ["--run=small-bn", f"--format={name}", f"--output_dir={small_disk}"]
    stopped = run_command("export.py", *flags, cwd=trained_once)
    assert stopped.returncode == 1 and stopped.stdout == ""
    line = stopped.stderr.splitlines()[-1]
    assert f"{small_disk}/small-bn/{name}" in line and "No space left" in line
    assert "nothing was exported" in line and "Traceback" not in stopped.stderr
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("stop", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_what_was_there(exported, tmp_path, stop, exit_code):
    shutil.copytree(exported / "checkpoints", tmp_path / "checkpoints")
    shutil.copytree(exported / "exports", tmp_path / "exports")
    folder = tmp_path / "exports/small-bn"
    before = sorted(folder.rglob("*"))
    flags = ["--run=small-bn", "--format=frozen_graph", "--overwrite"]
    process = start_command("export.py", *flags, cwd=tmp_path)
    while not list(folder.glob(".frozen_graph.*/*.pb")):
        assert process.poll() is None, process.printed()[1]
    process.send_signal(stop)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == exit_code and stdout == ""
    assert stderr.splitlines()[-1].endswith(f"{stop.name}, nothing was exported")
    assert sorted(folder.rglob("*")) == before


def test_tensorflow_1_15_loads_it_too(exported, tf115_python):
    program = """
import numpy as np, tensorflow as tf
with tf.Session(graph=tf.Graph()) as session:
    loaded = tf.saved_model.load(session, ["serve"], "exports/small-bn/saved_model/40")
    outputs = loaded.signature_def["serving_default"].outputs
    images = np.zeros([2, 28, 28], np.uint8)
    print(session.run(outputs["classes"].name, {"images:0": images}).tolist())
"""
    completed = subprocess.run(
        [tf115_python, "-c", program], cwd=exported, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr[-2000:]
    assert len(json.loads(completed.stdout)) == 2
