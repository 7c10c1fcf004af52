"""Runs the README's two commands on every Python found, and prints a table of the results.

make test-versions                        # all
python3 tests/versions.py 3.12 lowest     # some

Each runs in a fresh clone and a fresh environment, without MNIST, and with the tests in a different
random order, on the newest versions that requirements.txt allows; the oldest of these Pythons also
runs on the lowest. Takes ten minutes per row on two cores. Exits with 1 if a command failed.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
LOWEST = "lowest"


def find_python(version):
    """Returns the path of a Python of this version, or None."""
    pyenv = list(pathlib.Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    newest = max(pyenv, key=lambda path: int(path.parts[-3].split(".")[2]), default=None)
    return str(newest) if newest else shutil.which(f"python{version}")


def lowest_versions():
    """Returns the text of a constraints file with the lowest versions in requirements.txt."""
    text = (PROJECT / "requirements.txt").read_text()
    lines = re.findall(r"^([\w-]+)>=([\d.]+)", text, re.MULTILINE)
    return "".join(f"{name}=={version}.*\n" for name, version in lines)


def try_out(python, seed, constraints=None):
    """Runs `make train` and `make test`; returns a row of the table, and whether they passed."""
    with tempfile.TemporaryDirectory() as folder:
        clone = pathlib.Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", PROJECT, clone], check=True)
        environment = {
            **os.environ,
            "PYTHON": python,
            "MNIST_MIRROR": "http://127.0.0.1:9/",
            "PYTEST_ADDOPTS": f"--random-order-seed={seed}",
        }
        # Neither MNIST, nor the settings of the `make` that runs this program.
        for name in ("MNIST_DIR", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"):
            environment.pop(name, None)
        if constraints:
            (pathlib.Path(folder) / "constraints.txt").write_text(constraints)
            environment["PIP_CONSTRAINT"] = str(pathlib.Path(folder) / "constraints.txt")

        def make(target):
            print(f"{python}: make {target}", file=sys.stderr, flush=True)
            return subprocess.run(
                ["make", target],
                cwd=clone,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

        trained = make("train")
        started = time.monotonic()
        tested = make("test")
        seconds = time.monotonic() - started
        for completed in (trained, tested):
            if completed.returncode:
                print(completed.stdout[-5_000:], file=sys.stderr)
        found = re.findall(r"^=+ (.*(?:passed|failed).*) in .*=+$", tested.stdout, re.MULTILINE)
        accuracy = re.findall(r"test accuracy ([\d.]+)", trained.stdout)
        row = [
            *versions(clone / ".venv/bin/python"),
            "lowest" if constraints else "newest",
            accuracy[-1] if accuracy else "failed",
            found[-1] if found else "failed",
            f"{seconds / 60:.1f}",
        ]
    return row, trained.returncode == tested.returncode == 0


def versions(python):
    """Returns the versions of Python, TensorFlow, Keras and numpy in an environment."""
    if not python.exists():
        return ["?"] * 4
    script = (
        "import platform; from importlib.metadata import version; "
        "print(platform.python_version(), *map(version, ('tensorflow', 'keras', 'numpy')))"
    )
    completed = subprocess.run([python, "-c", script], capture_output=True, text=True)
    return completed.stdout.split() or ["?"] * 4


def main():
    """Tries them all."""
    wanted = sys.argv[1:] or [*PYTHONS, LOWEST]
    pythons = {version: find_python(version) for version in PYTHONS}
    pythons[LOWEST] = next(filter(None, pythons.values()), None)
    for version in sys.argv[1:]:
        if pythons.get(version) is None:
            sys.exit(f"expected some of {', '.join(pythons)}, and a Python for it, found {version}")
    columns = ["Python", "TensorFlow", "Keras", "numpy", "requirements", "`make train`"]
    columns += ["`make test`", "minutes, with installing"]
    print("| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|", sep="\n", flush=True)
    all_passed = True
    for seed, (version, python) in enumerate(pythons.items(), start=1):
        if python is None or version not in wanted:
            continue
        row, passed = try_out(python, seed, lowest_versions() if version == LOWEST else None)
        print("| " + " | ".join(row) + " |", flush=True)
        all_passed &= passed
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())
