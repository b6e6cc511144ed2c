"""Rates of stamps in bins, with 95 % intervals: resampled regions where they can tell, else binomial.

Lenses of one region share seeing, depth and hosts, so that a binomial interval is too short. In simulated surveys (400
each of 10 to 100 regions, 3 to 40 lenses a region, completeness scattering between regions by 0, 0.5 or 1 in the
logit), the resampled interval covered the truth in 91 to 98 % of cases; the binomial one did so where regions were
alike, but in 53 to 58 % where 40 lenses a region scattered by 1.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dark_halo_scope.evaluation.intervals import MIN_EVENTS, MIN_REGIONS, binomial_interval, expanded_percentile

BINOMIAL, RESAMPLED = "Wilson", "region bootstrap"
MIN_STAMPS_PER_RATE = 10
_CHUNK_WEIGHTS = 4_000_000  # weights of regions held at once: 32 MB in float64

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class RegionResamples:
    """Regions of sky drawn with replacement, the same draws for every rate.

    Args:
        regions: (N,) any label of the sky region of each stamp.
        n_resamples: how many times the regions are redrawn.
        seed: of the draws.
    """

    def __init__(self, regions: ArrayLike, n_resamples: int = 1000, seed: int = 0) -> None:
        names, self._region = np.unique(np.asarray(regions), return_inverse=True)
        chance = np.full(names.size, 1 / names.size)
        drawn = np.random.default_rng(seed).multinomial(names.size, chance, size=n_resamples)
        self._times_drawn = drawn.astype(np.uint16)  # (n_resamples, R)

    def of(self, chosen: NDArray[np.bool_]) -> Self:
        """The same draws for some of the stamps; chosen (N,)."""
        part = object.__new__(type(self))
        part._region, part._times_drawn = self._region[chosen], self._times_drawn
        return part

    def intervals(self, cell: Integers, passed: NDArray[np.bool_], n_cells: int) -> tuple[Floats, Integers]:
        """Ends (2, K) of the interval of the rate in every cell, and the number (K,) of regions that have stamps in it.

        Args:
            cell: (N,) number of each stamp's cell, 0 ... K - 1.
            passed: (N,).
            n_cells: K; the ends are NaN where fewer than `MIN_REGIONS` regions have stamps.
        """
        n_regions = self._times_drawn.shape[1]
        place = self._region * n_cells + cell
        n, k = (
            np.bincount(place, weights, n_regions * n_cells).reshape(n_regions, n_cells) for weights in (None, passed)
        )
        carrying = np.count_nonzero(n, axis=0)
        ends = np.full((2, n_cells), np.nan)
        enough = np.flatnonzero(carrying >= MIN_REGIONS)
        chunk = max(1, _CHUNK_WEIGHTS // n_regions)
        rates = []
        for start in range(0, len(self._times_drawn), chunk):
            weights = self._times_drawn[start : start + chunk].astype(np.float64)
            with np.errstate(invalid="ignore"):  # no stamp of the cell in a resample: NaN, which counts for nothing
                rates.append((weights @ k[:, enough]) / (weights @ n[:, enough]))
        for position, index in enumerate(enough):
            resampled = np.concatenate([rate[:, position] for rate in rates])
            ends[:, index] = expanded_percentile(resampled[np.isfinite(resampled)], int(carrying[index]))
        return ends, carrying


def rate_intervals(
    cell: Integers, passed: NDArray[np.bool_], n_cells: int, resamples: RegionResamples | None
) -> tuple[Floats, NDArray[np.bool_]]:
    """Ends (2, K) of the interval of the rate in every cell, NaN in an empty one, and whether (K,) it is resampled.

    It is where at least `MIN_REGIONS` regions have stamps in the cell, `MIN_EVENTS` stamps passed and as many failed.
    """
    n = np.bincount(cell, minlength=n_cells)
    k = np.bincount(cell, passed, minlength=n_cells)
    ends = np.where(n > 0, binomial_interval(k, np.maximum(n, 1)), np.nan)
    if resamples is None:
        return ends, np.zeros(n_cells, np.bool_)
    resampled, carrying = resamples.intervals(cell, passed, n_cells)
    is_resampled = (carrying >= MIN_REGIONS) & (np.minimum(k, n - k) >= MIN_EVENTS)
    return np.where(is_resampled, resampled, ends), is_resampled


def rate_records(
    cell: Integers, passed: NDArray[np.bool_], n_cells: int, resamples: RegionResamples | None = None
) -> list[dict[str, Any]]:
    """Count, rate, interval and its ``method`` in every cell; only the counts below `MIN_STAMPS_PER_RATE` stamps."""
    n = np.bincount(cell, minlength=n_cells)
    k = np.bincount(cell, passed, minlength=n_cells)
    ends, is_resampled = rate_intervals(cell, passed, n_cells, resamples)
    unknown = {"rate": None, "interval": None, "method": None}
    return [
        {"n": int(n[index]), "passed": int(k[index])}
        | (
            {
                "rate": float(k[index] / n[index]),
                "interval": ends[:, index].tolist(),
                "method": RESAMPLED if is_resampled[index] else BINOMIAL,
            }
            if n[index] >= MIN_STAMPS_PER_RATE
            else unknown
        )
        for index in range(n_cells)
    ]
