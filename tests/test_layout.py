"""Who the workers are, as TF_CONFIG and Slurm say it."""

import itertools

import pytest
from tensorflow.compat.v1.distribute import cluster_resolver

from cluster import layout
from console.errors import InputError


def test_tf_config_says_who_the_workers_are(monkeypatch):
    config = (
        '{"cluster": {"worker": ["[::1]:4001", "b:2"]}, "task": {"type": "worker", "index": 1}}'
    )
    monkeypatch.setenv("TF_CONFIG", config)
    assert layout.of_environment() == (["[::1]:4001", "b:2"], 1)


@pytest.mark.parametrize(
    ("config", "fragment"),
    [
        ("{", "found: "),
        ("[]", "found the jobs none"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "a task of type None"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {}}', "docs/distributed.md"),
        (
            '{"cluster": {"worker": ["a:1", "b"]}, "task": {"type": "worker", "index": 0}}',
            "host:port",
        ),
        (
            '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
            "different",
        ),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
            "from 0 to 1, found 2",
        ),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0.9}}',
            "from 0 to 1, found 0.9",
        ),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": true}}',
            "from 0 to 1, found True",
        ),
        (
            '{"cluster": {"worker": ["grpc://a:1", "b:1"]}, "task": {"type": "worker"}}',
            "without grpc://",
        ),
        (
            '{"cluster": {"worker": ["a:\u0663", "b:1"]}, "task": {"type": "worker"}}',
            "a different host:port for each worker",
        ),
        ("[" * 100_000, "found: "),
    ],
    ids=itertools.count(),
)
def test_a_malformed_tf_config_gets_one_line(monkeypatch, config, fragment):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InputError, match="^TF_CONFIG: ") as refused:
        layout.of_environment()
    assert fragment in str(refused.value) and "\n" not in str(refused.value)


@pytest.fixture
def slurm(monkeypatch):
    """A function that sets the variables of a step."""
    monkeypatch.delenv("TF_CONFIG", raising=False)

    def set_variables(nodes, tasks, rank, **others):
        variables = {"STEP_NUM_TASKS": "9", "STEP_NODELIST": nodes, "STEP_TASKS_PER_NODE": tasks}
        for name, value in {**variables, "PROCID": rank, **others}.items():
            monkeypatch.setenv(f"SLURM_{name}", value)

    return set_variables


@pytest.mark.parametrize(
    ("nodes", "tasks", "total"),
    [
        ("node[1-2]", "2,1", 3),
        ("a,b,c", "1(x3)", 3),
        ("n[08-11,20],z", "2(x4),1,3", 12),
        ("alone", "4", 4),
    ],
)
def test_slurm_says_what_tensorflow_makes_of_it(slurm, nodes, tasks, total):
    slurm(nodes, tasks, "2", STEP_NUM_TASKS=str(total))
    original = cluster_resolver.SlurmClusterResolver(
        port_base=layout.SLURM_PORT, gpus_per_node=total, gpus_per_task=1, auto_set_gpu=False
    )
    expected = original.cluster_spec().as_dict()["worker"]
    assert layout.of_environment() == (expected, 2)


def test_names_that_go_on_after_their_numbers(slurm):
    """As on Cray machines, where TensorFlow's resolver fails."""
    slurm("x1000c0s[0-1]b[00-01]n0,login", "1(x5)", "3")
    addresses, rank = layout.of_environment()
    names = [address.removesuffix(":8888") for address in addresses]
    of_blades = ["x1000c0s0b00n0", "x1000c0s0b01n0", "x1000c0s1b00n0", "x1000c0s1b01n0"]
    assert names == [*of_blades, "login"] and rank == 3


def test_tasks_that_are_handed_out_in_turns(slurm):
    """TensorFlow's resolver gives each the address of another."""
    slurm("a,b,c", "3,1,2", "4", DISTRIBUTION="cyclic")
    expected = ["a:8888", "b:8888", "c:8888", "a:8889", "c:8889", "a:8890"]
    assert layout.of_environment() == (expected, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PROCID": None}, "^SLURM_PROCID: .* found nothing"),
        ({"STEP_NODELIST": None}, "^SLURM_STEP_NODELIST: .* found nothing"),
        ({"PROCID": "7"}, "from 0 to 2, found 7"),
        ({"STEP_TASKS_PER_NODE": "1"}, "found 2, 1 and block"),
        ({"DISTRIBUTION": "plane=2"}, "and plane=2; TF_CONFIG says it in any case"),
    ],
)
def test_what_slurm_does_not_say_gets_one_line(slurm, monkeypatch, changes, message):
    slurm("node[1-2]", "2,1", "2")
    for name, value in changes.items():
        if value is None:
            monkeypatch.delenv(f"SLURM_{name}")
        else:
            monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(InputError, match=message):
        layout.of_environment()
