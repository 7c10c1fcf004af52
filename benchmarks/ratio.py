"""How much faster something is than others, and whether that is enough."""

import statistics
from typing import NamedTuple

COLUMNS = ["what", "at least", "measured", "spread over rounds", "reached"]


class Ratio(NamedTuple):
    """How much faster one contestant is than the best of several others, round by round."""

    what: str
    target: float
    rounds: list[float]

    @classmethod
    def of(cls, what: str, target: float, ours: list[float], others: list[list[float]]) -> "Ratio":
        """Compares with the one of `others` that has the highest median."""
        best = max(others, key=statistics.median)
        return cls(what, target, [a / b for a, b in zip(ours, best, strict=True)])

    @property
    def row(self) -> list[str]:
        """The row of a table with these `COLUMNS`."""
        median = statistics.median(self.rounds)
        spread = f"{min(self.rounds):.2f} to {max(self.rounds):.2f}"
        is_reached = "yes" if round(median, 2) >= self.target else "no"
        return [self.what, f"{self.target:.2f}", f"**{median:.2f}**", spread, is_reached]
