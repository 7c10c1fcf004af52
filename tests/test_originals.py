"""Quick comparisons of the faces of `bn_compat.py` with what TF1's batch norms did."""

import numpy as np

from tests.originals import cases, checkpoints, compare, golden, implementations, runner


def test_the_faces_do_what_the_originals_did_in_some_cases():
    """For a quick answer: tests/system covers all of them, and TF1's behaviour too."""
    summary = compare.with_recorded(cases.all_cases()[::40])
    assert not summary.failures, "\n".join(summary.failures)


def test_the_inputs_are_those_that_the_golden_results_are_of():
    np.testing.assert_array_equal(golden.inputs(), golden.saved_inputs())


def test_checkpoints_of_the_originals_go_on_under_the_faces():
    largest = checkpoints.read(implementations.faces(), golden.FOLDER / "checkpoints")
    assert set(largest) == set(checkpoints.LAYERS)
    assert max(largest.values()) <= runner.LIMITS["fused"], largest
