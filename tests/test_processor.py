"""What the suite says about the processor it finds."""

import pathlib

import pytest

from console import processor
from training.advice import precision_hint

CPUINFO = """processor\t: 0
model name\t: Some processor
flags\t\t: fpu {features} sse
bugs\t\t: none

processor\t: 1
flags\t\t: fpu
"""


@pytest.mark.parametrize(
    ("names", "precision", "expected"),
    [
        ("avx512f amx_bf16", "float32", "AMX_BF16: --precision=bfloat16"),
        ("avx512f avx512_bf16", "float32", "AVX512_BF16: --precision=bfloat16"),
        ("avx512f", "float32", None),
        ("avx2", "float32", None),
        ("avx512f amx_bf16", "bfloat16", None),
        ("avx512f avx512_bf16", "bfloat16", None),
        ("avx512f", "bfloat16", "will not be faster"),
        ("avx2", "bfloat16", "takes ten times as long; add --precision=float32"),
    ],
)
def test_hints_fit_the_processor(tmp_path, names, precision, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO.format(features=names))
    features = processor.features(path)
    assert features == {"fpu", "sse", *names.split()}
    hint = precision_hint(precision, "cnn", features)
    if expected is None:
        assert hint is None
    else:
        assert expected in hint and "\n" not in hint


def test_where_the_system_does_not_tell_nothing_is_claimed(tmp_path):
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    for path in (tmp_path / "arm", pathlib.Path("/nowhere/cpuinfo")):
        assert processor.features(path) is None
        assert precision_hint("bfloat16", "cnn", processor.features(path)) is None


def test_the_mlp_is_not_told_of_a_precision_that_slows_it_down():
    assert precision_hint("float32", "mlp", frozenset(["avx512_bf16"])) is None
