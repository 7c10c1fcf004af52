"""How a command uses the processor that it runs on."""

import pytest

from console import processor
from tests.helpers import run_from_nothing


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
    completed = run_from_nothing("train.py", *flags, cwd=tmp_path, TF_CPP_MIN_LOG_LEVEL="0")
    assert ("oneDNN custom operations are on" in completed.stderr) == (chosen is None)
