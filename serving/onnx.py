"""ONNX: for ONNX Runtime, OpenVINO and others."""

import pathlib
from typing import TYPE_CHECKING

import numpy as np

from serving.formats import IMAGES, OUTPUTS, Classify

if TYPE_CHECKING:
    from serving.graph import Served

FILE = "model.onnx"
OPSET = 18


def write(served: "Served", folder: pathlib.Path, calibration: np.ndarray) -> None:
    """Writes the model."""
    import tf2onnx

    from serving import onnx_graphs

    names = {f"{name}:0": name for name in (IMAGES, *OUTPUTS)}
    model, _ = tf2onnx.convert.from_graph_def(
        served.graph_def,
        input_names=[f"{IMAGES}:0"],
        output_names=[f"{name}:0" for name in OUTPUTS],
        opset=OPSET,
        tensors_to_rename=names,
    )
    onnx_graphs.tidy(model)
    (folder / FILE).write_bytes(model.SerializeToString(deterministic=True))


def in_onnx_runtime(folder: pathlib.Path) -> Classify:
    """Loads it into ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / FILE), providers=["CPUExecutionProvider"])
    return lambda batch: dict(zip(OUTPUTS, session.run(OUTPUTS, {IMAGES: batch}), strict=True))


RUNTIMES = {"ONNX Runtime": in_onnx_runtime}
