"""`doctor.py` as a person runs it, and the whole table of its sources and faults."""

import gzip
import json
import pathlib

import pytest

from tests.graphs import cases
from tests.helpers import PROJECT, assert_one_line_error, run_command

GRAPHS = PROJECT / "tests" / "graphs"


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> pathlib.Path:
    """A folder with a sound and a faulty graph of a program of TF 1.15."""
    folder = tmp_path_factory.mktemp("graphs")
    for kind in ("sound", "some", "placeholder"):
        content = gzip.decompress((GRAPHS / f"contrib--{kind}.meta.gz").read_bytes())
        (folder / f"{kind}.meta").write_bytes(content)
    (folder / "damaged.meta").write_bytes(content[:1000])
    return folder


@pytest.mark.parametrize("path", cases.OF_1_15, ids=lambda path: path.name[:-8])
def test_graphs_of_tf_1_15(path):
    cases.check_graph_of_1_15(path)


@pytest.mark.parametrize("way, kind", cases.CELLS)
def test_graphs_of_today(way, kind):
    cases.check_graph_of_today(way, kind)


@pytest.mark.long
@pytest.mark.parametrize("path", cases.OF_1_15, ids=lambda path: path.name[:-8])
def test_running_graphs_of_tf_1_15_agrees(path):
    if "renorm" in path.name and "training" in path.name:
        pytest.skip("renorm, as it begins, normalizes with its averages only")
    cases.check_that_running_agrees(cases.meta_graph(path))


@pytest.mark.long
@pytest.mark.parametrize("way, kind", cases.CELLS)
def test_running_graphs_of_today_agrees(way, kind):
    cases.check_that_running_agrees(cases.built(way, kind))


def test_a_faulty_graph(graphs):
    completed = run_command(
        "doctor.py", "--meta_graph=some.meta", "--json=all.json", "--run_steps=2", cwd=graphs
    )
    assert completed.returncode == 1, completed.stderr
    assert "BN104 error, seen in the graph\n  net/norm2: " in completed.stdout
    assert "BN104 error, seen by running it\n  net/norm2: " in completed.stdout
    assert "\033" not in completed.stdout
    written = json.loads((graphs / "all.json").read_text())
    assert {one["evidence"] for one in written["findings"] if one["id"] == "BN104"} == {
        "graph",
        "run",
    }
    assert [layer["training"] for layer in written["layers"]] == ["batch", "batch"]


def test_a_sound_graph(graphs):
    completed = run_command("doctor.py", "--meta_graph=placeholder.meta", cwd=graphs)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.splitlines()[-1] == "2 layers: all is well"


def test_wrong_input(graphs):
    for flags, expected in (
        ([], "expected a graph"),
        (["--meta_graph=none.meta"], "none.meta: expected a file, found: No such file"),
        (["--meta_graph=damaged.meta"], "damaged.meta: expected a MetaGraphDef"),
        (["--meta_graph=sound.meta", "--train_op=train"], "train: expected the name of an op"),
        (["--checkpoint=sound"], "--checkpoint: expected a checkpoint's prefix, found sound"),
        (["--saved_model=."], ".: expected a folder with a saved_model.pb, found none"),
    ):
        assert_one_line_error(run_command("doctor.py", *flags, cwd=graphs), 2, expected)


def test_the_runs_of_this_suite_are_well(trained_runs, data_flags):
    folder, _ = trained_runs
    completed = run_command("doctor.py", "--run=small-bn", *data_flags, cwd=folder)
    assert completed.returncode == 0, completed.stdout
    assert "small-bn/model.ckpt-40: inference" in completed.stdout
    assert " error" not in completed.stdout
