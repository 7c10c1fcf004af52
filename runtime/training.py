"""The training loop: steps, checkpoints, and evaluations that read those checkpoints."""

import collections
import contextlib
import dataclasses
import math
import pathlib
import statistics
import time
from collections.abc import Iterator

import numpy as np
import tensorflow.compat.v1 as tf

from mnist.batches import Batches
from mnist.datasets import Split
from runtime import checkpoints, markdown, pictures, projector, variables
from runtime.classification import ACCURACY_TAG, LOSS_TAG, Outcome
from runtime.errors import CommandError
from runtime.evaluation import Evaluator
from runtime.event_files import remove_events
from runtime.files import writing
from runtime.graphs import TrainingGraph
from runtime.interruption import Interrupted, StopRequest
from runtime.progress import Progress, note
from runtime.runs import Run
from runtime.summaries import EventWriter

# The training curves show the mean over this many steps.
STEPS_PER_POINT = 10
# Its ops are timed. By then all memory that a step needs has been asked for once.
TRACED_STEP = 10
# Averaged weights need statistics of their own: of so many images where it is for a curve.
IMAGES_FOR_STATISTICS = 1000
# Each rollback halves the learning rate; after this many it is not the learning rate's fault.
MOST_ROLLBACKS = 5


class Diverged(Exception):
    """The loss or a variable is not a finite number any more."""

    def __init__(self, step: int, learning_rate: float, what: str):
        super().__init__(f"step {step}: {what}, at a learning rate of {learning_rate:.3g}")
        self.step = step


def train(
    graph: TrainingGraph,
    run: Run,
    batches: Batches,
    validation: Split,
    evaluator: Evaluator,
    summary_dir: pathlib.Path,
) -> str:
    """Trains a run from its last checkpoint, or from its start, to its end.

    Args:
        graph: of the network.
        run: its flags say for how long, and how often to save and to evaluate.
        batches: of the training images.
        validation: the images that curves are of.
        evaluator: an inference graph of the same network.
        summary_dir: the folder of this run's event files.

    Returns:
        The path of the last checkpoint.

    Raises:
        InputError: no checkpoint of the run can be restored.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
        CommandError: the loss is not finite, and the run may not, or not again, go back; or
            checkpoints or curves can't be written.
    """
    with tf.Session(graph=graph.graph) as session, StopRequest() as stop:
        weights = _Weights(graph, session, run)
        first_step = weights.restore_or_initialize()
        if first_step == 0:
            remove_events(summary_dir)
            projector.remove(summary_dir)
        else:
            note(f"resuming {run.folder} at step {first_step} of {run.flags['train_steps']}")
        # Where a damaged checkpoint was passed over, evaluations after the one before are undone.
        run.evaluated_step = min(run.evaluated_step, first_step)
        with (
            EventWriter(summary_dir / "train", first_step + 1, graph.graph) as train_events,
            EventWriter(
                summary_dir / "validation", run.evaluated_step + 1, evaluator.graph.graph
            ) as validation_events,
        ):
            facts = markdown.table(["name", "value"], {**run.flags, **run.dataset}.items())
            train_events.text(first_step + 1, "flags", facts)
            loop = _Loop(
                weights, run, batches, validation, evaluator, train_events, validation_events
            )
            return loop.run_until_done(first_step, stop)


def take_step(
    session: tf.Session,
    graph: TrainingGraph,
    images: np.ndarray,
    labels: np.ndarray,
    rate_factor: float = 1.0,
    trace: tf.RunMetadata | None = None,
) -> tuple[float, float, float]:
    """Trains on one batch; returns its loss, its accuracy, and the learning rate of the step.

    Where there is a `trace`, it is filled with time and memory of every op.
    """
    traced = None if trace is None else tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    _, loss, accuracy, rate = session.run(
        (graph.train_op, graph.loss, graph.accuracy, graph.learning_rate),
        {graph.images: images, graph.labels: labels, graph.rate_factor: rate_factor},
        options=traced,
        run_metadata=trace,
    )
    return loss, accuracy, rate


class _Weights:
    """The variables of the training graph, on their way from and to checkpoints."""

    def __init__(self, graph: TrainingGraph, session: tf.Session, run: Run):
        self.graph = graph
        self.session = session
        self._run = run
        with graph.graph.as_default():
            self._saver = tf.train.Saver(max_to_keep=checkpoints.KEPT, save_relative_paths=True)
        run.remove_strays()
        # A resumed run's Saver has to know the older checkpoints, or it would never delete them.
        self._saver.recover_last_checkpoints(run.newest()[::-1])

    def restore_or_initialize(self) -> int:
        """Returns the number of steps that the weights have been trained for."""
        checkpoint = self._run.newest_sound()
        if checkpoint is None:
            self.session.run(self.graph.initializer)
            return 0
        with self.graph.graph.as_default():
            variables.restore(self._saver, self.session, checkpoint)
        return int(self.session.run(self.graph.global_step))

    def save(self, step: int, unfinished_point: list[list[float]]) -> str:
        """Returns the path of the checkpoint.

        Args:
            step: how many steps the weights have been trained for.
            unfinished_point: loss and accuracy of the steps since the last point of the curves.
        """
        prefix = self._run.folder / checkpoints.MODEL
        with self.graph.graph.as_default(), writing(prefix, tf.errors.OpError):
            checkpoint = self._saver.save(
                self.session, str(prefix), global_step=step, write_meta_graph=False
            )
            self._run.unfinished_points[pathlib.Path(checkpoint).name] = unfinished_point
            self._run.add_checkpoint(checkpoint)
        return checkpoint

    def are_finite(self) -> bool:
        """Whether there is no variable that is infinite or not a number."""
        return bool(self.session.run(self.graph.is_finite))


@dataclasses.dataclass
class _Loop:
    """What the steps of one training share."""

    weights: _Weights
    run: Run
    batches: Batches
    validation: Split
    evaluator: Evaluator
    train_events: EventWriter
    validation_events: EventWriter
    validation_accuracy: float | None = None
    images_per_second: float | None = None

    def run_until_done(self, first_step: int, stop: StopRequest) -> str:
        """Takes the steps after `first_step` and returns the last checkpoint."""
        train_steps = self.run.flags["train_steps"]
        self._step_to_trace: int | None = min(TRACED_STEP, train_steps)
        self._started = time.monotonic()
        self._seconds: dict[str, float] = collections.defaultdict(float)
        step = first_step
        self._go_on_at(step)
        if self._is_evaluated(step) and self.run.evaluated_step < step:
            # The run was stopped between a checkpoint and its evaluation.
            self._evaluate(step)
        with Progress(train_steps, first_step, self.run.name) as progress:
            while step < train_steps:
                try:
                    self._take_steps(step, progress, stop)
                    step = train_steps
                except Diverged as divergence:
                    step = self._roll_back(divergence)
        note(self._time_spent())
        return self._checkpoint

    def _go_on_at(self, step: int) -> None:
        """Takes up the checkpoint of a step, which may lie between two points of the curves."""
        self._checkpoint = str(self.run.folder / f"{checkpoints.MODEL}-{step}") if step else ""
        self._start_point()
        self._seen += self.run.unfinished_points.get(pathlib.Path(self._checkpoint).name, [])

    def _is_evaluated(self, step: int) -> bool:
        flags = self.run.flags
        is_due = step % flags["eval_every"] == 0 or step == flags["train_steps"]
        return step > 0 and is_due and len(self.validation.labels) > 0

    def _take_steps(self, first_step: int, progress: Progress, stop: StopRequest) -> None:
        flags = self.run.flags
        batches = self.batches.ahead(first_step, flags["train_steps"])
        for step, batch in enumerate(batches, first_step + 1):
            facts = self._take_step(step, *batch)
            stopped_by = stop.signal_number
            if self._is_evaluated(step):
                self._save(step)
                self._evaluate(step)
            elif step % flags["save_every"] == 0 or step == flags["train_steps"] or stopped_by:
                self._save(step)
            progress.update(step, facts)
            if stopped_by and step < flags["train_steps"]:
                raise Interrupted(
                    stopped_by,
                    f"saved {self._checkpoint}; "
                    "the same command (without --overwrite) goes on from there",
                )

    def _take_step(self, step: int, images: np.ndarray, labels: np.ndarray) -> str:
        trace = tf.RunMetadata() if step == self._step_to_trace else None
        loss, accuracy, rate = take_step(
            self.weights.session, self.weights.graph, images, labels, self._rate_factor(), trace
        )
        self._learning_rate = rate
        if not math.isfinite(loss):
            raise Diverged(step, rate, f"the loss is {loss}")
        if trace is not None:
            self._write_trace(step, trace)
        self._seen.append([float(loss), float(accuracy)])
        self._images += len(labels)
        if step % STEPS_PER_POINT == 0:
            self._write_point(step, rate)
        return self._facts(loss)

    def _write_trace(self, step: int, trace: tf.RunMetadata) -> None:
        with self._off_the_clock("evaluation and summaries"):
            self.train_events.trace(step, trace)
        # Not again after a rollback.
        self._step_to_trace = None

    def _write_point(self, step: int, learning_rate: float) -> None:
        self.images_per_second = self._images / (time.monotonic() - self._since)
        points = {
            LOSS_TAG: statistics.fmean(loss for loss, _ in self._seen),
            ACCURACY_TAG: statistics.fmean(accuracy for _, accuracy in self._seen),
            "training/learning_rate": learning_rate,
            "training/images_per_second": self.images_per_second,
        }
        with self._off_the_clock("evaluation and summaries"):
            self.train_events.scalars(step, points)
        self._start_point()

    def _start_point(self) -> None:
        self._seen: list[list[float]] = []
        self._images = 0
        self._since = time.monotonic()

    def _facts(self, loss: float) -> str:
        facts = [f"loss {loss:.4f}"]
        if self.validation_accuracy is not None:
            facts.append(f"validation accuracy {self.validation_accuracy:.4f}")
        if self.images_per_second is not None:
            facts.append(f"{self.images_per_second:.0f} images/s")
        return ", ".join(facts)

    def _rate_factor(self) -> float:
        return 0.5 ** len(self.run.rollbacks)

    def _save(self, step: int) -> None:
        with self._off_the_clock("checkpoints"):
            # A checkpoint is there to go back to, so it has to be good.
            if not self.weights.are_finite():
                raise Diverged(step, self._learning_rate, "a variable is infinite or not a number")
            self._checkpoint = self.weights.save(step, list(self._seen))

    def _evaluate(self, step: int) -> None:
        """Reads the checkpoint back into the inference graph, as `evaluate.py` would."""
        with self._off_the_clock("evaluation and summaries"):
            if self.run.flags["weight_average"]:
                some = self.batches.first_images(IMAGES_FOR_STATISTICS)
                self.evaluator.restore_average(self._checkpoint, *some)
            else:
                self.evaluator.restore(self._checkpoint)
            outcome = self.evaluator.classify(*self.validation)
            self.validation_accuracy = outcome.accuracy
            self.validation_events.scalars(step, outcome.scalars)
            self.validation_events.serialized(step, self.evaluator.histograms(*self.validation))
            filters = pictures.filter_grid(self.evaluator.filters())
            self.validation_events.image(step, "first-layer filters", filters)
        with self._off_the_clock("checkpoints"):
            self._record(step, outcome)

    def _record(self, step: int, outcome: Outcome) -> None:
        self.run.evaluated_step = step
        if self.run.best is None or outcome.accuracy > self.run.best["validation_accuracy"]:
            self.run.best = {"step": step, "validation_accuracy": outcome.accuracy}
            self.run.add_checkpoint(self.evaluator.save(checkpoints.BEST, self.run.folder, step))
        else:
            self.run.save()

    def _roll_back(self, divergence: Diverged) -> int:
        """Goes back to the last checkpoint with half the learning rate; returns its step."""
        rollbacks = self.run.rollbacks
        good = self._checkpoint or "not written yet"
        if self.run.flags["on_nan"] == "stop":
            raise CommandError(
                f"{divergence}; the last good checkpoint is {good}. Lower --learning_rate, "
                "or let --on_nan=rollback go back and halve it"
            )
        if len(rollbacks) == MOST_ROLLBACKS:
            raise CommandError(
                f"{divergence}, after going back {MOST_ROLLBACKS} times; "
                f"the last good checkpoint is {good}"
            )
        rollbacks.append(divergence.step)
        self.run.save()
        step = self.weights.restore_or_initialize()
        for events in (self.train_events, self.validation_events):
            events.void_from(step + 1)
        self._go_on_at(step)
        note(f"{divergence}; back to step {step} with {self._rate_factor():g} of the learning rate")
        return step

    @contextlib.contextmanager
    def _off_the_clock(self, activity: str) -> Iterator[None]:
        """Images per second are those of training alone."""
        paused = time.monotonic()
        yield
        seconds = time.monotonic() - paused
        self._since += seconds
        self._seconds[activity] += seconds

    def _time_spent(self) -> str:
        """Where the time since the first step went, other than into steps."""
        total = time.monotonic() - self._started
        shares = [f", {100 * s / total:.1f} % {activity}" for activity, s in self._seconds.items()]
        return f"{self.run.name}: {total:.1f} s of training{''.join(shares)}"
