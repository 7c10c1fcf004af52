"""Evaluates a run: on validation images while it is trained, on test images at its end."""

from mnist.datasets import Dataset
from storage import checkpoints
from storage.checkpoints import Checkpoint
from training import outcomes
from training.curve import EVALUATING, SAVING
from training.evaluator import Evaluator, save_exact_population
from training.keeper import CheckpointKeeper
from training.loop import Training
from training.observer import Observer
from training.outcomes import Outcome

# Averaged weights need their own statistics; this many images suffice for a curve.
IMAGES_FOR_STATISTICS = 1000
# There are many early evaluations, so each takes few images.
IMAGES_OF_EARLY_EVALUATION = 200


class Evaluation(Observer):
    """Evaluates checkpoints, and early on the weights themselves; records what they reach."""

    def __init__(self, evaluator: Evaluator, keeper: CheckpointKeeper, dataset: Dataset):
        """Takes an inference graph of the same network, the run's checkpoints, and its images."""
        self._evaluator = evaluator
        self._keeper = keeper
        self._run = keeper.run
        self._dataset = dataset

    def on_start(self, training: Training, step: int) -> None:
        """Makes up for an evaluation if the run was stopped between it and its checkpoint."""
        self._training = training
        checkpoint, plan = self._keeper.checkpoint, training.plan
        if checkpoint and plan.is_evaluation_due(step) and self._run.evaluated_step < step:
            self._evaluate(checkpoint)
        self._evaluate_early_if_due(step)

    def on_pause(self, step: int) -> None:
        """Evaluates if it is time to."""
        if self._training.plan.is_evaluation_due(step):
            assert self._keeper.checkpoint is not None, "one is saved for each evaluation"
            self._evaluate(self._keeper.checkpoint)
        self._evaluate_early_if_due(step)

    def on_end(self) -> None:
        """Records what the last weights reach on the test images, which are read only once."""
        checkpoint, run = self._last_checkpoint(), self._run
        self._evaluator.restore(checkpoint)
        outcome = self._evaluator.classify(*self._dataset.test)
        run.result = outcomes.result(outcome, self._dataset.name, "test", checkpoint)
        self._training.tell_test(self._dataset.test, outcome, run.result)
        run.save()

    def _last_checkpoint(self) -> Checkpoint:
        """Returns the checkpoint of the last step, with exact statistics if they are asked for."""
        checkpoint, flags = self._keeper.checkpoint, self._run.flags
        assert checkpoint is not None, "the last step saves one"
        averaged = flags["weight_average"] > 0
        if not averaged and flags["population"] != "exact":
            return checkpoint
        exact = save_exact_population(
            self._evaluator, checkpoint, self._dataset.train, averaged=averaged
        )
        self._run.add_checkpoint(exact)
        return exact

    def _evaluate(self, checkpoint: Checkpoint) -> None:
        """Evaluates a checkpoint, read back from its files, on validation images; records it."""
        with self._training.clock.stopped(EVALUATING):
            if self._run.flags["weight_average"]:
                some = self._dataset.train.first(IMAGES_FOR_STATISTICS)
                self._evaluator.restore_average(checkpoint, *some)
            else:
                self._evaluator.restore(checkpoint)
            outcome = self._evaluator.classify(*self._dataset.validation)
            self._training.tell_evaluation(checkpoint.step, outcome, self._evaluator)
        with self._training.clock.stopped(SAVING):
            self._record(checkpoint.step, outcome)

    def _record(self, step: int, outcome: Outcome) -> None:
        run = self._run
        run.evaluated_step = step
        run.validation_accuracy = outcome.accuracy
        if run.best is None or outcome.accuracy > run.best["validation_accuracy"]:
            run.best = {"step": step, "validation_accuracy": outcome.accuracy}
            run.add_checkpoint(self._evaluator.save(checkpoints.BEST, run.folder, step))
        else:
            run.save()

    def _evaluate_early_if_due(self, step: int) -> None:
        """Adds a point to the validation curves that costs little, from a few images."""
        # Not if there was an evaluation at another interval before the run was resumed.
        is_due = self._training.plan.is_early_evaluation_due(step) and not self._run.evaluated_step
        # The next step or save reports infinite values.
        if not (is_due and self._training.weights.are_finite()):
            return
        with self._training.clock.stopped(EVALUATING):
            values = self._training.weights.values(self._evaluator.variable_names())
            source = f"the weights at step {step}"
            if self._run.flags["weight_average"]:
                some = self._dataset.train.first(IMAGES_OF_EARLY_EVALUATION)
                self._evaluator.load_average(values, source, *some)
            else:
                self._evaluator.load(values, source)
            some = self._dataset.validation.first(IMAGES_OF_EARLY_EVALUATION)
            outcome = self._evaluator.classify(*some)
            self._training.tell_evaluation(step, outcome, self._evaluator)
