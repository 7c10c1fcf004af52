"""When a training is saved and evaluated, for how long it goes on, and what if it diverges."""

from typing import Any, NamedTuple


class Plan(NamedTuple):
    """The same on all workers, so that they know when they wait for the chief."""

    train_steps: int
    save_every: int
    eval_every: int
    has_validation: bool  # whether there is anything to evaluate on
    on_nan: str = "stop"  # or "rollback"

    @classmethod
    def of_flags(cls, flags: dict[str, Any], *, has_validation: bool) -> "Plan":
        """Returns the plan of a run with these flags of `train.py`."""
        return cls(
            train_steps=flags["train_steps"],
            save_every=flags["save_every"],
            eval_every=flags["eval_every"],
            has_validation=has_validation,
            on_nan=flags["on_nan"],
        )

    def is_save_due(self, step: int) -> bool:
        """Returns whether there is a checkpoint after this step."""
        return self._is_due(self.save_every, step) or self.is_evaluation_due(step)

    def is_evaluation_due(self, step: int) -> bool:
        """Returns whether the checkpoint after this step is evaluated."""
        return self.has_validation and self._is_due(self.eval_every, step)

    def is_early_evaluation_due(self, step: int) -> bool:
        """Returns whether the weights after this step are evaluated without a checkpoint.

        Before the first evaluation, after 0, 1, 2, 4, 8 ... steps: a network changes most at first.
        """
        is_power_of_two_or_zero = step & (step - 1) == 0
        is_early = step < min(self.eval_every, self.train_steps)
        return self.has_validation and is_early and is_power_of_two_or_zero

    def is_pause_due(self, step: int) -> bool:
        """Returns whether workers wait for the chief after this step, even without a signal."""
        return self.is_save_due(step) or self.is_early_evaluation_due(step)

    def _is_due(self, interval: int, step: int) -> bool:
        return step > 0 and (step % interval == 0 or step == self.train_steps)
