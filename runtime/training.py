"""The training loop: steps, checkpoints, and evaluations that read those checkpoints."""

import collections
import contextlib
import dataclasses
import pathlib
import signal
import time
from collections.abc import Iterator
from typing import Any

import tensorflow.compat.v1 as tf

from runtime import checkpoints
from runtime.checkpoints import Run
from runtime.evaluation import Evaluator, Outcome
from runtime.progress import Progress, note
from runtime.session import Interrupted, StopRequest
from runtime.summaries import EventWriter, markdown_table, remove_events

# The training curves show the mean over this many steps.
STEPS_PER_POINT = 10


def train(
    graph: Any,
    run: Run,
    batches: Any,
    validation: Any,
    evaluator: Evaluator,
    summary_dir: pathlib.Path,
) -> str:
    """Trains a run from its last checkpoint, or from its start, to its end.

    Args:
        graph: a `model.TrainingGraph`.
        run: its flags say for how long, and how often to save and to evaluate.
        batches: a `mnist.batches.Batches` of the training images.
        validation: a `mnist.datasets.Split`.
        evaluator: an inference graph of the same network.
        summary_dir: the folder of this run's event files.

    Returns:
        The path of the last checkpoint.

    Raises:
        InputError: the last checkpoint can't be restored.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
    """
    with tf.Session(graph=graph.graph) as session, StopRequest() as stop:
        saver = _saver(graph, run)
        first_step = _restore_or_initialize(graph, session, saver, run)
        if first_step == 0:
            remove_events(summary_dir)
        with (
            EventWriter(summary_dir / "train", first_step + 1, graph.graph) as train_events,
            EventWriter(
                summary_dir / "validation", run.evaluated_step + 1, evaluator.graph.graph
            ) as validation_events,
        ):
            facts = markdown_table({**run.flags, **run.dataset})
            train_events.text(first_step + 1, "flags", facts)
            loop = _Loop(
                graph,
                session,
                saver,
                run,
                batches,
                validation,
                evaluator,
                train_events,
                validation_events,
            )
            return loop.run_until_done(first_step, stop)


def take_step(session: tf.Session, graph: Any, images: Any, labels: Any) -> tuple:
    """Trains on one batch; returns its loss, its accuracy, and the learning rate of the step."""
    _, loss, accuracy, rate = session.run(
        (graph.train_op, graph.loss, graph.accuracy, graph.learning_rate),
        {graph.images: images, graph.labels: labels},
    )
    return loss, accuracy, rate


def _saver(graph: Any, run: Run) -> tf.train.Saver:
    with graph.graph.as_default():
        saver = tf.train.Saver(max_to_keep=checkpoints.CHECKPOINTS_KEPT, save_relative_paths=True)
    # A resumed run's Saver has to know the older checkpoints, or it would never delete them.
    state = tf.train.get_checkpoint_state(str(run.folder))
    if state:
        saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
    return saver


def _restore_or_initialize(graph: Any, session: tf.Session, saver: tf.train.Saver, run: Run) -> int:
    """Returns the number of steps that the weights have been trained for."""
    checkpoint = run.latest_checkpoint()
    if checkpoint is None:
        session.run(graph.initializer)
        return 0
    with graph.graph.as_default():
        checkpoints.restore(saver, session, checkpoint)
    step = int(session.run(graph.global_step))
    note(f"resuming {run.folder} at step {step} of {run.flags['train_steps']}")
    return step


@dataclasses.dataclass
class _Loop:
    """What the steps of one training share."""

    graph: Any
    session: tf.Session
    saver: tf.train.Saver
    run: Run
    batches: Any
    validation: Any
    evaluator: Evaluator
    train_events: EventWriter
    validation_events: EventWriter
    validation_accuracy: float | None = None
    images_per_second: float | None = None

    def run_until_done(self, first_step: int, stop: StopRequest) -> str:
        """Takes the steps after `first_step` and returns the last checkpoint."""
        flags = self.run.flags
        train_steps = flags["train_steps"]

        def is_evaluated(step: int) -> bool:
            return step % flags["eval_every"] == 0 or step == train_steps

        self._started = time.monotonic()
        self._seconds: dict[str, float] = collections.defaultdict(float)
        self._reset_means()
        checkpoint = self.run.latest_checkpoint() or ""
        if is_evaluated(first_step) and self.run.evaluated_step < first_step:
            # The run was stopped between a checkpoint and its evaluation.
            self._evaluate(first_step, checkpoint)
        progress = Progress(train_steps, first_step, self.run.name)
        try:
            for step, batch in enumerate(
                self.batches.ahead(first_step, train_steps), first_step + 1
            ):
                facts = self._take_step(step, *batch)
                stopped_by = stop.signal_number
                if is_evaluated(step):
                    checkpoint = self._save(step)
                    self._evaluate(step, checkpoint)
                elif step % flags["save_every"] == 0 or stopped_by:
                    checkpoint = self._save(step)
                progress.update(step, facts)
                if stopped_by and step < train_steps:
                    raise _interruption(stopped_by, checkpoint)
        finally:
            progress.close()
        note(self._time_spent())
        return checkpoint

    def _take_step(self, step: int, images: Any, labels: Any) -> str:
        loss, accuracy, rate = take_step(self.session, self.graph, images, labels)
        self._losses.append(loss)
        self._accuracies.append(accuracy)
        self._images += len(labels)
        if step % STEPS_PER_POINT == 0:
            self._write_point(step, rate)
        return self._facts(loss)

    def _write_point(self, step: int, learning_rate: float) -> None:
        self.images_per_second = self._images / (time.monotonic() - self._since)
        points = {
            "classification/loss": sum(self._losses) / len(self._losses),
            "classification/accuracy": sum(self._accuracies) / len(self._accuracies),
            "training/learning_rate": learning_rate,
            "training/images_per_second": self.images_per_second,
        }
        with self._off_the_clock("evaluation and summaries"):
            self.train_events.scalars(step, points)
        self._reset_means()

    def _reset_means(self) -> None:
        self._losses: list[float] = []
        self._accuracies: list[float] = []
        self._images = 0
        self._since = time.monotonic()

    def _facts(self, loss: float) -> str:
        facts = [f"loss {loss:.4f}"]
        if self.validation_accuracy is not None:
            facts.append(f"validation accuracy {self.validation_accuracy:.4f}")
        if self.images_per_second is not None:
            facts.append(f"{self.images_per_second:.0f} images/s")
        return ", ".join(facts)

    def _save(self, step: int) -> str:
        # Events first: after a crash those up to the checkpoint are there, later ones are voided.
        self.train_events.flush()
        with self.graph.graph.as_default(), self._off_the_clock("checkpoints"):
            return self.saver.save(
                self.session,
                str(self.run.folder / checkpoints.CHECKPOINT),
                global_step=step,
                write_meta_graph=False,
            )

    def _evaluate(self, step: int, checkpoint: str) -> None:
        """Reads the checkpoint back into the inference graph, as `evaluate.py` would."""
        with self._off_the_clock("evaluation and summaries"):
            self.evaluator.restore(checkpoint)
            outcome = self.evaluator.classify(*self.validation)
            self.validation_accuracy = outcome.accuracy
            self.validation_events.scalars(step, outcome.scalars)
            self.validation_events.serialized(step, self.evaluator.histograms(*self.validation))
            self.validation_events.flush()
        with self._off_the_clock("checkpoints"):
            self._record(step, outcome)

    def _record(self, step: int, outcome: Outcome) -> None:
        if self.run.best is None or outcome.accuracy > self.run.best["validation_accuracy"]:
            self.evaluator.save(checkpoints.BEST, self.run.folder, step)
            self.run.best = {"step": step, "validation_accuracy": outcome.accuracy}
        self.run.evaluated_step = step
        self.run.save()

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


def _interruption(signal_number: int, checkpoint: str) -> Interrupted:
    name = signal.Signals(signal_number).name
    return Interrupted(
        signal_number, f"stopped by {name}, saved {checkpoint}; the same command goes on from there"
    )
