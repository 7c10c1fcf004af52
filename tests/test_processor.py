"""What the suite says about the processor it finds."""

import pathlib

import pytest

from runtime import processor
from tests.helpers import run_command

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
    hint = processor.precision_hint(precision, features)
    if expected is None:
        assert hint is None
    else:
        assert expected in hint and "\n" not in hint


def test_where_the_system_does_not_tell_nothing_is_claimed(tmp_path):
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    for path in (tmp_path / "arm", pathlib.Path("/nowhere/cpuinfo")):
        assert processor.features(path) is None
        assert processor.precision_hint("bfloat16", processor.features(path)) is None


@pytest.mark.skipif(
    "avx2" not in (processor.features() or ()), reason="oneDNN needs an x86 processor with AVX2"
)
@pytest.mark.parametrize("chosen", [None, "0"])
def test_tensorflow_computes_with_onednn_unless_the_user_turned_it_off(
    tmp_path, monkeypatch, chosen
):
    """TensorFlow leaves it off on processors without AVX512_VNNI or newer, at half the speed."""
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if chosen:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", chosen)
    flags = ["--model=small", "--dataset=synthetic", "--train_steps=1", "--verbosity=1"]
    completed = run_command("train.py", *flags, cwd=tmp_path)
    assert ("oneDNN custom operations are on" in completed.stderr) == (chosen is None)
