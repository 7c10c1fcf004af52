"""Coverage-guided fuzzing of the IDX reader.

python -m tests.system.fuzz_idx CORPUS -max_total_time=60

A file that is read, or refused in one line, is not a finding; any other error is. atheris saves the
bytes that caused it, which become the next case in test_idx.py.
"""

import pathlib
import sys
import tempfile
import tracemalloc

import atheris

with atheris.instrument_imports(include=["mnist.idx"]):
    from mnist import idx

from console.errors import InputError

# A header may claim any size; the reader's own chunks are a megabyte.
MOST_BYTES = 8 << 20


def read(path: pathlib.Path, content: bytes) -> None:
    """Reads the bytes as images and as labels.

    Raises:
        Exception: the reader neither returned nor refused properly.
    """
    path.write_bytes(content)
    for reader in (idx.read_images, idx.read_labels):
        tracemalloc.start()
        try:
            reader(path)
        except InputError as error:
            assert "\n" not in str(error), "one line"
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MOST_BYTES + 2 * len(content), f"{peak} bytes for a file of {len(content)}"


def main() -> None:
    """Fuzzes for as long as libFuzzer's flags say."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "file")
        atheris.Setup(sys.argv, lambda content: read(path, content))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
