"""Two runs on the same images: what differs in their flags, accuracies and predictions."""

from typing import Any

import numpy as np

from console import markdown
from storage.run import Run
from training import outcomes, paired
from training.outcomes import Outcome

# How many images on which they disagree are printed.
MOST_SHOWN = 20


def _differing_flags(one: Run, other: Run) -> dict[str, list[Any]]:
    """Returns both runs' values of the flags in which they differ.

    A flag that a run's record does not have is from after its time, and was the default.
    """
    of_both = [
        run.flags | {"validation_size": run.dataset.get("validation")} for run in (one, other)
    ]
    names = list(of_both[0] | of_both[1])
    values = {name: [flags.get(name, "the default") for flags in of_both] for name in names}
    return {name: pair for name, pair in values.items() if pair[0] != pair[1]}


def compare(runs: list[Run], results: list[dict[str, Any]], both: list[Outcome]) -> dict[str, Any]:
    """Returns all that is known of how two runs differ, as `--json` writes it.

    Args:
        runs: the two of them.
        results: their `training.outcomes.result`.
        both: their outcomes on the same images.
    """
    labels = both[0].labels
    first, second = (outcome.predictions for outcome in both)
    pairs = paired.count(labels, first, second)
    return {
        "runs": [outcomes.about(run) for run in runs],
        "results": [
            {**result, "interval": outcomes.interval(result["correct"], result["total"])}
            for result in results
        ],
        "differing_flags": _differing_flags(*runs),
        "images": {
            "both_right": pairs.both,
            "only_first_right": pairs.first,
            "only_second_right": pairs.second,
            "both_wrong": pairs.neither,
        },
        "difference": pairs.difference,
        "interval": paired.interval(pairs),
        "p_value": paired.p_value(pairs),
        "disagreements": [
            {
                "index": int(i),
                "label": int(labels[i]),
                "predictions": [int(first[i]), int(second[i])],
            }
            for i in np.flatnonzero(first != second)
        ],
    }


def report(facts: dict[str, Any]) -> str:
    """Returns a comparison as text; its last line is the difference of the accuracies."""
    one, other = (about["run"] for about in facts["runs"])
    flags = [[name, *values] for name, values in facts["differing_flags"].items()]
    counts = zip(
        ("both right", f"only {one} right", f"only {other} right", "both wrong"),
        facts["images"].values(),
        strict=True,
    )
    unlike = facts["disagreements"]
    shown = [[each["index"], each["label"], *each["predictions"]] for each in unlike[:MOST_SHOWN]]
    low, high = facts["interval"]
    parts = [
        markdown.aligned(["flag", one, other], flags) if flags else "no flag differs",
        "\n".join(
            f"{outcomes.result_line(result)}; {outcomes.interval_line(result)}"
            for result in facts["results"]
        ),
        markdown.aligned(["of the images", ""], list(counts)),
        f"they disagree on {len(unlike)} of {sum(facts['images'].values())} images"
        + (":\n" + markdown.aligned(["image", "label", one, other], shown) if shown else "")
        + (f"\n... and {len(unlike) - len(shown)} more" if len(unlike) > len(shown) else ""),
        f"{facts['results'][0]['dataset']} test accuracy of {one} minus that of {other}: "
        f"{facts['difference']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f} (Newcombe, same "
        f"images), p = {facts['p_value']:.2g} (exact McNemar): "
        + ("it could be chance" if facts["p_value"] >= 0.05 else "chance seldom gives as much"),
    ]
    return "\n\n".join(parts)
