"""What a training shows on standard error while it runs."""

import contextlib

from console.progress import Progress, note
from training.curve import SPEED_TAG
from training.evaluator import Evaluator
from training.loop import Diverged, Step, Training
from training.observer import Observer
from training.outcomes import Outcome


class ProgressBar(Observer):
    """Shows how far a run is, and what it has reached; a context manager, to close the bar."""

    def __init__(self, name: str):
        """Takes the run's name."""
        self._name = name
        self._files = contextlib.ExitStack()
        self._facts: dict[str, str] = {}  # by kind, in the order in which they are shown

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *exception: object) -> None:
        self._files.close()

    def on_start(self, training: Training, step: int) -> None:
        """Opens the bar."""
        self._training = training
        bar = Progress(training.plan.train_steps, step, self._name)
        self._bar = self._files.enter_context(bar)

    def on_point(self, step: int, scalars: dict[str, float]) -> None:
        """Keeps the speed for the bar."""
        self._facts["speed"] = f"{scalars[SPEED_TAG]:.0f} images/s"

    def on_evaluation(self, step: int, outcome: Outcome, evaluator: Evaluator) -> None:
        """Keeps the accuracy for the bar, unless it is the rough one of a few images."""
        if self._training.plan.is_evaluation_due(step):
            self._facts["accuracy"] = f"validation accuracy {outcome.accuracy:.4f} at {step}"

    def on_step(self, step: int, taken: Step) -> None:
        """Moves the bar."""
        self._facts["loss"] = f"loss {taken.loss:.4f}"
        kinds = ("loss", "accuracy", "speed")
        shown = [self._facts[kind] for kind in kinds if kind in self._facts]
        self._bar.update(step, ", ".join(shown))

    def on_rollback(self, step: int, divergence: Diverged) -> None:
        """Says why the bar goes back."""
        rate = f"{self._training.rate_factor:g} of the learning rate"
        note(f"{divergence}; back to step {step} with {rate}")

    def on_end(self) -> None:
        """Says how long it took."""
        self._bar.close()
        note(f"{self._name}: {self._training.clock.report()}")
