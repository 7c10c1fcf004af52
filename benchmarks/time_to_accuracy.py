"""How long each preset takes to reach 99 % test accuracy.

The accuracy is measured at intervals, off the clock; training does not see it. Run on its own, this
module trains once, according to the flags of train.py, and prints JSON.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from runtime import commands
from runtime.markdown import table

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
    commands.import_tensorflow()
    import tensorflow.compat.v1 as tf

    import model
    from mnist import datasets
    from mnist.batches import Batches
    from runtime.checkpoints import MODEL, Checkpoint
    from runtime.evaluation import Evaluator
    from runtime.training import take_step

    dataset = datasets.load("mnist", FLAGS.data_dir)
    batches = Batches(*dataset.train, FLAGS.batch_size, FLAGS.seed)
    values = flags.of_run(FLAGS, batches.steps_per_epoch)
    train_steps = values["train_steps"]
    network = model.network_of(values, dataset.form())
    recipe = model.recipe_of(values)
    graph = model.training_graph(network, recipe)
    readings = []
    with (
        tempfile.TemporaryDirectory() as folder,
        tf.Session(graph=graph.graph) as session,
        Evaluator(model.inference_graph(network)) as evaluator,
    ):
        session.run(graph.initializer)
        with graph.graph.as_default():
            saver = tf.train.Saver()
        seconds, started = 0.0, time.perf_counter()
        for step, batch in enumerate(batches.ahead(0, train_steps), 1):
            take_step(session, graph, *batch)
            if step % STEPS_BETWEEN_READINGS == 0 or step == train_steps:
                seconds += time.perf_counter() - started
                with graph.graph.as_default():
                    saver.save(session, f"{folder}/{MODEL}", step, write_meta_graph=False)
                evaluator.restore(Checkpoint(pathlib.Path(folder), MODEL, step))
                accuracy = evaluator.classify(*dataset.test).accuracy
                readings.append({"step": step, "seconds": seconds, "accuracy": accuracy})
                started = time.perf_counter()
    print(json.dumps(readings))


if __name__ == "__main__":
    from absl import flags as absl_flags

    import flags

    FLAGS = absl_flags.FLAGS
    flags.define_training()
    commands.run(main)
