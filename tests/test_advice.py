"""What is said before a training begins."""

import pathlib

import pytest

from storage.run import Run
from training import advice
from training.worker import Worker


@pytest.mark.parametrize(
    ("batch_size", "workers", "flags", "is_told"),
    [
        (1, 1, {}, True),
        (2, 1, {}, False),
        (1, 1, {"batch_norm": False}, False),
        (2, 2, {}, False),
        (3, 2, {"sync_batch_norm": False}, True),
        (4, 2, {"sync_batch_norm": False}, False),
    ],
)
def test_one_value_for_each_set_of_statistics_is_told(
    capsys, dataset, batch_size, workers, flags, is_told
):
    usual = {"model": "mlp", "precision": "float32", "train_steps": 1}
    usual |= {"batch_norm": True, "sync_batch_norm": True, "batch_size": batch_size}
    run = Run(
        folder=pathlib.Path("run"),
        flags=usual | flags,
        dataset=dataset.description(),
        data_dir="",
        checkpoints={},
    )
    worker = Worker()
    worker.count = workers
    advice.note_before(run, dataset, worker)
    told = capsys.readouterr().err
    assert ("batch norm of a dense layer sees one value of each unit" in told) == is_told
