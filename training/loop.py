"""The training loop, the only one: it takes steps, stops, diverges, goes back, tells observers.

A chief, a worker that follows it and a run of a study are the same loop. They differ in the
keeper of their weights and in their observers, so all workers exchange the same things in the same
order.
"""

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from console.errors import CommandError
from console.interruption import SIGNALS, Interrupted, StopRequest
from mnist.batches import Batches
from mnist.datasets import Split
from model import TrainingGraph
from training.curve import LEARNING_RATE_TAG, SAVING, STEPS_PER_POINT, Clock, Point
from training.evaluator import Evaluator
from training.keeper import Keeper
from training.observer import Observer
from training.outcomes import Outcome
from training.plan import Plan
from training.weights import Weights
from training.worker import Worker, WorkerLost

# Each rollback halves the learning rate; after this many, the learning rate is not to blame.
MOST_ROLLBACKS = 5


class Diverged(CommandError):
    """The loss or a variable is no longer finite."""

    def __init__(self, step: int, learning_rate: float, what: str, advice: str = ""):
        """Takes when, at which learning rate, what is not finite, and what to do about it."""
        super().__init__(f"step {step}: {what}, at a learning rate of {learning_rate:.3g}{advice}")
        self.step = step
        self.learning_rate = learning_rate
        self.what = what

    def with_advice(self, advice: str) -> "Diverged":
        """Returns the same, with advice to the user."""
        return Diverged(self.step, self.learning_rate, self.what, advice)


class Step(NamedTuple):
    """What is known of a step. Loss and accuracy are from before it, of all workers' images."""

    loss: float
    accuracy: float
    learning_rate: float
    stop_signal: int | None  # the signal after which all workers stop, if one of them got one
    fetched: Mapping[str, Any] = {}  # the values of what observers had fetched
    trace: tf.RunMetadata | None = None  # the time and memory of every op


def take_step(
    session: tf.Session,
    graph: TrainingGraph,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    rate_factor: float = 1.0,
    stop_signal: int | None = None,
    is_traced: bool = False,
    fetches: Mapping[str, Any] | None = None,
    options: tf.RunOptions | None = None,
) -> Step:
    """Trains on one batch.

    Args:
        session, graph: of the training graph.
        images, labels: the batch, or this worker's part of it.
        rate_factor: by which the schedule's learning rate is multiplied.
        stop_signal: one of `SIGNALS` if this worker got it, so that all stop after the step.
        is_traced: whether to record the time and memory of every op.
        fetches: what else to compute in the step, by the names under which it is returned.
        options: of the session's run.
    """
    trace = tf.RunMetadata() if is_traced else None
    if is_traced:
        traced = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        if options is not None:
            traced.MergeFrom(options)
        options = traced
    _, loss, accuracy, rate, stop_wishes, fetched = session.run(
        (
            graph.train_op,
            graph.loss,
            graph.accuracy,
            graph.learning_rate,
            graph.stop_wishes,
            fetches or {},
        ),
        {
            graph.images: images,
            graph.labels: labels,
            graph.rate_factor: rate_factor,
            graph.stop_wish: [float(number == stop_signal) for number in SIGNALS],
        },
        options=options,
        run_metadata=trace,
    )
    wanted = [number for number, wishes in zip(SIGNALS, stop_wishes, strict=True) if wishes]
    return Step(loss, accuracy, rate, wanted[0] if wanted else None, fetched, trace)


class Training:
    """One training, from its first step or a checkpoint to its end.

    Attributes:
        batches: of the training images; of each batch, this worker's part.
        plan: when to save and to evaluate.
        keeper: where the weights come from and are kept.
        worker: which of the workers this process is.
        weights, clock: once it has started. The clock measures the time spent on training;
            observers stop it for what they do.
        seconds_in_steps: how long all steps took so far, and nothing else; for studies, which do
            without the clock.
    """

    def __init__(
        self,
        graph: TrainingGraph,
        batches: Batches,
        plan: Plan,
        keeper: Keeper,
        worker: Worker,
        observers: Sequence[Observer] = (),
    ):
        """Takes the training graph, and what the attributes are."""
        self.plan = plan
        self.keeper = keeper
        self.worker = worker
        self.batches = batches
        self.seconds_in_steps = 0.0
        self._graph = graph
        self._observers = observers
        self._fetches = {
            name: tensors for observer in observers for name, tensors in observer.fetches.items()
        }
        self._rollbacks = self.keeper.rollbacks_before
        self._point = Point()

    def run(self, stop: StopRequest | None = None) -> None:
        """Takes all steps.

        Args:
            stop: how a signal asks to stop; None leaves signals to others.

        Raises:
            InputError: no checkpoint of the run can be restored.
            Interrupted: a signal asked to stop; the weights have been saved.
            Diverged: and `on_nan` is "stop", or it went back too often already.
            WorkerLost: another worker stopped answering; what could be saved was.
            CommandError: checkpoints or curves can't be written.
        """
        with self.worker.session(self._graph) as session:
            self.weights = Weights(self._graph, session)
            with stop or contextlib.nullcontext():
                # One that is not entered never asks to stop.
                self._train(stop or StopRequest())
            for observer in self._observers:
                observer.on_end()

    def tell_evaluation(self, step: int, outcome: Outcome, evaluator: Evaluator) -> None:
        """Tells all observers that one of them has evaluated the weights after a step."""
        for observer in self._observers:
            observer.on_evaluation(step, outcome, evaluator)

    def tell_test(self, test: Split, outcome: Outcome, result: dict[str, Any]) -> None:
        """Tells all observers what one of them has found on the test images, at the end."""
        for observer in self._observers:
            observer.on_test(test, outcome, result)

    @property
    def rate_factor(self) -> float:
        """By which the schedule's learning rate is multiplied."""
        return 0.5**self._rollbacks

    def _train(self, stop: StopRequest) -> None:
        self.keeper.begin(self.weights)
        self.clock = Clock()
        step = self._start_from_chief()
        for observer in self._observers:
            observer.on_start(self, step)
        self.worker.meet()
        while step < self.plan.train_steps:
            try:
                self._take_steps(step, stop)
                step = self.plan.train_steps
            except Diverged as divergence:
                step = self._go_back(divergence)
            except WorkerLost as lost:
                raise self.keeper.rescue(lost, self._point.seen) from lost
        self.worker.leave()

    def _start_from_chief(self) -> int:
        """Goes on from the chief's weights; returns how many steps they have been trained for."""
        self.worker.share_weights()
        self._point = Point(self.keeper.unfinished_point(), self.clock.seconds())
        return self.weights.step()

    def _take_steps(self, steps_done: int, stop: StopRequest) -> None:
        batches = self.batches.ahead(steps_done, self.plan.train_steps)
        for step, batch in enumerate(batches, steps_done + 1):
            taken = self._checked_step(step, *batch, stop_signal=stop.signal_number)
            self._add_to_curve(step, taken)
            if self.plan.is_pause_due(step) or taken.stop_signal:
                self._pause(step, taken)
            for observer in self._observers:
                observer.on_step(step, taken)
            if taken.stop_signal and step < self.plan.train_steps:
                raise Interrupted(taken.stop_signal, self.keeper.how_to_resume())

    def _checked_step(
        self, step: int, images: np.ndarray, labels: np.ndarray, *, stop_signal: int | None
    ) -> Step:
        began = time.perf_counter()
        with self.worker.watched(is_step=True) as options:
            taken = take_step(
                self.weights.session,
                self._graph,
                images,
                labels,
                rate_factor=self.rate_factor,
                stop_signal=stop_signal,
                is_traced=any(observer.wants_trace(step) for observer in self._observers),
                fetches=self._fetches,
                options=options,
            )
        self.seconds_in_steps += time.perf_counter() - began
        if not math.isfinite(taken.loss):
            raise Diverged(step, taken.learning_rate, f"the loss is {taken.loss}")
        return taken

    def _add_to_curve(self, step: int, taken: Step) -> None:
        self._point.add(taken.loss, taken.accuracy, self.batches.batch_size)
        if step % STEPS_PER_POINT == 0:
            scalars = {
                **self._point.scalars(self.clock.seconds()),
                LEARNING_RATE_TAG: taken.learning_rate,
            }
            self._point = Point(began=self.clock.seconds())
            for observer in self._observers:
                observer.on_point(step, scalars)

    def _pause(self, step: int, taken: Step) -> None:
        """Saves if that is due or a signal stops it, and lets observers do what takes long."""
        is_saved = self.plan.is_save_due(step) or taken.stop_signal is not None
        if is_saved:
            with self.clock.stopped(SAVING):
                self.worker.average_statistics()
                # The run may go back to this checkpoint, so it must be good.
                if not self.weights.are_finite():
                    what = "a variable is infinite or not a number"
                    raise Diverged(step, taken.learning_rate, what)
                self.keeper.save(step, list(self._point.seen))
        for observer in self._observers:
            observer.on_pause(step)
        self.worker.meet()

    def _go_back(self, divergence: Diverged) -> int:
        """Goes back to what was kept last, with half the learning rate; returns its step."""
        kept = f"the last good checkpoint is {self.keeper.kept()}"
        if self.plan.on_nan == "stop":
            raise divergence.with_advice(
                f"; {kept}. Lower --learning_rate, or use --on_nan=rollback to go back and halve it"
            )
        if self._rollbacks >= MOST_ROLLBACKS:
            raise divergence.with_advice(f", after going back {MOST_ROLLBACKS} times; {kept}")
        self._rollbacks += 1
        self.keeper.go_back(divergence.step)
        step = self._start_from_chief()
        for observer in self._observers:
            observer.on_rollback(step, divergence)
        self.worker.meet()
        return step
