"""The tables and the picture of docs/results/accuracy.md, from the stored results of the runs."""

import pathlib
import statistics
from typing import Any

import numpy as np

from benchmarks.accuracy_runs import (
    ABLATION_SEEDS,
    PRESETS,
    SEEDS,
    WITHOUT,
    Results,
    Training,
)
from benchmarks.report import PROJECT
from console.markdown import table
from dashboard import pictures
from mnist.datasets import Split
from training import outcomes

ACCURACY_COLUMNS = ["test accuracy", "95 % interval (Wilson)"]


def report(results: Results, test: Split, folder: pathlib.Path) -> str:
    """Returns the report on the results stored so far, and draws its picture in `folder`."""
    presets = "\n\n".join(
        f"## `presets/{preset}.flags`: one `{network}` network\n\n{preset_section(preset, results)}"
        for preset, network in PRESETS.items()
    )
    return f"""# Accuracy

Written by `python -m benchmarks.accuracy`. Each seed is one run of `python train.py
--flagfile=presets/PRESET.flags --seed=S` on all 60,000 training images; the test set was read once,
at its end. Seconds are those of the whole command, with nothing else running. Processors that do
not multiply in bfloat16 trained with `--precision=float32`, a run on each core, not timed.

{(PROJECT / "benchmarks" / "about_accuracy.md").read_text()}
{presets}

## Together

{ensemble_section(results, test, folder / "wrong.png")}

## What each ingredient contributes

`accurate.flags` with one thing taken away, test accuracy in percent:

{ablation_section(results)}

## What distorting the images costs

{(folder / "augmentation.md").read_text()}
"""


def preset_section(preset: str, results: Results) -> str:
    """Returns a table with a row for each trained seed, and their mean."""
    of_seeds = results.trained(preset, SEEDS)
    if not of_seeds:
        return "Not yet: no seed of it is trained."
    rows = []
    for seed, one in of_seeds.items():
        where = f"{one['precision']}, {one['machine']}"
        figures = accuracy_cells(one["correct"], one["total"])
        seconds = "" if one["seconds"] is None else f"{one['seconds']:.0f}"
        rows.append([seed, *figures, seconds, where])
    rows.append(["**mean**", f"**{mean(of_seeds):.3f} %**", "", "", ""])
    return table(["seed", *ACCURACY_COLUMNS, "seconds", "precision and processor"], rows)


def ablation_section(results: Results) -> str:
    """Returns a table with a row for each removed ingredient, over the trained seeds."""
    rows = []
    for without, flags in {"": [], **WITHOUT}.items():
        of_seeds = results.trained("accurate", ABLATION_SEEDS, without)
        whole = results.trained("accurate", of_seeds)
        is_comparable = bool(without and of_seeds and len(whole) == len(of_seeds))
        rows.append(
            [
                f"{without} ({' '.join(f'`{flag}`' for flag in flags)})" if without else "nothing",
                *(f"{percent(of_seeds[s]):.2f}" if s in of_seeds else "" for s in ABLATION_SEEDS),
                f"**{mean(of_seeds):.3f}**" if of_seeds else "",
                f"{mean(of_seeds) - mean(whole):+.3f}" if is_comparable else "",
                " and ".join(sorted({one["precision"] for one in of_seeds.values()})),
            ]
        )
    seeds = [f"seed {seed}" for seed in ABLATION_SEEDS]
    return table(["without", *seeds, "mean", "difference", "precision"], rows)


def accuracy_cells(correct: int, total: int) -> list[str]:
    """Returns the cells under `ACCURACY_COLUMNS`."""
    low, high = outcomes.interval(correct, total)
    return [f"{100 * correct / total:.2f} %", f"{100 * low:.2f} to {100 * high:.2f} %"]


def percent(result: dict[str, Any]) -> float:
    """Returns the accuracy in percent."""
    return 100 * result["correct"] / result["total"]


def mean(of_seeds: dict[int, dict[str, Any]]) -> float:
    """Returns the mean accuracy in percent."""
    return statistics.fmean(map(percent, of_seeds.values()))


def ensemble_section(results: Results, test: Split, picture: pathlib.Path) -> str:
    """Evaluates each preset's runs as an ensemble, and draws what all of them get wrong."""
    if not all(results.is_complete(Training(preset, s)) for preset in PRESETS for s in SEEDS):
        return f"Not yet: train each preset with {len(SEEDS)} seeds first."
    rows, all_members = [], []
    for preset in PRESETS:
        members = [results.outcome(Training(preset, seed)) for seed in SEEDS]
        all_members += members
        for how, vote in (("mean of probabilities", False), ("majority", True)):
            correct = outcomes.combine(members, vote=vote).correct
            figures = accuracy_cells(correct, len(test.labels))
            rows.append([f"{len(members)} `{preset}` runs, {how}", *figures])
    voted = outcomes.combine(all_members, vote=True)
    wrong_in_all = np.all([one.predictions != test.labels for one in all_members], axis=0)
    digits = (test.images, test.labels, voted.predictions)
    pictures.misclassified_grid(*(values[wrong_in_all] for values in digits)).save(picture)
    return (
        f"{table(['together', *ACCURACY_COLUMNS], rows)}\n\n"
        f"The {np.sum(wrong_in_all)} digits that all {len(all_members)} runs get wrong, with what "
        "most of them take each for, and its label:\n\n"
        f"![Digits, as predicted/label]({picture.parent.name}/{picture.name})"
    )
