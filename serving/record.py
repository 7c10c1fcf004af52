"""The record beside an export: which run it is of, and what it answers.

It has no time and no speed in it, so that the same run is exported to the same bytes.
"""

import hashlib
import pathlib
from importlib import metadata
from typing import Any

from console.files import write_json
from serving.formats import FORMATS, IMAGES, OUTPUTS
from storage.checkpoints import Checkpoint
from storage.run import Run
from training import outcomes

FILE = "export.json"
# In a SavedModel, where TensorFlow looks for nothing and keeps what it finds.
EXTRA = "assets.extra"


def path_in(folder: pathlib.Path) -> pathlib.Path:
    """Returns the record's path in an export's folder, or where it would be."""
    extra = folder / EXTRA
    return (extra if extra.is_dir() else folder) / FILE


def write(
    folder: pathlib.Path,
    name: str,
    precision: str,
    run: Run,
    checkpoint: Checkpoint,
    test: dict[str, Any],
    *,
    folded: bool,
) -> dict[str, Any]:
    """Writes the record into an export's folder, and returns it.

    Args:
        folder: the folder, with the export's files.
        name: the format's.
        precision: the export's.
        run: the run, and `checkpoint` the weights of it.
        test: what the export reached on the test images.
        folded: whether batch norms were folded.
    """
    height, width = run.dataset["image_size"]
    classes = run.dataset["classes"]
    shapes = {"classes": ["n"]} | {output: ["n", classes] for output in OUTPUTS[1:]}
    content = {
        "format": name,
        "precision": precision,
        "folded_batch_norm": folded and run.flags["batch_norm"],
        "inputs": {IMAGES: {"dtype": "uint8", "shape": ["n", height, width]}},
        "outputs": {
            output: {"dtype": "int64" if output == "classes" else "float32", "shape": shape}
            for output, shape in shapes.items()
        },
        "checkpoint": {
            "name": checkpoint.name,
            "sha256": run.checkpoints[checkpoint.name] or checkpoint.checksums(),
        },
        "test": test,
        "files": {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
        "exported_with": {
            package: metadata.version(package)
            for package in ("tensorflow", *FORMATS[name].packages)
        },
        "run": outcomes.about(run),
    }
    write_json(path_in(folder), content)
    return content
