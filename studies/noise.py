"""What it means that an image is normalized together with others: noise, and small batches.

Ioffe & Szegedy (2015), arXiv 1502.03167, section 3.4; Luo et al. (2019), arXiv 1809.00846: it
regularizes
Ioffe (2017), Batch Renormalization, arXiv 1702.03275: small batches hurt
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from console import markdown
from mnist.datasets import Dataset, Split
from networks.architectures import AFTER_NORMALIZATION
from studies import choosing, plots
from studies.cells import Cell, Row
from studies.plots import STYLES, WITH, WITHOUT, Curve
from studies.results import accuracy_of, outcomes, spread, values, where
from studies.trials import LearningCurve

TITLE = "Batches as noise: ghost batches, small batches, renorm"
# In the first part, the batch is fixed and normalized in parts; few images, so that the network can
# overfit.
BATCH_SIZE, FEW_IMAGES, ALL_IMAGES = 1024, 5000, 55_000
GHOST_BATCHES = (4, 16, 64, 1024)
RATES_OF_LARGE_BATCH = {True: (1e-2, 3e-2, 0.1, 0.3), False: (3e-3, 1e-2, 3e-2)}  # by batch norm
# In the second, the batch itself is small; rates by its size.
RATES = {
    2: (3e-4, 1e-3, 3e-3, 1e-2),
    8: (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    128: (3e-3, 1e-2, 3e-2, 0.1),
}
# To see how much an image's company changes: how many images, each how often in another company.
SEEN_IMAGES, COMPANIES = 64, 8


def cells(full: bool) -> list[Cell]:
    """Returns the grid; in full, four times as long, with two more seeds."""

    def cell(batch_norm: bool, size: int, ghost: int | None, renorm: bool, rate: float, seed: int):
        is_first_part = size == BATCH_SIZE
        return Cell(
            {
                "batch_norm": batch_norm,
                "batch_size": size,
                "ghost_batch": ghost,
                "renorm": renorm,
                "learning_rate": rate,
                "seed": seed,
            },
            {
                "model": "mlp",
                "bn_decay": 0.99,
                "train_images": FEW_IMAGES if is_first_part else ALL_IMAGES,
                "train_steps": (300 if is_first_part else 500) * (4 if full else 1),
            },
        )

    seeds = range(5 if full else 3)
    return [
        *(
            cell(ghost is not None, BATCH_SIZE, ghost, False, rate, seed)
            for ghost in (*GHOST_BATCHES, None)
            for rate in RATES_OF_LARGE_BATCH[ghost is not None]
            for seed in seeds
        ),
        *(
            cell(batch_norm, size, None, renorm, rate, seed)
            for size, rates in RATES.items()
            for batch_norm, renorm in ((True, False), (True, True), (False, False))
            for rate in rates
            for seed in seeds
        ),
    ]


def train(cell: Cell, dataset: Dataset, folder: pathlib.Path) -> list[Row]:
    """Trains one cell."""
    return NoiseTrial(cell.flags, dataset, folder).train()


class NoiseTrial(LearningCurve):
    """Adds to the last row the `train_accuracy` and, of large batches, the effect of `company`."""

    def __init__(self, flags: dict[str, Any], dataset: Dataset, folder: pathlib.Path):
        """Takes what a `Trial` takes."""
        steps = flags["train_steps"]
        evaluate_at = range(0, steps, steps // 4)
        super().__init__(
            flags, dataset, folder, evaluate_at, bn_options=lambda: options_of_batch_norm(flags)
        )

    def on_end(self) -> None:
        """Adds the last figures."""
        super().on_end()
        trained_on = Split(*(part[:FEW_IMAGES] for part in self.dataset.train))
        self.rows[-1]["train_accuracy"] = self.classify(trained_on).accuracy
        if self.batches.batch_size > SEEN_IMAGES:
            self.rows[-1]["company"] = self._effect_of_company()

    def _effect_of_company(self) -> float:
        """Measures how much the inputs of the last hidden layer depend on the rest of the batch.

        Returns:
            The deviation of a unit's input for one image over companies, relative to that over
            images.
        """
        tensor = self.graph.graph.get_tensor_by_name(f"dense3/{AFTER_NORMALIZATION}:0")
        random = np.random.default_rng(0)
        images, size = self.dataset.train.images, self.batches.batch_size
        seen, inputs = SEEN_IMAGES, []
        for _ in range(COMPANIES):
            others = random.choice(np.arange(seen, len(images)), size - seen, replace=False)
            batch = random.permutation(np.concatenate([np.arange(seen), others]))
            found = self.training.weights.session.run(tensor, {self.graph.images: images[batch]})
            inputs.append(found[np.argsort(batch)[:seen]])
        over_companies = np.mean(np.var(inputs, axis=0))
        return float(np.sqrt(over_companies / np.mean(np.var(inputs, axis=(0, 1)))))


def options_of_batch_norm(flags: dict[str, Any]) -> Mapping[str, Any]:
    """Returns the options of a layer: the size of its ghost batches, or renorm.

    The clipping of renorm is widened from batch norm's to a factor of 3 and 5 deviations, as in the
    paper, here from a twentieth to a quarter of the training.
    """
    if flags["renorm"]:
        step = tf.cast(tf.train.get_global_step(), tf.float32)
        progress = (step / flags["train_steps"] - 0.05) / 0.2
        widening = tf.clip_by_value(progress, 0.0, 1.0)
        most = 1.0 + 2.0 * widening
        clipping = {"rmin": 1.0 / most, "rmax": most, "dmax": 5.0 * widening}
        return {"renorm": True, "renorm_clipping": clipping}
    if flags["ghost_batch"] not in (None, flags["batch_size"]):
        return {"virtual_batch_size": flags["ghost_batch"]}
    return {}


def report(rows: list[Row], folder: pathlib.Path) -> str:
    """Draws the plot, and returns it with the tables in Markdown."""
    ends = outcomes(rows)
    first, second = (
        [row for row in ends if (row["batch_size"] == BATCH_SIZE) == is_first]
        for is_first in (True, False)
    )
    key = f"each arm at its own best learning rate; {plots.BANDS}"
    figure, panels = plots.panels(2, rows, key)
    text = [_ghost_batches(first, panels[0]), _small_batches(second, panels[1])]
    return "\n".join([plots.save(figure, folder, "noise"), *text])


def _ghost_batches(ends: list[Row], axes: Any) -> str:
    with_bn = where(ends, batch_norm=True)
    bests = {
        f"ghost batches of {ghost}": choosing.best(
            where(with_bn, ghost_batch=ghost), "learning_rate"
        )
        for ghost in values(with_bn, "ghost_batch")
    }
    sizes = [best.ends[0]["ghost_batch"] for best in bests.values()]
    without = choosing.best(where(ends, batch_norm=False), "learning_rate")
    axes.set(title=f"batches of {BATCH_SIZE:,}, {FEW_IMAGES:,} images", xscale="log")
    axes.set(xlabel="ghost batch", ylabel="test error after training [%]")
    axes.set_xticks(sizes)
    axes.minorticks_off()
    plots.log_y(axes)
    errors = [[plots.error(row) for row in best.ends] for best in bests.values()]
    flat = [[plots.error(row) for row in without.ends]] * len(sizes)
    plots.draw(
        axes,
        [
            Curve("with batch norm", WITH, sizes, errors),
            Curve("without batch norm", WITHOUT, sizes, flat),
        ],
    )
    lines = [
        [
            name,
            best.text,
            accuracy_of(best.ends),
            spread([100 * row["train_accuracy"] for row in best.ends], ".2f"),
            spread([row["company"] for row in best.ends], ".3f"),
        ]
        for name, best in {**bests, "without batch norm": without}.items()
    ]
    header = [
        "normalized in",
        "rate",
        "test accuracy [%]",
        "of the training images [%]",
        "effect of an image's company",
    ]
    return f"## Ghost batches\n\n{markdown.table(header, lines)}\n"


def _small_batches(ends: list[Row], axes: Any) -> str:
    sizes = values(ends, "batch_size")
    arms = {
        "batch norm": where(ends, batch_norm=True, renorm=False),
        "without": where(ends, batch_norm=False),
        "renorm": where(ends, renorm=True),
    }
    bests = {
        name: [choosing.best(where(of_arm, batch_size=size), "learning_rate") for size in sizes]
        for name, of_arm in arms.items()
    }
    axes.set(title="small batches, all images", xlabel="batch size", xscale="log")
    axes.set_xticks(sizes)
    axes.minorticks_off()
    plots.log_y(axes)
    plots.draw(
        axes,
        [
            Curve(name, style, sizes, [[plots.error(row) for row in best.ends] for best in of_arm])
            for (name, of_arm), style in zip(bests.items(), STYLES, strict=False)
        ],
    )
    lines = [
        [f"{size}", *(c for best in of_size for c in (best.text, accuracy_of(best.ends)))]
        for size, *of_size in zip(sizes, *bests.values(), strict=True)
    ]
    header = ["batch size"]
    for name in arms:
        header += [f"rate, {name}", "test accuracy [%]"]
    return f"## Small batches\n\n{markdown.table(header, lines)}\n"
