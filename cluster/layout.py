"""Who the workers are: from TF_CONFIG or Slurm, by TensorFlow's own resolvers, and checked."""

import os
import re
from typing import NamedTuple

from console.errors import InputError
from console.importing import import_tensorflow

EXPECTED = (
    'expected {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
)
SLURM_PORT = 8888


class Layout(NamedTuple):
    """The addresses of all workers, and which one this process is."""

    addresses: list[str]  # host:port, by rank
    rank: int  # 0 is the chief, which writes checkpoints and summaries

    @property
    def port(self) -> str:
        """The port that this worker's server listens on."""
        return self.addresses[self.rank].rpartition(":")[2]


def is_given() -> bool:
    """Returns whether TF_CONFIG or a Slurm step says who the workers are."""
    in_slurm_step = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    return bool(os.environ.get("TF_CONFIG")) or in_slurm_step


def of_environment() -> Layout | None:
    """Returns the layout that TF_CONFIG or `srun` describes, or None for a single worker.

    Raises:
        InputError: TF_CONFIG is malformed, or asks for something else than workers.
    """
    if not is_given():
        return None
    # Not at the top of the file: a single worker reports wrong input without waiting for it.
    import_tensorflow()
    layout = _of_tf_config() if os.environ.get("TF_CONFIG") else _of_slurm()
    return layout if len(layout.addresses) > 1 else None


def _of_tf_config() -> Layout:
    from tensorflow.compat.v1.distribute import cluster_resolver

    resolver = cluster_resolver.TFConfigClusterResolver()
    try:
        cluster = resolver.cluster_spec().as_dict()
        task_type, rank = resolver.task_type, resolver.task_id
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(f"TF_CONFIG: {EXPECTED}, found: {error}") from None
    if "ps" in cluster:
        raise InputError(
            "TF_CONFIG: expected workers only, found a job 'ps': here the workers add up their "
            "gradients among themselves, without parameter servers (docs/distributed.md)"
        )
    if set(cluster) != {"worker"} or task_type != "worker":
        raise InputError(
            f"TF_CONFIG: {EXPECTED}, found the jobs {', '.join(cluster) or 'none'} and a task of "
            f"type {task_type!r}"
        )
    addresses = cluster["worker"]
    wrong = [address for address in addresses if not _is_address(address)]
    if wrong or len(set(addresses)) < len(addresses):
        raise InputError(
            f"TF_CONFIG: expected a different host:port for each worker, found {addresses}"
        )
    if not isinstance(rank, int) or not 0 <= rank < len(addresses):
        raise InputError(
            f"TF_CONFIG: expected a task index from 0 to {len(addresses) - 1}, found {rank!r}"
        )
    return Layout(addresses, rank)


def _of_slurm() -> Layout:
    from tensorflow.compat.v1.distribute import cluster_resolver

    tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
    # With its defaults, the resolver fails on machines without GPUs.
    resolver = cluster_resolver.SlurmClusterResolver(
        port_base=SLURM_PORT, gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
    )
    addresses = resolver.cluster_spec().as_dict()["worker"]
    return Layout(addresses, resolver.get_task_info()[1])


def _is_address(address: object) -> bool:
    found = re.fullmatch(r"[^\s:/]+:(\d+)", address) if isinstance(address, str) else None
    return found is not None and 0 < int(found.group(1)) < 2**16
