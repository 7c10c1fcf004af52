"""The results of the originals, kept in a file for machines without TF 1.15."""

import json
import pathlib

import numpy as np

from tests.originals import cases, runner

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "golden"
RESULTS = FOLDER / "results.npz"
PROGRAMS = FOLDER / "programs.json"
SIGNATURES = FOLDER / "signatures.json"
EXPORTED = FOLDER / "exported"  # .meta and .json


def save(results):
    """Writes a dict of `Result`s by the name of the case.

    All values form one vector: its many equal stretches take no room in a compressed file, but
    thousands of small arrays would.
    """
    contents = {
        name: {
            "facts": result.facts,
            "values": [[key, np.shape(result.values[key])] for key in sorted(result.values)],
        }
        for name, result in results.items()
    }
    vector = np.concatenate(
        [
            np.asarray(results[name].values[key], np.float64).ravel()
            for name in sorted(contents)
            for key, _ in contents[name]["values"]
        ]
    )
    np.savez_compressed(
        str(RESULTS), contents=json.dumps(contents, sort_keys=True), values=vector, inputs=inputs()
    )


def load():
    """Returns what `save` was given."""
    with np.load(str(RESULTS)) as stored:
        contents, rest = json.loads(str(stored["contents"])), stored["values"]
    results = {}
    for name in sorted(contents):
        values = {}
        for key, shape in contents[name]["values"]:
            size = int(np.prod(shape))
            values[key], rest = rest[:size].reshape(shape), rest[size:]
        results[name] = runner.Result(contents[name]["facts"], values)
    return results


def inputs():
    """Returns the inputs of all cases as one vector."""
    return np.concatenate(
        [
            cases.batch(shape, dtype, step).ravel()
            for shape in cases.SHAPES.values()
            for dtype in ("float16", "float32", "float64")
            for step in range(1, runner.INFERENCE_STEP + 1)
        ]
    )


def saved_inputs():
    """Returns what `inputs` returned when the file was written."""
    with np.load(str(RESULTS)) as stored:
        return stored["inputs"]


def signatures():
    """Returns the arguments that TF 1.15's functions take, by their names: see make_golden.py."""
    return json.loads(SIGNATURES.read_text())


def programs():
    """Returns what the programs of tests/programs printed on TF 1.15, by their names."""
    return json.loads(PROGRAMS.read_text())
