"""How a command uses the processor that it runs on."""

import pytest

from console import processor
from tests.helpers import run_from_nothing


@pytest.mark.skipif(
    "avx2" not in (processor.features() or ()), reason="oneDNN needs an x86 processor with AVX2"
)
def test_tensorflow_computes_without_onednn_where_the_user_turned_it_off(tmp_path, data_flags):
    """Else with it (test_reliability.py), which TensorFlow leaves off on processors without
    AVX512_VNNI or newer, at half the speed.
    """
    flags = ["--model=mlp", "--train_steps=1", "--verbosity=1", *data_flags]
    said = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_ENABLE_ONEDNN_OPTS": "0"}
    completed = run_from_nothing("train.py", *flags, cwd=tmp_path, **said)
    assert completed.returncode == 0, completed.stderr
    assert "cpu_feature_guard" in completed.stderr
    assert "oneDNN custom operations are on" not in completed.stderr
