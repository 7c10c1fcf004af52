"""Writes tests/golden: what TF 1.15's originals do in all cases, and checkpoints of theirs.

python -m tests.originals.make_golden        # TF 1.15, in the project's root
"""

from tests.originals import cases, checkpoints, golden, implementations, runner


def main():
    golden.FOLDER.mkdir(exist_ok=True)
    functions = implementations.originals()
    results = runner.results(cases.all_cases(), {"original": functions})
    golden.save({case.name: found["original"] for case, found in results})
    checkpoints.write(functions, golden.FOLDER / "checkpoints")


if __name__ == "__main__":
    main()
