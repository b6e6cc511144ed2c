"""Straight lines through a few noisy values, with the uncertainty of their slope."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

CONFIDENCE = 0.95  # one-sided


@dataclass(frozen=True)
class Trend:
    """Least squares through equidistant values; the scatter about the line is taken to be independent and normal."""

    slope: float  # per step of the series
    stderr: float
    scatter: float  # standard deviation about the line
    n: int

    @property
    def half_width(self) -> float:
        """What to add to the slope for its one-sided 95 % limit."""
        return float(student.ppf(CONFIDENCE, self.n - 2)) * self.stderr

    @property
    def rises(self) -> bool:
        """Whether the slope is above zero beyond its uncertainty."""
        return self.slope - self.half_width > 0

    @property
    def falls(self) -> bool:
        """Whether the slope is below zero beyond its uncertainty."""
        return self.slope + self.half_width < 0


def trend(values: Sequence[float]) -> Trend:
    """Fit three or more values."""
    n = len(values)
    x = np.arange(n) - (n - 1) / 2
    y = np.asarray(values, dtype=np.float64)
    spread = float(x @ x)
    slope = float(x @ y) / spread
    residuals = y - y.mean() - slope * x
    scatter = float(np.sqrt(residuals @ residuals / (n - 2)))
    return Trend(slope, scatter / float(np.sqrt(spread)), scatter, n)
