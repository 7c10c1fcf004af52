"""Programs in the documents that change TensorFlow for good: each has a process of its own."""

import os
import subprocess
import sys

import pytest

from tests.documents import programs
from tests.helpers import PROJECT


@pytest.mark.parametrize("program", programs(of_their_own=True))
def test_a_program_in_the_documents_runs(tmp_path, program):
    completed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stderr
