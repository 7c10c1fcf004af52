"""Tries bn_wrapper.py and bn_compat.py on old and new TensorFlow, and prints a table.

python3 tests/tensorflows.py                  # all that can be installed
python3 tests/tensorflows.py 1.15.5 2.21.0    # some

Each takes a minute or two, in its own environment: what must hold everywhere
(tests/originals/everywhere.py), programs that use the layers (classes.py), and all cases of the
options against the originals' recorded results (compare.py). Exits with 1 if a case failed.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import versions

# The newest Python that each supports and that may be installed here, and the pins it needs.
TENSORFLOWS = {
    "1.15.5": ("3.7", ["protobuf<3.21", "numpy<1.19"]),
    "2.0.4": ("3.7", ["protobuf<3.21", "numpy<1.19"]),
    "2.4.4": ("3.8", ["protobuf<3.21"]),
    "2.8.4": ("3.10", ["protobuf<3.21", "numpy<2"]),
    "2.12.1": ("3.11", ["numpy<2"]),
    "2.15.1": ("3.11", ["numpy<2"]),
    "2.16.2": ("3.11", []),
    "2.19.1": ("3.12", []),
    "2.21.0": ("3.13", []),
}
SCRIPTS = {
    "everywhere": [],
    "classes": ["recorded"],
    "compare": ["recorded", "--tf1_behaviour"],
}


def try_out(tensorflow):
    """Returns a row of the table, and whether all passed, or None where it can't be installed."""
    version, pinned = TENSORFLOWS[tensorflow]
    python = versions.find_python(version)
    if python is None:
        return [tensorflow, version, "no such Python"], None
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", folder], check=True)
        own_python = pathlib.Path(folder, "bin", "python")
        command = [own_python, "-m", "pip", "install", "--quiet", f"tensorflow=={tensorflow}"]
        installed = subprocess.run([*command, *pinned], capture_output=True, text=True)
        if installed.returncode != 0:
            return [tensorflow, version, "can't be installed"], None
        lines, all_passed = [], True
        for script, arguments in SCRIPTS.items():
            print(f"{tensorflow}: {script}", file=sys.stderr, flush=True)
            completed = subprocess.run(
                [own_python, "-m", f"tests.originals.{script}", *arguments],
                cwd=versions.PROJECT,
                env={**os.environ, "TF2_BEHAVIOR": "0"},
                capture_output=True,
                text=True,
            )
            if completed.returncode != 0:
                print(completed.stdout[-3000:], completed.stderr[-3000:], file=sys.stderr)
            all_passed &= completed.returncode == 0
            summary = re.search(r"^{.*}$", completed.stdout, re.MULTILINE)
            lines.append(
                "{failures} of {cases}".format(**json.loads(summary[0])) if summary else "stopped"
            )
    return [tensorflow, version, *lines], all_passed


def main():
    """Tries them all."""
    wanted = sys.argv[1:] or list(TENSORFLOWS)
    unknown = set(wanted) - set(TENSORFLOWS)
    if unknown:
        sys.exit(f"expected some of {', '.join(TENSORFLOWS)}, found {', '.join(sorted(unknown))}")
    columns = ["TensorFlow", "Python", "cases that fail", "programs that differ"]
    columns += ["cases unlike the originals"]
    print("| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|", sep="\n", flush=True)
    outcomes = []
    for tensorflow in wanted:
        row, passed = try_out(tensorflow)
        print("| " + " | ".join(row) + " |", flush=True)
        outcomes.append(passed)
    return 1 if False in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
