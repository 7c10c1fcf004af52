"""One short training run of a study: its curve as rows of results, and as a TensorBoard run."""

import contextlib
import math
import pathlib
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import tensorflow.compat.v1 as tf

import model
from dashboard import hparams
from dashboard.event_files import remove_events
from dashboard.summaries import EventWriter
from mnist.batches import Batches
from mnist.datasets import Dataset, Split
from runtime.classification import Outcome
from runtime.curve import STEPS_PER_POINT, Point
from runtime.evaluation import Evaluator
from runtime.training import take_step
from studies.cells import DIVERGED, FINISHED, Row


class Trial:
    """A network that is trained without checkpoints, and its inference graph."""

    def __init__(self, flags: dict[str, Any], dataset: Dataset):
        """Builds both graphs, and initializes the weights.

        Args:
            flags: see `Cell.flags`.
            dataset: the data.
        """
        network = model.network_of(flags, dataset.form())
        # The grids leave out flags that no study uses.
        recipe = model.recipe_of({**model.Recipe._field_defaults, **flags})
        self.graph = model.training_graph(network, recipe)
        self.evaluator = Evaluator(model.inference_graph(network))
        self.session = tf.Session(graph=self.graph.graph)
        self.session.run(self.graph.initializer)
        self.seconds = 0.0  # spent in steps so far
        self.batches = Batches(*dataset.train, flags["batch_size"], flags["seed"])
        self.train_steps = flags["train_steps"]

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *exception: object) -> None:
        self.session.close()
        self.evaluator.__exit__(*exception)

    def steps(self) -> Iterator[tuple[int, float, float]]:
        """Takes the steps; yields each one's number, loss and accuracy."""
        for step, batch in enumerate(self.batches.ahead(0, self.train_steps), 1):
            started = time.perf_counter()
            taken = take_step(self.session, self.graph, *batch)
            self.seconds += time.perf_counter() - started
            yield step, taken.loss, taken.accuracy

    def variables(self) -> dict[str, Any]:
        """Returns the values of all variables by name."""
        variables = self.graph.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
        values = self.session.run(variables)
        return {variable.op.name: value for variable, value in zip(variables, values, strict=True)}

    def classify(self, split: Split) -> Outcome:
        """Classifies images in the inference graph, with the current values of the variables."""
        self.evaluator.load(self.variables(), "the training graph")
        return self.evaluator.classify(*split)


@contextlib.contextmanager
def shown_in_tensorboard(folder: pathlib.Path, flags: dict[str, Any]) -> Iterator[hparams.Session]:
    """Makes the training in the block a row of TensorBoard's HParams tab.

    Args:
        folder: the folder of its events; those of an earlier attempt are deleted.
        flags: see `Cell.flags`.
    """
    remove_events(folder)
    with hparams.session(folder, flags) as session:
        yield session


def learning_curve(
    flags: dict[str, Any],
    dataset: Dataset,
    folder: pathlib.Path,
    evaluate_at: Collection[int],
    *,
    split: str = "validation",
    look: Callable[[Evaluator], Row] = lambda evaluator: {},
) -> list[Row]:
    """Trains a network, and evaluates it along the way.

    Args:
        flags: see `Cell.flags`.
        dataset: the data.
        folder: the folder of the events for TensorBoard; those of an earlier attempt are deleted.
        evaluate_at: the steps after which to evaluate. The last step is always included.
        split: the split to evaluate on.
        look: takes other measurements in the inference graph at the same steps.

    Returns:
        A row for each evaluation: `step`, `seconds` of training so far, `loss` (nats) and
        `accuracy` (a share) on the split, and what `look` returns. The last row also has
        `test_accuracy` and the `status`. If training diverged, the last row has only `step`,
        `seconds` and `status`.
    """
    rows: list[Row] = []
    point = Point()
    with (
        shown_in_tensorboard(folder, flags) as session,
        Trial(flags, dataset) as trial,
        EventWriter(folder / "train", 0) as train_events,
        EventWriter(folder / split, 0) as split_events,
    ):
        for step, loss, accuracy in trial.steps():
            if not math.isfinite(loss):
                session.fail()
                return [*rows, {"step": step, "seconds": trial.seconds, "status": DIVERGED}]
            point.add(loss, accuracy)
            if step % STEPS_PER_POINT == 0:
                train_events.scalars(step, point.scalars())
                point = Point()
            if step in evaluate_at or step == trial.train_steps:
                outcome = trial.classify(getattr(dataset, split))
                split_events.scalars(step, outcome.scalars)
                row = {"step": step, "seconds": trial.seconds}
                row |= {"loss": outcome.loss, "accuracy": outcome.accuracy}
                rows.append(row | look(trial.evaluator))
        if split == "test":
            rows[-1]["test_accuracy"] = rows[-1]["accuracy"]
        else:
            test = trial.classify(dataset.test)
            with EventWriter(folder / "test", 0) as test_events:
                test_events.scalars(trial.train_steps, test.scalars)
            rows[-1]["test_accuracy"] = test.accuracy
    rows[-1]["status"] = FINISHED
    return rows
