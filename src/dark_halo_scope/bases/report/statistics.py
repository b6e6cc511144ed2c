"""What a handful of groups can say: intervals, tests and shares whose unit is the group.

Windows of one participant, or stamps of one region, are not independent, and neither are repeats (folds, replicates,
seeds) on one target. Each group therefore enters with one number per arm, the mean over its repeats, and groups are
resampled, flipped and counted: what is claimed is to hold for other groups. Personal activity recognition is compared
over users in the same way (Weiss & Lockhart 2012, AAAI technical report WS-12-05: personal, impersonal and hybrid
models; Scheurer et al. 2020, Sensors 20, 3647).
"""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, log2

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from dark_halo_scope.evaluation.intervals import LEVEL, expanded_percentile

Floats = NDArray[np.float64]

ALPHA = 1 - LEVEL
MIN_GROUPS = 6  # of five, no two-sided sign-flip test can reach 0.05, and intervals cover too little
N_RESAMPLES = 4000
_N_SIGNS = 2**16  # sign patterns: all of them up to 17 groups, since a pattern and its opposite say the same
_CHUNK = 8192


class GroupBootstrap:
    """Groups drawn with replacement, the same draws for every arm and point, so that differences are paired.

    Intervals are percentiles, widened for few groups (`expanded_percentile`). Of 1,500 simulated samples of 6, 10 and
    20 groups, they covered a mean in 94, 94 and 95 % where groups scatter normally and in 89, 90 and 92 % where they
    scatter exponentially, as the interval of t does; without the widening, in 86, 89 and 92 % (normal).

    Args:
        n_groups: How many.
        n_resamples: How many times they are drawn.
        seed: The same seed gives the same intervals.
    """

    def __init__(self, n_groups: int, n_resamples: int = N_RESAMPLES, seed: int = 0) -> None:
        chance = np.full(n_groups, 1 / n_groups)
        self._n_groups = n_groups
        self._weights = np.random.default_rng(seed).multinomial(n_groups, chance, n_resamples) / n_groups

    def means(self, values: ArrayLike) -> Floats:
        """(n_resamples, ...) mean over the groups, the first axis of `values`, in every resample."""
        return np.tensordot(self._weights, np.asarray(values, np.float64), 1)

    def interval(self, resampled: Floats) -> Floats:
        """(2, ...) ends of the 95 % interval over the first axis."""
        return expanded_percentile(resampled, self._n_groups)


def mean_interval(values: ArrayLike) -> list[float] | None:
    """Both ends at 95 % of the mean over groups; None for fewer than `MIN_GROUPS`."""
    sample = np.asarray(values, np.float64)
    if sample.size < MIN_GROUPS:
        return None
    bootstrap = GroupBootstrap(sample.size)
    ends: list[float] = bootstrap.interval(bootstrap.means(sample)).tolist()
    return ends


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided probability of a mean difference at least so large if, in each group, either arm could be the better.

    The test of Fisher (1935, The Design of Experiments, section 21): every difference keeps its size and gets either
    sign. All patterns of signs are counted up to 17 groups; of more, 2^16 - 1 random ones, the observed one among them
    (Phipson & Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9, 39: (b + 1) / (m + 1), so that
    it is never 0).

    Args:
        differences: (n_groups,) paired differences.
    """
    sample = np.asarray(differences, np.float64)
    observed = abs(sample.sum()) - 1e-12 * np.abs(sample).sum()  # sums of equal size may differ by rounding
    signs = _signs(sample.size)
    n_as_large = sum(
        int((np.abs(signs[start : start + _CHUNK] @ sample) >= observed).sum())
        for start in range(0, len(signs), _CHUNK)
    )
    return n_as_large / len(signs)


@lru_cache(maxsize=1)
def _signs(n_groups: int) -> NDArray[np.int8]:
    """(n_patterns, n_groups) of +1 and -1; the first is the observed one, all +1."""
    if 2 ** (n_groups - 1) <= _N_SIGNS:
        bits = np.arange(2 ** (n_groups - 1))[:, None] >> np.arange(n_groups) & 1  # the last group is never flipped
    else:
        bits = np.random.default_rng(0).integers(0, 2, (_N_SIGNS, n_groups))
        bits[0] = 0
    return (1 - 2 * bits).astype(np.int8)


def smallest_p(n_groups: int) -> float:
    """That a sign-flip test of so many groups can give: all of them differ the same way."""
    return max(2.0 ** (1 - n_groups), 1 / _N_SIGNS)


def groups_needed(n_tests: int) -> int:
    """Fewest groups of which a sign-flip test can reach 0.05 after the correction for so many tests."""
    return 1 + ceil(log2(n_tests / ALPHA))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for the whole family: below 0.05, the chance of even one false claim among all is at most 0.05.

    Step-down, for any dependence between the tests (Holm 1979, Scandinavian Journal of Statistics 6, 65).
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(stepped, 1)
    told: list[float] = adjusted.tolist()
    return told


def share_interval(n_hits: int, n_groups: int) -> list[float]:
    """Exact interval of a share at 95 %, never too short (Clopper & Pearson 1934, Biometrika 26, 404)."""
    interval = binomtest(n_hits, n_groups).proportion_ci(LEVEL, "exact")
    return [float(interval.low), float(interval.high)]
