"""Writing a file completely or not at all, also when the writing is interrupted."""

import os
import signal

import pytest

from console import files
from console.interruption import StopRequest


@pytest.mark.parametrize("is_renamed", [False, True])
def test_an_interruption_around_the_renaming_is_told_as_one_and_loses_nothing(
    tmp_path, monkeypatch, is_renamed
):
    path = tmp_path / "record"
    files.write_text(path, "old")
    replace = os.replace

    def interrupted_replace(source, target):
        if is_renamed:
            replace(source, target)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "replace", interrupted_replace)
    with StopRequest():
        signal.raise_signal(signal.SIGINT)
        # The second signal stops at once.
        with pytest.raises(KeyboardInterrupt):
            files.write_text(path, "new")
    assert path.read_text() == ("new" if is_renamed else "old")
    assert os.listdir(tmp_path) == ["record"]
