"""The formats, and what all of them have in common. Nothing here imports TensorFlow."""

import importlib
import importlib.util
import pathlib
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np

from console.errors import InputError

# The input of every export: uint8 [n, height, width], 0 for paper and 255 for ink, as in MNIST.
IMAGES = "images"
# The outputs: int64 [n]; float32 [n, classes], which sum to 1; float32 [n, classes].
OUTPUTS = ("classes", "probabilities", "logits")

# Returns the outputs, by name, for images.
Classify = Callable[[np.ndarray], dict[str, np.ndarray]]


class Format(NamedTuple):
    """What can be exported in a format."""

    title: str
    precisions: tuple[str, ...]
    # Whether its runtime is a part of TensorFlow.
    runs_in_tensorflow: bool = True
    # Packages beyond requirements.txt, all in requirements-export.txt.
    packages: tuple[str, ...] = ()

    def check(self, precision: str) -> None:
        """Refuses what can't be exported here.

        Raises:
            InputError: the format does not have the precision, or packages are missing.
        """
        if precision not in self.precisions:
            others = [each for each in FORMATS.values() if precision in each.precisions]
            raise InputError(
                f"--precision: expected {' or '.join(self.precisions)} for {self.title}, found "
                f"{precision}, which {' and '.join(each.title for each in others)} can have"
            )
        missing = [name for name in self.packages if not importlib.util.find_spec(name)]
        if missing:
            raise InputError(
                f"--format: {self.title} needs {' and '.join(missing)}: "
                "pip install -r requirements-export.txt"
            )


FORMATS = {
    "saved_model": Format("SavedModel", ("float32", "bfloat16")),
    "frozen_graph": Format("a frozen graph", ("float32", "bfloat16")),
    "tflite": Format("TFLite", ("float32", "int8")),
    "onnx": Format("ONNX", ("float32",), False, ("tf2onnx", "onnx", "onnxruntime")),
}


def module_of(name: str) -> ModuleType:
    """Returns the module of a format.

    It has `write(served, folder, calibration)`, which writes a `graph.Served` into an empty folder,
    given some training images, and `RUNTIMES`: by name, the functions that load an export from its
    folder and return a `Classify`.
    """
    return importlib.import_module(f"serving.{name}")


def size_of(folder: pathlib.Path) -> int:
    """Returns the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
