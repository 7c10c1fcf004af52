"""The studies: that their grids are sound and their figures right."""

import numpy as np
import pytest

import model
from console.errors import InputError
from studies import results, sensitivity, statistics, write_up
from studies.catalogue import STUDIES
from studies.cells import DEFAULTS, DIVERGED, FINISHED, Cell
from tests.system.small_study import CELLS


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("full", [False, True])
def test_the_grids_are_sound(name, full, dataset):
    cells = STUDIES[name].cells(full)
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        assert cell.flags.keys() == DEFAULTS.keys()
        model.network_of(cell.flags, dataset.form())
        model.recipe_of({**model.Recipe._field_defaults, **cell.flags})


def test_a_training_that_diverges_is_a_result(tmp_path, dataset):
    """It stays one in the table, in the mean, and in the plot."""
    table = results.Results(tmp_path / results.FILE)
    cells = [
        Cell(
            {"model": "mlp", "batch_norm": False, "learning_rate": rate, "seed": seed},
            {"train_steps": 40},
        )
        for rate in (1e-3, 1e38)
        for seed in (0, 1)
    ]
    for cell in cells:
        rows = sensitivity.train(cell, dataset, tmp_path / cell.name)
        table.add(cell, [{"dataset": dataset.name, **row} for row in rows], cells)
    again = results.Results(tmp_path / results.FILE)
    assert again.rows == table.rows
    ends = results.outcomes(again.rows)
    assert [row["status"] for row in ends] == ["finished", "finished", "diverged", "diverged"]
    assert results.accuracy_of(ends[2:]) == "10.00 ± 0.00 (2), 2 diverged"
    assert all(results.final_accuracy(row) > 0.2 for row in ends[:2])


def test_a_training_that_diverged_is_a_guess_from_there_on():
    finished = [
        {"step": 10, "accuracy": 0.8, "status": None},
        {"step": 20, "accuracy": 0.9, "status": "finished"},
    ]
    diverged = [{"step": 17, "accuracy": None, "status": "diverged"}]
    steps, errors = results.error_curves([diverged, finished])
    assert steps == [10, 20]
    np.testing.assert_allclose(errors, [[90, 20], [90, 10]])


def test_the_study_of_statistics_averages_as_the_layer_does(tmp_path, dataset):
    flags = {**DEFAULTS, "model": "mlp", "bn_decay": 0.9, "train_steps": 20, "batch_size": 8}

    class Last(statistics.StatisticsTrial):
        def on_end(self):
            self.last = self.training.weights.values()
            self.rows.append({})

    trial = Last(flags, dataset, tmp_path)
    trial.train()
    layers, variables = trial.layers, trial.last
    (moving_averages,) = [one for one in trial.averages if one.kind == statistics.Kind(0.9)]
    for layer, (mean, var) in zip(layers, moving_averages.values(), strict=True):
        pop_mean, pop_var = layer.variables.pop_mean, layer.variables.pop_var
        np.testing.assert_allclose(variables[pop_mean.op.name], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(variables[pop_var.op.name], var, rtol=1e-4)


def test_the_study_of_statistics_evaluates_every_kind_on_the_way(tmp_path, monkeypatch, dataset):
    monkeypatch.setattr(statistics, "STEPS", (10, 20))
    monkeypatch.setattr(statistics, "LAST_STEP", 20)
    cell = Cell({"model": "mlp", "batch_size": 8, "seed": 0}, {"train_steps": 20})
    rows = statistics.train(cell, dataset, tmp_path)
    kinds = [*(kind.name for kind in statistics.KINDS), statistics.EXACT, statistics.OWN]
    assert [(row["step"], row["statistics"]) for row in rows] == [
        (step, kind) for step in (10, 20) for kind in kinds
    ]
    assert rows[-1]["status"] == FINISHED
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    of = {row["statistics"]: row["accuracy"] for row in rows if row["step"] == 20}
    assert of["decay 0.999, not debiased"] < of[statistics.EXACT], "it still knows nothing"


def test_a_study_of_statistics_that_diverges_is_a_guess_from_there_on(
    tmp_path, monkeypatch, dataset
):
    """It used to be recorded as finished, with whatever NaN weights get right."""
    monkeypatch.setattr(statistics, "STEPS", (1, 4, 8))
    cell = Cell(
        {"model": "mlp", "batch_size": 8, "seed": 0},
        {"train_steps": 8, "optimizer": "sgd", "learning_rate": 1e38},
    )
    rows = statistics.train(cell, dataset, tmp_path)
    kinds = [*(kind.name for kind in statistics.KINDS), statistics.EXACT, statistics.OWN]
    assert rows[-1]["status"] == DIVERGED
    assert [(row["step"], row["statistics"]) for row in rows] == [
        (step, kind) for step in (1, 4, 8) for kind in kinds
    ]
    assert {row["accuracy"] for row in rows if row["step"] > 1} == {results.CHANCE}


def test_results_of_another_grid_or_of_nobody_knows_what_are_not_mixed_in(tmp_path):
    write_up.begin(tmp_path, "python compare.py", CELLS, {"name": "mnist"})
    other = [CELLS[0]._replace(fixed={"train_steps": 21}), CELLS[1]]
    with pytest.raises(InputError, match="grid"):
        write_up.begin(tmp_path, "python compare.py", other, {"name": "mnist"})
    (tmp_path / results.FILE).write_text("step,status\n1,finished\n")
    (tmp_path / write_up.FACTS_FILE).unlink()
    with pytest.raises(InputError, match="beside"):
        write_up.begin(tmp_path, "python compare.py", CELLS, {"name": "mnist"})


def test_results_of_other_data_are_not_mixed_in(tmp_path):
    write_up.begin(tmp_path, "python compare.py", CELLS, {"name": "mnist"})
    with pytest.raises(InputError, match="synthetic"):
        write_up.begin(tmp_path, "python compare.py", CELLS, {"name": "synthetic"})
