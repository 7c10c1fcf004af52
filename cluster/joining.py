"""Joining the other workers, if there are any."""

import contextlib
from collections.abc import Iterator
from typing import Any

from cluster import layout, local
from console.importing import import_tensorflow
from console.progress import note
from training.worker import Worker


@contextlib.contextmanager
def joined(flags: dict[str, Any], dataset: dict[str, Any]) -> Iterator[Worker]:
    """Makes this process one of the workers that train a run, or the only one.

    Args:
        flags: of the run, the same on all workers.
        dataset: what identifies the data, likewise.

    Raises:
        InputError: TF_CONFIG is malformed, or another worker has other code, data or flags.
        WorkerLost: another worker did not start.
    """
    with started(flags["batch_size"], sync_batch_norm=flags["sync_batch_norm"]) as worker:
        named = {f"--{name}": value for name, value in flags.items()}
        worker.check_agreement({"data": dataset, **named})
        yield worker


@contextlib.contextmanager
def started(batch_size: int, *, sync_batch_norm: bool) -> Iterator[Worker]:
    """Starts the worker that TF_CONFIG or Slurm says this process is, and waits for the others.

    Args:
        batch_size: of all workers together.
        sync_batch_norm: whether statistics are those of the whole batch.
    """
    found = layout.of_environment()
    if found is None:
        yield Worker()
        return
    # Not at the top of the file: a single worker reports wrong input without waiting for it.
    import_tensorflow()
    from cluster.workers import OneOfSeveral

    with OneOfSeveral(found, batch_size, sync_batch_norm=sync_batch_norm) as worker:
        if not local.is_out_of_reach():
            note(
                f"warning: TensorFlow's server listens on port {found.port} of every interface, "
                "without authentication, and gives access to this machine's files: let nothing but "
                "the other workers reach it (docs/distributed.md)"
            )
        worker.wait_for_all()
        yield worker
