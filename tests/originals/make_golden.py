"""Writes tests/golden: the results and the checkpoints of TF 1.15's own batch norms.

python -m tests.originals.make_golden        # TF 1.15, in the project's root
"""

import json
import subprocess
import sys

from tests.originals import cases, checkpoints, classes, golden, implementations, runner

PROGRAMS = golden.FOLDER.parent / "programs"


def main():
    golden.FOLDER.mkdir(exist_ok=True)
    functions = implementations.originals()
    results = runner.results(cases.all_cases(), {"original": functions})
    golden.save({case.name: found["original"] for case, found in results})
    checkpoints.write(functions, golden.FOLDER / "checkpoints")
    classes.record()
    golden.PROGRAMS.write_text(
        json.dumps({path.stem: printed(path) for path in sorted(PROGRAMS.glob("*.py"))}) + "\n"
    )


def printed(program):
    """Returns what a program prints on its last line."""
    output = subprocess.check_output([sys.executable, str(program)], universal_newlines=True)
    return json.loads(output.splitlines()[-1])


if __name__ == "__main__":
    main()
