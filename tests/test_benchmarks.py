"""What the benchmarks keep of trainings, and what they report about them."""

import numpy as np

from benchmarks import accuracy_report, serving
from benchmarks.accuracy_runs import PRESETS, SEEDS, WITHOUT, Results, Training
from mnist.datasets import Split
from training.outcomes import Outcome


def test_a_result_counts_for_as_long_as_the_preset_is_the_same(tmp_path, monkeypatch):
    training = Training("accurate", seed=1, without="dropout")
    Results(tmp_path).add(training, {"correct": 9970, "total": 10000, "seconds": 200.0}, None)
    assert training in Results(tmp_path)
    assert training._replace(seed=2) not in Results(tmp_path)
    monkeypatch.setitem(WITHOUT, "dropout", ["--dropout=0.1"])
    assert training not in Results(tmp_path)


def test_tables_of_accuracy_have_the_seeds_that_are_trained_and_their_mean(tmp_path):
    results = Results(tmp_path)
    assert accuracy_report.preset_section("accurate", results).startswith("Not yet")
    for seed in SEEDS:
        for without in ("", *WITHOUT):
            if without == "augmentation" and seed == 2:
                continue
            correct = 9970 + seed - 10 * (without == "dropout")
            training = Training("accurate", seed, without)
            results.add(training, {"correct": correct, "total": 10000, "seconds": 200}, None)
    rows = accuracy_report.preset_section("accurate", results).splitlines()
    assert rows[2].startswith("| 0 | 99.70 % | 99.57 to 99.79 % | 200 |")
    assert rows[-1].startswith("| **mean** | **99.720 %** |")
    by_name = {
        row.split("|")[1].split("(")[0].strip(): row.split("|")[2:7]
        for row in accuracy_report.ablation_section(results).splitlines()
    }
    assert by_name["nothing"] == [" 99.70 ", " 99.71 ", " 99.72 ", " **99.710** ", "  "]
    assert by_name["dropout"] == [" 99.60 ", " 99.61 ", " 99.62 ", " **99.610** ", " -0.100 "]
    assert by_name["augmentation"] == [" 99.70 ", " 99.71 ", "  ", " **99.705** ", " +0.000 "]


def test_five_runs_are_read_together_from_what_is_kept_of_them(tmp_path):
    """Runs that each misread a different digit are right together; all misread the last one."""
    labels = np.arange(10)
    test = Split(np.zeros([10, 28, 28], np.uint8), labels)
    for seed in SEEDS:
        predictions = labels.copy()
        predictions[[seed, 9]] = 7
        probabilities = np.eye(10, dtype=np.float32)[predictions]
        outcome = Outcome(labels, predictions, np.zeros(10, np.float32), probabilities)
        result = {"correct": outcome.correct, "total": 10, "seconds": 200}
        if seed == 0:
            section = accuracy_report.ensemble_section(Results(tmp_path), test, tmp_path / "w.png")
            assert section.startswith("Not yet")
        for preset in PRESETS:
            Results(tmp_path).add(Training(preset, seed), result, outcome)
    section = accuracy_report.ensemble_section(Results(tmp_path), test, tmp_path / "w.png")
    assert "mean of probabilities | 90.00 %" in section and "majority | 90.00 %" in section
    assert "The 1 digits that all 10 runs" in section and (tmp_path / "w.png").exists()


def test_the_section_on_serving_is_renewed_and_the_others_stay():
    report = "# Speed\n\n## Inference\n\nfigures\n\n## Start-up and memory\n\nmore\n"
    once = serving.with_section(report, "old")
    assert once.replace("## Serving\n\nold\n\n", "") == report
    assert serving.with_section(once, "new") == once.replace("old", "new")
