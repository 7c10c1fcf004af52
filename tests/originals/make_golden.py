"""Writes tests/golden: the results and the checkpoints of TF 1.15's own batch norms.

python -m tests.originals.make_golden        # TF 1.15, in the project's root
"""

import json
import os
import subprocess
import sys
import tempfile

import tensorflow as tf
from tensorflow.python.util import tf_inspect

from tests.originals import (
    cases,
    checkpoints,
    classes,
    exported,
    golden,
    implementations,
    runner,
    small_mnist,
)

PROGRAMS = golden.FOLDER.parent / "programs"


def main():
    golden.FOLDER.mkdir(exist_ok=True)
    functions = implementations.originals()
    results = runner.results(cases.all_cases(), {"original": functions})
    golden.save({case.name: found["original"] for case, found in results})
    checkpoints.write(functions, golden.FOLDER / "checkpoints")
    classes.record()
    exported.write(tf.contrib.layers, str(golden.EXPORTED))
    of_functions = {
        name: signature(original) for name, original in vars(classes.originals()).items()
    }
    golden.SIGNATURES.write_text(json.dumps(of_functions, sort_keys=True) + "\n")
    golden.PROGRAMS.write_text(
        json.dumps({path.stem: printed(path) for path in sorted(PROGRAMS.glob("*.py"))}) + "\n"
    )


def signature(function):
    """Returns pairs of an argument's name and its default, in order, without what has no default.

    A default that is an object, such as an initializer or the ReLU, is recorded as None.
    """
    spec = tf_inspect.getfullargspec(function.__init__ if isinstance(function, type) else function)
    with_defaults = spec.args[len(spec.args) - len(spec.defaults) :]
    plain = [d if isinstance(d, (bool, int, float, str)) else None for d in spec.defaults]
    return {
        "required": [name for name in spec.args if name != "self" and name not in with_defaults],
        "optional": list(zip(with_defaults, plain)),
    }


def printed(program):
    """Returns what a program prints on its last line, in a folder that has a small MNIST_data."""
    with tempfile.TemporaryDirectory() as folder:
        small_mnist.write(os.path.join(folder, "MNIST_data"))
        output = subprocess.check_output(
            [sys.executable, str(program)], cwd=folder, universal_newlines=True
        )
    return json.loads(output.splitlines()[-1])


if __name__ == "__main__":
    main()
