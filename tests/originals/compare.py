"""Compares the faces of `bn_compat.py` with the originals, live and side by side.

    python -m tests.originals.compare        # in the project's root

On TF 1.15 that is all cases; later, with tf_keras and TF_USE_LEGACY_KERAS=1, those of tf.layers.
Prints a line of JSON: the number of cases and the largest difference by kind of case. Where a
difference is above its limit, says so before, and exits with 1.
"""

import sys

from tests.originals import cases, implementations, runner


def main():
    table = cases.all_cases()
    if not implementations.is_tf1():
        table = [case for case in table if cases.is_as_in_later_versions(case)]
    pair = {"original": implementations.originals(), "face": implementations.faces()}
    summary = runner.Summary()
    for case, found in runner.results(table, pair):
        summary.add(case, expected=found["original"], actual=found["face"])
    for line in summary.failures + [summary.as_json()]:
        print(line)
    return 1 if summary.failures else 0


if __name__ == "__main__":
    sys.exit(main())
