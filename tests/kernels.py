"""The table of shapes and kinds in which the fused kernel and the moments must agree."""

import itertools
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from tests.layers import batch_of, run_once


class Form(NamedTuple):
    shape: tuple
    axis: int


class Kind(NamedTuple):
    dtype: str
    unbiased: bool


FORMS = [
    Form((16, 5), -1),
    Form((6, 7, 5), -1),
    Form((4, 6, 7, 5), -1),
    Form((2, 3, 4, 3, 5), -1),
    Form((4, 5, 6, 7), 1),
    Form((2, 3, 5, 3, 2), 2),
]
KINDS = [
    Kind("float32", True),
    Kind("float32", False),
    Kind("float16", True),
    Kind("bfloat16", False),
]
# Every shape once, and of two of them every kind: for the quick tests. tests/system has the others.
SOME = [(form, KINDS[0]) for form in FORMS] + [
    (form, kind) for form in FORMS[::4] for kind in KINDS[1:]
]
OTHERS = [cell for cell in itertools.product(FORMS, KINDS) if cell not in SOME]


def check_that_it_agrees_with_the_moments(form, kind):
    """In outputs, gradients and statistics, though the kernel's own variance is unbiased."""
    values = (batch_of(form.shape) / 5).astype(tf.as_dtype(kind.dtype).as_numpy_dtype)
    options = {"axis": form.axis, "unbiased": kind.unbiased}
    fused, fused_variables = run_once(values, fused=True, **options)
    plain, plain_variables = run_once(values, fused=False, **options)

    # Half precision rounds the result, to 11 or 8 bits, on either path.
    tolerance = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}[kind.dtype]
    for one, other in zip(fused, plain, strict=True):
        one, other = one.astype(np.float64), other.astype(np.float64)
        np.testing.assert_allclose(one, other, atol=tolerance * max(1, np.abs(other).max()))
    for name, value in plain_variables.items():
        assert value.dtype == np.float32, name
        np.testing.assert_allclose(fused_variables[name], value, rtol=2e-5, atol=1e-6)
