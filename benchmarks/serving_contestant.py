"""A process that serves the default network in one way, and measures itself.

python -m benchmarks.serving_contestant "onnx: ONNX Runtime" FOLDER

FOLDER is as `benchmarks.serving` prepares it. Prints a line of JSON: images per second by batch
size, and the class of each test image.
"""

import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np

from console import processor
from console.importing import import_tensorflow
from serving.formats import IMAGES, OUTPUTS, module_of

# Returns the logits [n, 10] of uint8 images [n, 28, 28].
Classifier = Callable[[np.ndarray], np.ndarray]

TEST_IMAGES, EXPORTS, CHECKPOINTS = "images.npy", "exports", "checkpoints"
RUN = "default"
SECONDS = {1: 2.0, 1000: 3.0}  # by batch size


def _of_session(folder: pathlib.Path) -> Classifier:
    import_tensorflow()
    import model
    from storage import finding
    from training.evaluator import Evaluator, network_of_run

    run, checkpoint = finding.find_checkpoint(str(folder / CHECKPOINTS), RUN, None)
    evaluator = Evaluator(model.folded_inference_graph(network_of_run(run)))
    evaluator.restore(checkpoint)
    return evaluator.logits


def _of_export(name: str, runtime: str, folder: pathlib.Path) -> Classifier:
    if not runtime.startswith("ONNX"):
        import_tensorflow()
    place = folder / EXPORTS / RUN / name
    if name == "saved_model":
        (place,) = place.iterdir()
    classify = module_of(name.partition("-")[0]).RUNTIMES[runtime](place)
    return lambda images: classify(images)["logits"]


def _of_pytorch(mode: str, folder: pathlib.Path) -> Classifier:
    from benchmarks import serving_torch

    return serving_torch.classifier(folder, mode)


def _of_pytorchs_onnx(folder: pathlib.Path) -> Classifier:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(folder / "pytorch.onnx"), providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run(OUTPUTS, {IMAGES: images})[OUTPUTS.index("logits")]


def _of_openvino(path: str, folder: pathlib.Path) -> Classifier:
    import openvino

    # Where the processor has bfloat16, it would compute in that.
    in_float32 = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(folder / path), "CPU", in_float32)
    logits = model.output("logits")
    return lambda images: model([images])[logits]


CONTESTANTS: dict[str, Callable[[pathlib.Path], Classifier]] = {
    "this suite's `Session.run`, folded": _of_session,
    "frozen graph in a session": functools.partial(_of_export, "frozen_graph", "a session"),
    "SavedModel in TensorFlow 2": functools.partial(_of_export, "saved_model", "TensorFlow 2"),
    "TFLite": functools.partial(_of_export, "tflite", "TFLite"),
    "TFLite, int8": functools.partial(_of_export, "tflite-int8", "TFLite"),
    "our ONNX in ONNX Runtime": functools.partial(_of_export, "onnx", "ONNX Runtime"),
    "PyTorch's ONNX in ONNX Runtime": _of_pytorchs_onnx,
    "our ONNX in OpenVINO": functools.partial(_of_openvino, f"{EXPORTS}/{RUN}/onnx/model.onnx"),
    "PyTorch's ONNX in OpenVINO": functools.partial(_of_openvino, "pytorch.onnx"),
    "PyTorch, eager": functools.partial(_of_pytorch, "eager"),
    "PyTorch, TorchScript, frozen": functools.partial(_of_pytorch, "TorchScript, frozen"),
    "PyTorch, compile": functools.partial(_of_pytorch, "compile"),
}


def _speed(classify: Classifier, images: np.ndarray, seconds: float) -> float:
    """Returns images per second, after a quarter of the time for what is done once."""
    classify(images)  # compiles, which would use up the quarter
    for share in (0.25, 1.0):
        started, calls = time.perf_counter(), 0
        while time.perf_counter() - started < share * seconds:
            classify(images)
            calls += 1
        speed = calls * len(images) / (time.perf_counter() - started)
    return speed


def main(who: str, where: str) -> None:
    """Measures one contestant."""
    processor.use_onednn()
    folder = pathlib.Path(where)
    images = np.load(folder / TEST_IMAGES)
    classify = CONTESTANTS[who](folder)
    speeds = {size: _speed(classify, images[:size], s) for size, s in SECONDS.items()}
    logits = [classify(images[i : i + 1000]) for i in range(0, len(images), 1000)]
    classes = np.concatenate(logits).argmax(axis=1)
    print(json.dumps({"speeds": speeds, "classes": classes.tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
