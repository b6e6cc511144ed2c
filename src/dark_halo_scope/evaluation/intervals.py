"""95 % intervals: region bootstrap for anything, binomial for counts.

Stamps of one sky region share seeing, depth and hosts, so they are not independent: whole regions are resampled.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from astropy.stats import binom_conf_interval
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.stats import norm, t

from dark_halo_scope.evaluation.calibration import reliability_bins
from dark_halo_scope.evaluation.metrics import RocCounts, check_sample

Floats = NDArray[np.float64]
LEVEL = 0.95
MIN_REGIONS = 10
MIN_EVENTS = 10  # with fewer stamps found or missed, resampled regions cannot show the true spread
_CHUNK_COUNTS = 4_000_000  # counts held at once: 32 MB in float64
_MAX_STEPS = 16_384  # of a resampled ROC curve; half of them before the strictest controls, where lens finders work


class TooFewRegionsError(ValueError):
    """Too few regions to say how much a number varies from region to region."""


def binomial_interval(successes: ArrayLike, trials: ArrayLike) -> Floats:
    """Interval of a proportion (Wilson 1927).

    Returns:
        (2, ...) lower and upper ends at 95 %. `trials` must be positive.
    """
    return np.asarray(binom_conf_interval(successes, trials, confidence_level=LEVEL, interval="wilson"))


def expanded_percentile(resampled: Floats, n_regions: int) -> Floats:
    """(2, ...) ends of the 95 % interval of a statistic over the first axis, its values on resamples of regions.

    The percentile interval of n regions is too short by about sqrt((n - 1) / n) and ignores the tails of t;
    its percentiles are widened accordingly (Hesterberg 2015, "expanded percentile").
    """
    tail = norm.cdf(np.sqrt(n_regions / (n_regions - 1)) * t.ppf((1 - LEVEL) / 2, n_regions - 1))
    return np.quantile(resampled, [tail, 1 - tail], axis=0)


def _steps(
    descending: NDArray[np.float32], is_lens: NDArray[np.bool_], exact_at: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Ranks (K,), ascending, of the stamps at whose logits the ROC curve is counted; the last stamp always."""
    n = descending.size
    last_of_tie = np.append(np.flatnonzero(np.diff(descending)), n - 1)
    if last_of_tie.size <= _MAX_STEPS:
        return last_of_tie
    before_controls = np.flatnonzero(~is_lens)[: _MAX_STEPS // 2] - 1
    evenly = np.linspace(0, n - 1, _MAX_STEPS // 2).astype(np.int64)
    asked = np.searchsorted(-descending, -exact_at, side="right") - 1
    wanted = np.concatenate([before_controls, evenly, asked, [n - 1]])
    # equal logits pass together: a rank inside a tie goes back to the end of the tie before it
    place = np.searchsorted(last_of_tie, wanted, side="right") - 1
    return last_of_tie[np.unique(place[place >= 0])]


class RegionBootstrap:
    """Resample regions with replacement; recompute statistics of the ROC curve or means over stamps.

    Args:
        logits: (N,) scores.
        labels: (N,) 1 for a lens.
        regions: (N,) any label of the sky region of each stamp.
        n_resamples: how many times to redraw the regions. 1000 fixes the ends of a 95 % interval to about a tenth
            of its width.
        seed: the same seed gives the same interval.
        exact_at: logits at which statistics read the curve. A sample with more than `_MAX_STEPS` distinct logits is
            counted at fewer thresholds: before each of the strictest controls, here, and evenly in between.
    """

    def __init__(
        self,
        logits: ArrayLike,
        labels: ArrayLike,
        regions: ArrayLike,
        n_resamples: int = 1000,
        seed: int = 0,
        exact_at: ArrayLike = (),
    ) -> None:
        checked, self._is_lens = check_sample(logits, labels)
        names, self._region = np.unique(np.asarray(regions), return_inverse=True)
        self.n_regions = names.size
        if self.n_regions < MIN_REGIONS:
            raise TooFewRegionsError(
                f"an interval needs at least {MIN_REGIONS} regions, the sample has {self.n_regions}: "
                "evaluate on more of the sky"
            )
        order = np.argsort(-checked, kind="stable")
        steps = _steps(checked[order], self._is_lens[order], np.asarray(exact_at, np.float32))
        self._thresholds = checked[order][steps]
        step = np.empty(order.size, np.int64)
        step[order] = np.searchsorted(steps, np.arange(order.size))
        # Stamps by region and step of the curve: resampling is then one product with the weights of the regions.
        shape = (self.n_regions, steps.size)
        self._lenses, self._controls = (
            csr_array((np.ones(chosen.sum()), (self._region[chosen], step[chosen])), shape)
            for chosen in (self._is_lens, ~self._is_lens)
        )
        self.weights = self._draw_regions(n_resamples, np.random.default_rng(seed))

    def _draw_regions(self, n_resamples: int, rng: np.random.Generator) -> Floats:
        """How often each region is drawn, (n_resamples, n_regions); a draw lacking a class is redrawn."""
        lenses = np.bincount(self._region, weights=self._is_lens, minlength=self.n_regions)
        controls = np.bincount(self._region, weights=~self._is_lens, minlength=self.n_regions)
        chance = np.full(self.n_regions, 1 / self.n_regions)
        weights = rng.multinomial(self.n_regions, chance, size=n_resamples).astype(np.float64)
        while (lacking := (weights @ lenses == 0) | (weights @ controls == 0)).any():
            weights[lacking] = rng.multinomial(self.n_regions, chance, size=int(lacking.sum()))
        return weights

    def _resampled_counts(self) -> Iterator[RocCounts]:
        chunk = max(1, _CHUNK_COUNTS // self._thresholds.size)
        for start in range(0, len(self.weights), chunk):
            weights = self.weights[start : start + chunk]
            lenses, controls = (np.cumsum(weights @ stamps, axis=1) for stamps in (self._lenses, self._controls))
            yield RocCounts(self._thresholds, lenses, controls)

    def roc_statistics(self, statistics: Callable[[RocCounts], dict[str, Any]]) -> dict[str, Floats]:
        """Evaluate named statistics on every resample; the resamples are the first axis of each."""
        parts = [statistics(counts) for counts in self._resampled_counts()]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def mean(self, values: ArrayLike) -> Floats:
        """(n_resamples,) mean of a per-stamp quantity in every resample."""
        totals = np.bincount(self._region, weights=np.asarray(values), minlength=self.n_regions)
        stamps = np.bincount(self._region, minlength=self.n_regions)
        return (self.weights @ totals) / (self.weights @ stamps)

    def interval(self, resampled: Floats) -> Floats:
        """(2, ...) ends of the 95 % interval over the first axis: see `expanded_percentile`."""
        return expanded_percentile(resampled, self.n_regions)


def calibration_noise(probability: ArrayLike, n_draws: int = 400, seed: int = 0) -> Floats:
    """(2,) range of ECE that a perfectly calibrated model shows on this sample in 95 % of cases.

    The ECE of a finite sample is never 0. Labels are drawn from the probabilities themselves (consistency
    resampling, Broecker & Smith 2007).
    """
    p = np.asarray(probability, dtype=np.float64)
    bins = reliability_bins(p, np.zeros(p.size))
    bin_of = np.searchsorted(bins.low, p, side="right") - 1
    rng = np.random.default_rng(seed)
    errors = np.empty(n_draws)
    for draw in range(n_draws):
        lenses = np.bincount(bin_of, weights=rng.random(p.size) < p, minlength=bins.n.size)
        errors[draw] = np.abs(bins.n * bins.predicted - lenses).sum() / p.size
    return np.quantile(errors, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
