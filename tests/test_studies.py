"""The studies: that their grids are sound and their figures right."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from console.errors import InputError
from mnist.datasets import Split
from studies import (
    choosing,
    landscape,
    noise,
    results,
    sensitivity,
    smoothness,
    statistics,
    weight_decay,
    write_up,
)
from studies.catalogue import STUDIES
from studies.cells import DEFAULTS, DIVERGED, FINISHED, OF_SOME_STUDIES, Cell
from studies.trials import LearningCurve
from tests.system.small_study import CELLS
from training.weights import Weights


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("full", [False, True])
def test_the_grids_are_sound(name, full, dataset):
    cells = STUDIES[name].cells(full)
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        assert cell.flags.keys() >= DEFAULTS.keys()
        assert cell.flags.keys() - DEFAULTS.keys() <= set(OF_SOME_STUDIES)
        model.network_of(cell.flags, dataset.form())
        model.recipe_of({**model.Recipe._field_defaults, **cell.flags})


def test_a_training_that_diverges_is_a_result(tmp_path, dataset):
    """It stays one in the table, in the mean, and in the plot."""
    table = results.Results(tmp_path / results.FILE)
    cells = [
        Cell(
            {"model": "mlp", "batch_norm": False, "learning_rate": rate, "seed": seed},
            {"train_steps": 40, "hidden_layers": 1},
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
    flags = {**DEFAULTS, "model": "mlp", "hidden_layers": 2, "optimizer": "sgd"}
    flags |= {"bn_decay": 0.9, "train_steps": 20, "batch_size": 8}

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
    cell = Cell(
        {"model": "mlp", "batch_size": 8, "seed": 0}, {"train_steps": 20, "hidden_layers": 1}
    )
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
        {"train_steps": 8, "hidden_layers": 1, "optimizer": "sgd", "learning_rate": 1e38},
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


def test_each_arm_gets_the_rate_that_is_best_for_its_validation_images():
    def end(rate, accuracy, status=FINISHED):
        return {"learning_rate": rate, "accuracy": accuracy, "status": status}

    ends = [end(0.1, 0.8), end(0.1, 0.9), end(1, 0.99), end(1, None, DIVERGED), end(0.01, 0.7)]
    best = choosing.best(ends, "learning_rate")
    assert (best.value, best.ends, best.text) == (0.1, ends[:2], "0.1")
    assert "edge" in choosing.best(ends[1:4], "learning_rate").text
    assert choosing.best([end(1, 0.11), end(2, 0.1)], "learning_rate").text == "none learns"


MLP = {**DEFAULTS, "model": "mlp", "optimizer": "sgd", "batch_size": 64}


@pytest.fixture
def trial(tmp_path, dataset):
    """A short training of two layers of ReLUs, which looks around on its way."""
    flags = {**MLP, "hidden_layers": 2, "activation": "relu", "noise": False, "train_steps": 10}
    return smoothness.SmoothnessTrial({**flags, "learning_rate": 0.1}, dataset, tmp_path)


def test_looking_at_the_loss_around_the_weights_changes_nothing(trial, tmp_path, dataset):
    class Last(LearningCurve):
        def on_end(self):
            self.last = self.training.weights.values()
            super().on_end()

    rows = trial.train()
    assert [row["step"] for row in rows] == list(range(1, 11))
    alone = Last(trial._flags, dataset, tmp_path / "alone", ())
    alone.train()
    assert "dense2/weights" in alone.last and "dense3/weights" not in alone.last
    with landscape.Landscape(trial.graph) as there:
        there.load(alone.last)
        np.testing.assert_equal(there.accuracy(dataset.validation), rows[-1]["accuracy"])


def test_the_loss_along_a_small_step_is_what_the_gradient_predicts(trial, dataset):
    batch = Split(*(part[:64] for part in dataset.train))
    with tf.Session(graph=trial.graph.graph) as session, landscape.Landscape(trial.graph) as there:
        session.run(trial.graph.initializer)
        weights = there.load(Weights(trial.graph, session).values())
        _, gradient = there.gradient(weights, batch)
        along = landscape.along_the_gradient(there, weights, batch, [1e-3])
        expected = 1e-3 * landscape.norm(gradient) ** 2
        np.testing.assert_allclose(along["range"], expected, rtol=0.05)
        assert along["cosine"] > 0.99 and along["change"] < 0.1
        np.testing.assert_allclose(
            along["beta"] * 1e-3, along["change"], rtol=1e-6, err_msg="both are of the same change"
        )
        still = landscape.shift_of_gradients(there, weights, batch, 0.0)
        moving = landscape.shift_of_gradients(there, weights, batch, 1.0)
        assert still["change"] < 1e-5 < moving["change"] and moving["cosine"] < still["cosine"]


def test_inputs_shift_by_how_far_their_medians_move():
    before = np.linspace(0.0, 1.0, 101)[:, None] * [1.0, 10.0]
    np.testing.assert_allclose(landscape.shift_of_inputs(before, before + [0.0, 7.0]), 0.5)


def at_steps(session, fetches, steps):
    """The values of tensors of the session's graph at several steps of a training."""
    values = {}
    for step in steps:
        tf.train.get_global_step().load(step, session)
        values[step] = session.run(fetches)
    return values


def test_noise_after_batch_norm_is_another_one_in_each_step():
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.get_or_create_global_step()
        with tf.variable_scope("layer"):
            noise_there = smoothness.noise_of_step(seed=0)(tf.constant([1000, 3]))
        drawn = at_steps(session, noise_there, (1, 2))
    for (factor, offset), (other_factor, other_offset) in [drawn.values()]:
        for values, others, radius in (
            (factor, other_factor, 0.1),
            (offset, other_offset, 0.1),
        ):
            assert np.all(np.ptp(values, axis=0) <= 2 * radius), "around that of its unit"
            assert np.all(np.mean(values, axis=0) != np.mean(others, axis=0))
            assert np.all(np.std(values, axis=0) > radius / 2), "each example has its own"
        assert np.all(np.abs(np.mean(factor, axis=0) - 1.125) < 0.13)
        assert np.all(np.abs(np.mean(offset, axis=0)) < 0.51)


def test_the_company_of_an_image_matters_in_small_ghost_batches(tmp_path, dataset):
    flags = {**MLP, "batch_size": 128, "train_steps": 8, "renorm": False, "ghost_batch": 4}
    end = noise.NoiseTrial(flags, dataset, tmp_path).train()[-1]
    # The mean of four has half the deviation of one; that of all would have a tenth.
    assert 0.3 < end["company"] < 1
    assert end["train_accuracy"] > 0.1


def test_renorm_begins_as_batch_norm():
    """And ends with the paper's bounds."""
    flags = {"renorm": True, "train_steps": 100}
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.get_or_create_global_step()
        bounds = noise.options_of_batch_norm(flags)["renorm_clipping"]
        found = at_steps(session, bounds, (0, 5, 25, 99))
    assert found[0] == found[5] == {"rmin": 1.0, "rmax": 1.0, "dmax": 0.0}
    assert found[25] == found[99] == pytest.approx({"rmin": 1 / 3, "rmax": 3.0, "dmax": 5.0})


def test_only_with_batch_norm_the_scale_of_the_weights_is_of_no_matter(tmp_path, dataset):
    flags = {**MLP, "hidden_layers": 2, "weight_decay": 0.1}
    flags |= {"train_steps": 20, "learning_rate": 1.0}
    with_bn, without = (
        weight_decay.ScaleTrial({**flags, "batch_norm": arm}, dataset, tmp_path, ()).train()[-1]
        for arm in (True, False)
    )
    assert with_bn["outputs_at_10"] < 1e-2 and abs(with_bn["gradient_at_10"] - 1) < 5e-2
    assert without["outputs_at_10"] > 1
    assert with_bn["effective_rate"] > 5, "the weights have shrunk to an eighth"
