"""One short training run of a study, as an observer that writes rows of results."""

import contextlib
import pathlib
from collections.abc import Callable, Collection
from typing import Any

import model
from dashboard import hparams
from dashboard.summaries import EventWriter
from mnist.batches import Batches
from mnist.datasets import Dataset, Split
from networks.architectures import BatchNormOptions
from storage.event_files import remove_events
from studies.cells import DIVERGED, FINISHED, Row
from training.curve import LEARNING_RATE_TAG, SPEED_TAG
from training.evaluator import Evaluator
from training.keeper import Keeper
from training.loop import Diverged, Step, Training
from training.observer import Observer
from training.outcomes import Outcome
from training.plan import Plan
from training.worker import Worker


class Trial(Observer):
    """A network that is trained without checkpoints; subclasses add what they observe to `rows`.

    Attributes:
        dataset: the data.
        batches: of the training images.
        graph: the training graph.
        evaluator: an inference graph of the same network.
        training: the training, once it has started.
        rows: the results so far.
    """

    def __init__(
        self,
        flags: dict[str, Any],
        dataset: Dataset,
        folder: pathlib.Path,
        bn_options: BatchNormOptions = dict,
    ):
        """Builds both graphs.

        Args:
            flags: see `Cell.flags`.
            dataset: the data.
            folder: the folder of its events for TensorBoard.
            bn_options: see `model.training_graph`.
        """
        network = model.network_of(flags, dataset.form())
        # The grids leave out flags that no study uses.
        recipe = model.recipe_of({**model.Recipe._field_defaults, **flags})
        self.graph = model.training_graph(network, recipe, bn_options=bn_options)
        self.evaluator = Evaluator(model.inference_graph(network))
        images, labels = (part[: flags.get("train_images")] for part in dataset.train)
        self.batches = Batches(images, labels, flags["batch_size"], flags["seed"])
        self.dataset = dataset
        self.rows: list[Row] = []
        self._flags = flags
        self._folder = folder
        self._events: dict[str, EventWriter] = {}
        self._files = contextlib.ExitStack()

    def train(self) -> list[Row]:
        """Trains to the end, or until it diverges; returns the rows, the last with its `status`.

        Events of an earlier attempt are deleted.
        """
        steps = self._flags["train_steps"]
        plan = Plan(steps, save_every=steps, eval_every=steps, has_validation=False)
        training = Training(self.graph, self.batches, plan, Keeper(), Worker(), [self])
        remove_events(self._folder)
        try:
            with self._files, self.evaluator, hparams.session(self._folder, self._flags):
                training.run()
            self.rows[-1]["status"] = FINISHED
        except Diverged as divergence:
            self.rows += self.rows_of_divergence(divergence.step)
            self.rows[-1]["status"] = DIVERGED
        return self.rows

    def rows_of_divergence(self, step: int) -> list[Row]:
        """Returns one row or more for a training that diverged at a step."""
        return [{"step": step, "seconds": self.training.seconds_in_steps}]

    def on_start(self, training: Training, step: int) -> None:
        """Keeps the training."""
        self.training = training

    def on_point(self, step: int, scalars: dict[str, float]) -> None:
        """Adds a point to the training curves."""
        curves = {tag: v for tag, v in scalars.items() if tag not in (LEARNING_RATE_TAG, SPEED_TAG)}
        self.events("train").scalars(step, curves)

    def events(self, name: str) -> EventWriter:
        """Returns the writer of one of the run's event files, opened when it is first used."""
        if name not in self._events:
            writer = EventWriter(self._folder / name, first_step=0)
            self._events[name] = self._files.enter_context(writer)
        return self._events[name]

    def classify(self, split: Split) -> Outcome:
        """Classifies images in the inference graph, with the current values of the variables."""
        self.evaluator.load(self.training.weights.values(), "the training graph")
        return self.evaluator.classify(*split)


class LearningCurve(Trial):
    """Evaluates a network along the way.

    Its rows have `step`, `seconds` of training so far, `loss` (nats) and `accuracy` (a share) on a
    split, and what `look` returns. The last row also has `test_accuracy`. If training diverged, the
    last row has only `step` and `seconds`.
    """

    def __init__(
        self,
        flags: dict[str, Any],
        dataset: Dataset,
        folder: pathlib.Path,
        evaluate_at: Collection[int],
        *,
        split: str = "validation",
        look: Callable[[Evaluator], Row] = lambda evaluator: {},
        bn_options: BatchNormOptions = dict,
    ):
        """Takes what a `Trial` takes and when, on what, how to evaluate.

        Args:
            flags, dataset, folder, bn_options: see `Trial`.
            evaluate_at: the steps after which to evaluate. The last step is always included.
            split: the split to evaluate on.
            look: takes other measurements in the inference graph at the same steps.
        """
        super().__init__(flags, dataset, folder, bn_options)
        self._evaluate_at = {*evaluate_at, flags["train_steps"]}
        self._split = split
        self._look = look

    def on_step(self, step: int, taken: Step) -> None:
        """Evaluates if it is time to."""
        if step not in self._evaluate_at:
            return
        outcome = self.classify(getattr(self.dataset, self._split))
        self.events(self._split).scalars(step, outcome.scalars)
        row = {"step": step, "seconds": self.training.seconds_in_steps}
        row |= {"loss": outcome.loss, "accuracy": outcome.accuracy}
        self.rows.append(row | self._look(self.evaluator))

    def on_end(self) -> None:
        """Adds the accuracy on the test images."""
        last = self.rows[-1]
        if self._split == "test":
            last["test_accuracy"] = last["accuracy"]
        else:
            test = self.classify(self.dataset.test)
            self.events("test").scalars(last["step"], test.scalars)
            last["test_accuracy"] = test.accuracy
