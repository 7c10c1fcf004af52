"""Who the workers are: from TF_CONFIG or Slurm, as TensorFlow reads them, but checked.

TensorFlow's own resolvers take a task index of 1.5 or true for 1, know no names of nodes that go on
after their numbers, and take any distribution of tasks for one in blocks.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from console.errors import InputError

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
    in_slurm_step = os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    return bool(os.environ.get("TF_CONFIG")) or in_slurm_step


def of_environment() -> Layout | None:
    """Returns the layout that TF_CONFIG or `srun` describes, or None for a single worker.

    Raises:
        InputError: it is malformed, or asks for something else than workers.
    """
    if not is_given():
        return None
    layout = _of_tf_config() if os.environ.get("TF_CONFIG") else _of_slurm()
    return layout if len(layout.addresses) > 1 else None


def _of_tf_config() -> Layout:
    try:
        config = json.loads(os.environ["TF_CONFIG"])
    except (ValueError, RecursionError) as error:
        raise InputError(f"TF_CONFIG: {EXPECTED}, found: {error}") from None
    cluster, task = _object(config, "cluster"), _object(config, "task")
    if "ps" in cluster:
        raise InputError(
            "TF_CONFIG: expected workers only, found a job 'ps': here the workers add up their "
            "gradients among themselves, without parameter servers (docs/distributed.md)"
        )
    if set(cluster) != {"worker"} or task.get("type") != "worker":
        raise InputError(
            f"TF_CONFIG: {EXPECTED}, found the jobs {', '.join(cluster) or 'none'} and a task of "
            f"type {task.get('type')!r}"
        )
    addresses, rank = cluster["worker"], task.get("index")
    are_sound = isinstance(addresses, list) and all(map(_is_address, addresses))
    if not are_sound or len(set(addresses)) < len(addresses):
        raise InputError(
            "TF_CONFIG: expected a different host:port for each worker, without grpc:// before it, "
            f"found {addresses}"
        )
    if type(rank) is not int or not 0 <= rank < len(addresses):
        raise InputError(
            f"TF_CONFIG: expected a task index from 0 to {len(addresses) - 1}, found {rank!r}"
        )
    return Layout(addresses, rank)


def _object(config: Any, name: str) -> dict[str, Any]:
    """Returns an object in the configuration, empty if there is none."""
    found = config.get(name) if isinstance(config, dict) else None
    return found if isinstance(found, dict) else {}


def _is_address(address: object) -> bool:
    # An address of IPv6 stands in brackets.
    pattern = r"(?:\[[\w:.%]+\]|[^\s:/\[\]]+):([0-9]+)"
    found = re.fullmatch(pattern, address) if isinstance(address, str) else None
    return found is not None and 0 < int(found.group(1)) < 2**16


def _of_slurm() -> Layout:
    """Returns the layout of a step of `srun`, whose variables `man srun` describes."""
    nodes = list(_nodes(_slurm("STEP_NODELIST")))
    tasks = list(_tasks_per_node(_slurm("STEP_TASKS_PER_NODE")))
    distribution, rank = os.environ.get("SLURM_DISTRIBUTION", "block"), _slurm("PROCID")
    if len(nodes) != len(tasks) or distribution.partition(":")[0] not in ("block", "cyclic"):
        raise InputError(
            "Slurm: expected as many nodes as numbers of tasks, in blocks or cyclic, found "
            f"{len(nodes)}, {len(tasks)} and {distribution}; TF_CONFIG says it in any case"
        )
    addresses = [
        f"{node}:{SLURM_PORT + place}"
        for node, count in zip(nodes, tasks, strict=True)
        for place in range(count)
    ]
    if distribution.startswith("cyclic"):  # a task for each node, then a second one for each ...
        addresses.sort(key=lambda address: int(address.rpartition(":")[2]))
    if not re.fullmatch("[0-9]+", rank) or int(rank) >= len(addresses):
        raise InputError(
            f"SLURM_PROCID: expected a task from 0 to {len(addresses) - 1}, found {rank}"
        )
    return Layout(addresses, int(rank))


def _slurm(name: str) -> str:
    try:
        return os.environ[f"SLURM_{name}"]
    except KeyError:
        raise InputError(
            f"SLURM_{name}: expected what `srun` sets for a step of several tasks, found nothing; "
            "start the command by `srun`, or name the workers in TF_CONFIG"
        ) from None


def _nodes(names: str) -> Iterator[str]:
    """Yields the nodes of a list such as `login,x1000c0s[0-1]b[00-03,7]n0`."""
    for name in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", names):
        fixed_and_ranges = re.split(r"\[([^\]]*)\]", name)
        choices = [
            list(_numbers(part)) if place % 2 else [part]
            for place, part in enumerate(fixed_and_ranges)
        ]
        yield from map("".join, itertools.product(*choices))


def _numbers(ranges: str) -> Iterator[str]:
    """Yields the numbers of `00-03,7` as they are written."""
    for first, last in re.findall(r"([0-9]+)(?:-([0-9]+))?", ranges):
        for number in range(int(first), int(last or first) + 1):
            yield f"{number:0{len(first)}d}"


def _tasks_per_node(counts: str) -> Iterator[int]:
    """Yields a number for each node, from a list such as `2(x3),1`."""
    for count, times in re.findall(r"([0-9]+)(?:\(x([0-9]+)\))?", counts):
        yield from [int(count)] * int(times or 1)
