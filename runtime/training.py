"""The training loop: steps, checkpoints, and evaluations that read those checkpoints."""

import math
import pathlib
import signal
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from dashboard import pictures, projector
from dashboard.event_files import remove_events
from dashboard.summaries import EventWriter
from mnist.batches import Batches
from mnist.datasets import Split
from runtime import checkpoints, markdown, variables
from runtime.alone import Alone
from runtime.checkpoints import Checkpoint
from runtime.classification import Outcome
from runtime.curve import STEPS_PER_POINT, Clock, Point
from runtime.errors import CommandError, WorkerLost
from runtime.evaluation import AVERAGE, Evaluator
from runtime.files import writing
from runtime.graphs import TrainingGraph
from runtime.interruption import Interrupted, StopRequest
from runtime.progress import Progress, note
from runtime.runs import Run

# The step whose ops are timed. By then, all the memory that a step needs has been allocated once.
TRACED_STEP = 10
# Averaged weights need their own statistics; this many images suffice for a curve.
IMAGES_FOR_STATISTICS = 1000
# There are many early evaluations, so each takes few images.
IMAGES_OF_EARLY_EVALUATION = 200
# Each rollback halves the learning rate; after this many, the learning rate is not to blame.
MOST_ROLLBACKS = 5
# What the clock is stopped for.
SAVING, EVALUATING = "checkpoints", "evaluation and summaries"


class Diverged(Exception):
    """The loss or a variable is no longer finite."""

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
    workers: Alone,
) -> Checkpoint:
    """Trains a run from its last checkpoint, or from its start, to its end.

    Args:
        graph: the network's training graph.
        run: its flags say how long to train, and how often to save and to evaluate.
        batches: the training images.
        validation: the images for the validation curves.
        evaluator: an inference graph of the same network.
        summary_dir: the folder of this run's event files.
        workers: of which this process is the only one, or the chief.

    Returns:
        The last checkpoint.

    Raises:
        InputError: no checkpoint of the run can be restored.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
        CommandError: training diverged and may not be rolled back, or not again; or checkpoints or
            curves can't be written.
    """
    workers.number_from_chief(len(run.rollbacks))
    with workers.session(graph) as session, StopRequest() as stop:
        weights = _Weights(graph, session, run)
        checkpoint = weights.restore_or_initialize()
        workers.share_weights(session)
        steps_done = checkpoint.step if checkpoint else 0
        if checkpoint is None:
            remove_events(summary_dir)
            projector.remove(summary_dir)
        else:
            note(f"resuming {run.folder} at step {steps_done} of {run.flags['train_steps']}")
        # If a damaged checkpoint was skipped, steps after the resumed one are taken again.
        run.workers = [[step, count] for step, count in run.workers if step < steps_done]
        if workers.count != (run.workers[-1][1] if run.workers else 1):
            run.workers.append([steps_done, workers.count])
        # If a damaged checkpoint was skipped, evaluations after the resumed one are undone.
        run.evaluated_step = min(run.evaluated_step, steps_done)
        intervals = Intervals(run.flags, has_validation=len(validation.labels) > 0)
        # An evaluation of the checkpoint itself may not have been recorded: it is made again.
        is_evaluated = not (
            intervals.is_evaluation_missing(steps_done, run.evaluated_step)
            or intervals.is_early_evaluation_due(steps_done, run.evaluated_step)
        )
        with (
            EventWriter(summary_dir / "train", steps_done + 1, graph.graph) as train_events,
            EventWriter(
                summary_dir / "validation",
                steps_done + 1 if is_evaluated else steps_done,
                evaluator.graph.graph,
            ) as validation_events,
        ):
            facts = markdown.table(["name", "value"], {**run.flags, **run.dataset}.items())
            train_events.text(steps_done + 1, "flags", facts)
            loop = _Loop(
                weights,
                run,
                intervals,
                batches.taking(workers.part),
                validation,
                evaluator,
                train_events,
                validation_events,
                workers,
            )
            return loop.run_until_done(checkpoint, stop)


class Intervals(NamedTuple):
    """When a run is saved and evaluated: its flags say so."""

    flags: dict[str, Any]
    has_validation: bool

    def is_save_due(self, step: int) -> bool:
        """Returns whether there is a checkpoint after this step."""
        return self._is_due("save_every", step) or self.is_evaluation_due(step)

    def is_evaluation_due(self, step: int) -> bool:
        """Returns whether the checkpoint after this step is evaluated."""
        return self.has_validation and self._is_due("eval_every", step)

    def is_evaluation_missing(self, step: int, evaluated_step: int) -> bool:
        """Returns whether a run was stopped between a checkpoint and its evaluation's record."""
        return self.is_evaluation_due(step) and evaluated_step < step

    def is_early_evaluation_due(self, step: int, evaluated_step: int = 0) -> bool:
        """Returns whether the weights after this step are evaluated without a checkpoint.

        Before the first evaluation, after 0, 1, 2, 4, 8 ... steps: a network changes most at first.
        `evaluated_step` tells of one at another interval, before the run was resumed.
        """
        is_power_of_two_or_zero = step & (step - 1) == 0
        is_early = step < min(self.flags["eval_every"], self.flags["train_steps"])
        return self.has_validation and is_early and not evaluated_step and is_power_of_two_or_zero

    def is_pause_due(self, step: int) -> bool:
        """Returns whether other workers wait for the chief after this step."""
        return self.is_save_due(step) or self.is_early_evaluation_due(step)

    def _is_due(self, interval: str, step: int) -> bool:
        return step % self.flags[interval] == 0 or step == self.flags["train_steps"]


class Step(NamedTuple):
    """What is known of a step. Loss and accuracy are from before it, of all workers' images."""

    loss: float
    accuracy: float
    learning_rate: float
    stops: bool  # whether a worker wants to stop after it


def take_step(
    session: tf.Session,
    graph: TrainingGraph,
    images: np.ndarray,
    labels: np.ndarray,
    rate_factor: float = 1.0,
    trace: tf.RunMetadata | None = None,
    *,
    wants_to_stop: bool = False,
    options: tf.RunOptions | None = None,
) -> Step:
    """Trains on one batch.

    Args:
        session, graph: of the training graph.
        images, labels: the batch, or this worker's part of it.
        rate_factor: by which the schedule's learning rate is multiplied.
        trace: if given, is filled with the time and memory of every op.
        wants_to_stop: whether this worker wants all workers to stop after the step.
        options: of the run.
    """
    if trace is not None:
        traced = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        if options is not None:
            traced.MergeFrom(options)
        options = traced
    fetches = [graph.train_op, graph.loss, graph.accuracy, graph.learning_rate]
    feed = {graph.images: images, graph.labels: labels, graph.rate_factor: rate_factor}
    if graph.shared:
        fetches.append(graph.shared.stop_wishes)
        feed[graph.shared.stop_wish] = float(wants_to_stop)
    _, loss, accuracy, rate, *wishes = session.run(
        fetches, feed, options=options, run_metadata=trace
    )
    return Step(loss, accuracy, rate, any(wishes) if graph.shared else wants_to_stop)


class _Weights:
    """Saves the training graph's variables to checkpoints, and restores them."""

    def __init__(self, graph: TrainingGraph, session: tf.Session, run: Run):
        self.graph = graph
        self.session = session
        self._run = run
        with graph.graph.as_default():
            self._saver = tf.train.Saver(
                max_to_keep=checkpoints.KEPT, save_relative_paths=True, name="checkpoint/save"
            )
        run.remove_strays()
        # A resumed run's Saver must know the older checkpoints, or it would never delete them.
        older = reversed(run.newest(checkpoints.MODEL))
        self._saver.recover_last_checkpoints([str(checkpoint) for checkpoint in older])

    def restore_or_initialize(self) -> Checkpoint | None:
        """Returns the restored checkpoint, or None if it initialized the weights instead."""
        checkpoint = self._run.newest_sound()
        if checkpoint is None:
            self.session.run(self.graph.initializer)
        else:
            with self.graph.graph.as_default():
                variables.restore(self._saver, self.session, checkpoint)
        return checkpoint

    def save(self, step: int, unfinished_point: list[list[float]]) -> Checkpoint:
        """Saves a checkpoint, and records it.

        Args:
            step: how many steps the weights have been trained for.
            unfinished_point: loss and accuracy of the steps since the last point of the curves.
        """
        prefix = self._run.folder / checkpoints.MODEL
        with self.graph.graph.as_default(), writing(prefix, tf.errors.OpError):
            checkpoint = Checkpoint.at(
                self._saver.save(
                    self.session, str(prefix), global_step=step, write_meta_graph=False
                )
            )
            self._run.unfinished_points[checkpoint.name] = unfinished_point
            self._run.add_checkpoint(checkpoint)
        return checkpoint

    def values(self, names: list[str]) -> dict[str, np.ndarray]:
        """Returns the values of the variables `names`, and of their averages if there are any."""
        with self.graph.graph.as_default():
            chosen = {
                variable.op.name: variable
                for variable in tf.global_variables()
                if variable.op.name.removesuffix(AVERAGE) in names
            }
        return self.session.run(chosen)

    def are_finite(self) -> bool:
        """Whether all variables are finite."""
        return bool(self.session.run(self.graph.is_finite))


class _Loop:
    """The steps of one training run, from a checkpoint or the start to the end."""

    def __init__(
        self,
        weights: _Weights,
        run: Run,
        intervals: Intervals,
        batches: Batches,
        validation: Split,
        evaluator: Evaluator,
        train_events: EventWriter,
        validation_events: EventWriter,
        workers: Alone,
    ):
        self._weights = weights
        self._run = run
        self._intervals = intervals
        self._batches = batches
        self._validation = validation
        self._evaluator = evaluator
        self._train_events = train_events
        self._validation_events = validation_events
        self._workers = workers
        self._train_steps: int = run.flags["train_steps"]
        self._step_to_trace: int | None = min(TRACED_STEP, self._train_steps)
        self._clock = Clock()
        self._point = Point()
        self._checkpoint: Checkpoint | None = None
        self._validation_accuracy: float | None = None
        self._images_per_second: float | None = None

    def run_until_done(self, checkpoint: Checkpoint | None, stop: StopRequest) -> Checkpoint:
        """Takes the steps after `checkpoint`, and returns the last checkpoint."""
        step = self._go_on_from(checkpoint)
        if checkpoint and self._intervals.is_evaluation_missing(step, self._run.evaluated_step):
            self._evaluate(checkpoint)
        self._evaluate_early_if_due(step)
        self._workers.release()
        with Progress(self._train_steps, step, self._run.name) as progress:
            while step < self._train_steps:
                try:
                    self._take_steps(step, progress, stop)
                    step = self._train_steps
                except Diverged as divergence:
                    step = self._roll_back(divergence)
                except WorkerLost as loss:
                    raise self._saved_at_the_loss(loss) from loss
        self._workers.leave()
        note(f"{self._run.name}: {self._clock.report()}")
        assert self._checkpoint is not None, "the last step saves one"
        return self._checkpoint

    def _go_on_from(self, checkpoint: Checkpoint | None) -> int:
        """Resumes at a checkpoint, perhaps between two points of the curves; returns its step."""
        self._checkpoint = checkpoint
        seen = self._run.unfinished_points.get(checkpoint.name, []) if checkpoint else []
        self._point = Point(seen, self._clock.seconds())
        return checkpoint.step if checkpoint else 0

    def _take_steps(self, steps_done: int, progress: Progress, stop: StopRequest) -> None:
        batches = self._batches.ahead(steps_done, self._train_steps)
        for step, batch in enumerate(batches, steps_done + 1):
            taken = self._take_step(step, *batch, stop.signal_number is not None)
            if self._intervals.is_save_due(step) or taken.stops:
                checkpoint = self._save(step, taken.learning_rate)
                if self._intervals.is_evaluation_due(step):
                    self._evaluate(checkpoint)
            self._evaluate_early_if_due(step)
            if self._intervals.is_pause_due(step) or taken.stops:
                self._workers.release()
            progress.update(step, self._facts(taken.loss))
            if taken.stops and step < self._train_steps:
                raise Interrupted(
                    # Without a signal of its own, another worker got it.
                    stop.signal_number or signal.SIGINT,
                    f"saved {self._checkpoint}; "
                    "the same command (without --overwrite) resumes from there",
                )

    def _take_step(
        self, step: int, images: np.ndarray, labels: np.ndarray, wants_to_stop: bool
    ) -> Step:
        trace = tf.RunMetadata() if step == self._step_to_trace else None
        with self._workers.watched(is_step=True) as options:
            taken = take_step(
                self._weights.session,
                self._weights.graph,
                images,
                labels,
                self._rate_factor(),
                trace,
                wants_to_stop=wants_to_stop,
                options=options,
            )
        if not math.isfinite(taken.loss):
            raise Diverged(step, taken.learning_rate, f"the loss is {taken.loss}")
        if trace is not None:
            self._write_trace(step, trace)
        self._point.add(taken.loss, taken.accuracy, self._batches.batch_size)
        if step % STEPS_PER_POINT == 0:
            self._write_point(step, taken.learning_rate)
        return taken

    def _write_trace(self, step: int, trace: tf.RunMetadata) -> None:
        with self._clock.stopped(EVALUATING):
            self._train_events.trace(step, trace)
        # Not again after a rollback.
        self._step_to_trace = None

    def _write_point(self, step: int, learning_rate: float) -> None:
        self._images_per_second = self._point.images_per_second(self._clock.seconds())
        with self._clock.stopped(EVALUATING):
            self._train_events.scalars(
                step,
                {
                    **self._point.scalars(),
                    "training/learning_rate": learning_rate,
                    "training/images_per_second": self._images_per_second,
                },
            )
        self._point = Point(began=self._clock.seconds())

    def _facts(self, loss: float) -> str:
        facts = [f"loss {loss:.4f}"]
        if self._validation_accuracy is not None:
            facts.append(f"validation accuracy {self._validation_accuracy:.4f}")
        if self._images_per_second is not None:
            facts.append(f"{self._images_per_second:.0f} images/s")
        return ", ".join(facts)

    def _rate_factor(self) -> float:
        return 0.5 ** len(self._run.rollbacks)

    def _save(self, step: int, learning_rate: float) -> Checkpoint:
        with self._clock.stopped(SAVING):
            self._workers.average_statistics(self._weights.session)
            # The run may be rolled back to this checkpoint, so it must be good.
            if not self._weights.are_finite():
                raise Diverged(step, learning_rate, "a variable is infinite or not a number")
            self._checkpoint = self._weights.save(step, list(self._point.seen))
        return self._checkpoint

    def _evaluate(self, checkpoint: Checkpoint) -> None:
        """Reads the checkpoint back into the inference graph, as `evaluate.py` would."""
        step = checkpoint.step
        with self._clock.stopped(EVALUATING):
            if self._run.flags["weight_average"]:
                some = self._batches.first_images(IMAGES_FOR_STATISTICS)
                keep_waiting = self._workers.keep_waiting
                self._evaluator.restore_average(checkpoint, *some, on_batch=keep_waiting)
            else:
                self._evaluator.restore(checkpoint)
            outcome = self._evaluator.classify(
                *self._validation, on_batch=self._workers.keep_waiting
            )
            self._show(step, outcome)
            self._validation_accuracy = outcome.accuracy
        with self._clock.stopped(SAVING):
            self._record(step, outcome)

    def _evaluate_early_if_due(self, step: int) -> None:
        """Adds a point to the validation curves that costs little, from a few images."""
        is_due = self._intervals.is_early_evaluation_due(step, self._run.evaluated_step)
        # The next step or save reports infinite values.
        if not (is_due and self._weights.are_finite()):
            return
        with self._clock.stopped(EVALUATING):
            names = self._evaluator.variable_names()
            values, source = self._weights.values(names), f"the weights at step {step}"
            keep_waiting = self._workers.keep_waiting
            if self._run.flags["weight_average"]:
                some = self._batches.first_images(IMAGES_OF_EARLY_EVALUATION)
                self._evaluator.load_average(values, source, *some, on_batch=keep_waiting)
            else:
                self._evaluator.load(values, source)
            images, labels = self._validation
            part = slice(IMAGES_OF_EARLY_EVALUATION)
            outcome = self._evaluator.classify(images[part], labels[part], on_batch=keep_waiting)
            self._show(step, outcome)

    def _show(self, step: int, outcome: Outcome) -> None:
        """Writes the outcome, and what else the evaluator's weights show."""
        self._validation_events.scalars(step, outcome.scalars)
        histograms = self._evaluator.histograms(*self._validation)
        if histograms is not None:
            self._validation_events.serialized(step, histograms)
        filters = pictures.filter_grid(self._evaluator.filters())
        self._validation_events.image(step, "first-layer filters", filters)

    def _record(self, step: int, outcome: Outcome) -> None:
        self._run.evaluated_step = step
        self._run.validation_accuracy = outcome.accuracy
        best = self._run.best
        if best is None or outcome.accuracy > best["validation_accuracy"]:
            self._run.best = {"step": step, "validation_accuracy": outcome.accuracy}
            self._run.add_checkpoint(self._evaluator.save(checkpoints.BEST, self._run.folder, step))
        else:
            self._run.save()

    def _roll_back(self, divergence: Diverged) -> int:
        """Goes back to the last checkpoint with half the learning rate; returns its step."""
        rollbacks = self._run.rollbacks
        good = self._checkpoint or "not written yet"
        if self._run.flags["on_nan"] == "stop":
            raise CommandError(
                f"{divergence}; the last good checkpoint is {good}. Lower --learning_rate, "
                "or use --on_nan=rollback to go back and halve it"
            )
        if len(rollbacks) == MOST_ROLLBACKS:
            raise CommandError(
                f"{divergence}, after going back {MOST_ROLLBACKS} times; "
                f"the last good checkpoint is {good}"
            )
        rollbacks.append(divergence.step)
        self._run.save()
        step = self._go_on_from(self._weights.restore_or_initialize())
        self._workers.share_weights(self._weights.session)
        self._workers.release()
        for events in (self._train_events, self._validation_events):
            events.void_from(step + 1)
        note(f"{divergence}; back to step {step} with {self._rate_factor():g} of the learning rate")
        return step

    def _saved_at_the_loss(self, loss: WorkerLost) -> WorkerLost:
        """Saves the last step that all workers have taken; returns what to tell the user."""
        if self._weights.are_finite():
            done = int(self._weights.session.run(self._weights.graph.global_step))
            self._checkpoint = self._weights.save(done, list(self._point.seen))
        saved = self._checkpoint or "nothing yet"
        return WorkerLost(
            f"{loss}; saved {saved}; started again, all workers resume from there", loss.ranks
        )
