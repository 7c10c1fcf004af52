"""A short run of the coverage-guided fuzzer."""

import gzip
import importlib.util
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import PROJECT

SECONDS = 20


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python"
)
def test_the_fuzzer_finds_nothing_in_a_short_time(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    pixels = np.arange(2 * 28 * 28, dtype=np.uint8).tobytes()
    images = struct.pack(">4I", 0x803, 2, 28, 28) + pixels
    labels = struct.pack(">2I", 0x801, 2) + bytes([3, 9])
    for name, content in {"images": images, "labels": labels}.items():
        (corpus / name).write_bytes(content)
        (corpus / f"{name}.gz").write_bytes(gzip.compress(content))
    command = [sys.executable, "-m", "tests.system.fuzz_idx", corpus, f"-max_total_time={SECONDS}"]
    completed = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/"], cwd=PROJECT, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr[-3000:]
    runs = re.search(r"Done (\d+) runs", completed.stderr)
    print(f"{runs[1]} files in {SECONDS} s")
    assert int(runs[1]) > 100
