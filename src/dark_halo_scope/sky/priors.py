"""Distributions a survey config may name for the injected lenses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class SurveyConfigError(ValueError):
    """A survey that cannot be simulated as configured."""


@dataclass(frozen=True)
class Uniform:
    """A continuous prior, flat between two bounds."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise SurveyConfigError(f"a uniform prior needs low <= high, got low={self.low} and high={self.high}")

    @property
    def minimum(self) -> float:
        """Smallest value that can be drawn."""
        return self.low

    @property
    def maximum(self) -> float:
        """Largest value that can be drawn."""
        return self.high

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """``count`` independent values."""
        return rng.uniform(self.low, self.high, count)


@dataclass(frozen=True)
class Grid:
    """A discrete prior: the values of an injection grid, each equally often up to the remainder."""

    values: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(float(value) for value in self.values))
        if not self.values:
            raise SurveyConfigError("a grid prior needs at least one value")

    @property
    def minimum(self) -> float:
        """Smallest value that can be drawn."""
        return min(self.values)

    @property
    def maximum(self) -> float:
        """Largest value that can be drawn."""
        return max(self.values)

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """``count`` values: whole passes over the grid, then a random part of one more, in random order."""
        passes = -(-count // len(self.values))
        deck = np.concatenate([rng.permutation(np.asarray(self.values)) for _ in range(passes)])
        return rng.permutation(deck[:count])
