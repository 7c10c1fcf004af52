"""Compares the faces of `bn_compat.py` with the originals, and prints a line of JSON.

    python -m tests.originals.compare live      # side by side, in the project's root
    python -m tests.originals.compare recorded  # with what TF 1.15 did, on any TensorFlow
    python -m tests.originals.compare recorded --tf1_behaviour --every=5    # one case in five
    python -m tests.originals.compare recorded --part=2/6    # the second of six parts

`live` compares all cases on TF 1.15; on later versions, with tf_keras and TF_USE_LEGACY_KERAS=1,
those of tf.layers. The line has the number of cases and the largest difference by kind of case.
Differences above their limit are printed first, and make it exit with 1.
"""

import argparse
import sys

import tensorflow.compat.v1 as tf

from tests.originals import cases, golden, implementations, runner


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("original", choices=["live", "recorded"])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--tf1_behaviour", action="store_true")
    arguments = parser.parse_args()
    if arguments.tf1_behaviour:
        tf.disable_v2_behavior()
    table = part_of(cases.all_cases()[:: arguments.every], arguments.part)
    summary = with_live(table) if arguments.original == "live" else with_recorded(table)
    for line in summary.failures + [summary.as_json()]:
        print(line)
    return 1 if summary.failures else 0


def part_of(table, part):
    """Returns neighbours, which are alike, so that what is compiled for one serves others."""
    number, count = map(int, part.split("/"))
    return table[len(table) * (number - 1) // count : len(table) * number // count]


def with_live(table):
    """Compares with the originals of this TensorFlow; only TF 1's ops are named like ours."""
    if not implementations.is_tf1():
        table = [case for case in table if cases.is_as_in_later_versions(case)]
    pair = {"original": implementations.originals(), "face": implementations.faces()}
    summary = runner.Summary(is_about_names=implementations.is_tf1())
    for case, found in runner.results(table, pair):
        summary.add(case, expected=found["original"], actual=found["face"])
    return summary


def with_recorded(table):
    """Compares with what the originals of TF 1.15 did."""
    expected = golden.load()
    summary = runner.Summary()
    for case, found in runner.results(table, {"face": implementations.faces()}):
        summary.add(case, expected=expected[case.name], actual=found["face"])
    return summary


if __name__ == "__main__":
    sys.exit(main())
