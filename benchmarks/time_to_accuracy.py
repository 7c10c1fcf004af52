"""How long each preset takes to reach 99 % test accuracy.

The accuracy is measured at intervals, off the clock; training does not see it. Run on its own, this
module trains once, according to the flags of train.py, and prints JSON.
"""

import json
import statistics
import subprocess
import sys

from console import commands, importing
from console.markdown import table

TARGET = 0.99
STEPS_BETWEEN_READINGS = 500
FAST_SEEDS, BLOG_SEEDS = range(10), range(3)


def section(data_dir: str) -> str:
    """Runs both presets in turns, and returns the table of their times."""
    fast, blog = [], []
    for seed in FAST_SEEDS:
        fast.append(_run("presets/fast.flags", seed, data_dir))
        if seed in BLOG_SEEDS:
            blog.append(_run("presets/blog.flags", seed, data_dir))

    fast_seconds = statistics.median(readings[-1]["seconds"] for readings in fast)
    accuracies = [readings[-1]["accuracy"] for readings in fast]
    rows = [
        [
            "`presets/fast.flags`",
            f"{fast[0][-1]['step']:,}",
            f"{fast_seconds:.1f}",
            f"{100 * statistics.mean(accuracies):.2f} %",
            f"{100 * min(accuracies):.2f} to {100 * max(accuracies):.2f} %, {len(fast)} seeds",
        ]
    ]
    means = [statistics.mean(r["accuracy"] for r in at_step) for at_step in zip(*blog, strict=True)]
    reached = next((i for i, mean in enumerate(means) if mean >= TARGET), None)
    # If the mean never reaches the target, the whole run is a lower bound.
    index = len(means) - 1 if reached is None else reached
    at_step = [readings[index] for readings in blog]
    blog_seconds = statistics.median(r["seconds"] for r in at_step)
    accuracies = [r["accuracy"] for r in at_step]
    rows.append(
        [
            "`presets/blog.flags`" + (", never there" if reached is None else ""),
            f"{at_step[0]['step']:,}",
            f"{blog_seconds:.1f}",
            f"{100 * means[index]:.2f} %",
            f"{100 * min(accuracies):.2f} to {100 * max(accuracies):.2f} %, {len(blog)} seeds",
        ]
    )
    curve = ", ".join(f"{blog[0][i]['step']:,}: {100 * mean:.2f} %" for i, mean in enumerate(means))
    header = ["preset", "steps", "seconds of training", "mean test accuracy", "spread"]
    return (
        f"{table(header, rows)}\n\n"
        f"**{blog_seconds / fast_seconds:.1f} times** as fast. Seconds are from the first step on, "
        "with what TensorFlow does before it, and without readings of the test accuracy. The mean "
        f"test accuracy of `blog.flags` by step: {curve}."
    )


def _run(preset: str, seed: int, data_dir: str) -> list[dict]:
    """Returns the readings of a run, the last one at its end."""
    command = [sys.executable, "-m", "benchmarks.time_to_accuracy", f"--flagfile={preset}"]
    command += [f"--seed={seed}", f"--data_dir={data_dir}"]
    completed = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(completed.stdout)


def main() -> None:
    """Trains once."""
    importing.import_tensorflow()

    import model
    from mnist import datasets
    from mnist.batches import Batches
    from training.curve import EVALUATING
    from training.evaluator import Evaluator
    from training.keeper import Keeper
    from training.loop import Step, Training
    from training.observer import Observer
    from training.plan import Plan
    from training.worker import Worker

    dataset = datasets.load("mnist", FLAGS.data_dir)
    batches = Batches(*dataset.train, FLAGS.batch_size, FLAGS.seed)
    values = flags.of_run(FLAGS, batches.steps_per_epoch)
    train_steps = values["train_steps"]
    network = model.network_of(values, dataset.form())
    readings: list[dict[str, float]] = []

    class Reader(Observer):
        """Reads the test accuracy, off the clock."""

        def on_start(self, training: Training, step: int) -> None:
            self._training = training

        def on_step(self, step: int, taken: Step) -> None:
            if step % STEPS_BETWEEN_READINGS and step != train_steps:
                return
            clock = self._training.clock
            seconds = clock.seconds()
            with clock.stopped(EVALUATING):
                evaluator.load(self._training.weights.values(), "the training graph")
                accuracy = evaluator.classify(*dataset.test).accuracy
            readings.append({"step": step, "seconds": seconds, "accuracy": accuracy})

    plan = Plan(train_steps, save_every=train_steps, eval_every=train_steps, has_validation=False)
    graph = model.training_graph(network, model.recipe_of(values))
    with Evaluator(model.inference_graph(network)) as evaluator:
        Training(graph, batches, plan, Keeper(), Worker(), [Reader()]).run()
    print(json.dumps(readings))


if __name__ == "__main__":
    from absl import flags as absl_flags

    import flags

    FLAGS = absl_flags.FLAGS
    flags.define_training()
    commands.run(main)
