"""Whether a difference may be chance: of the test stamps, or of the training seeds."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm, t

from dark_halo_scope.evaluation.intervals import LEVEL


def total_interval(difference: float, stamps: Sequence[float], std: float, n_seeds: int) -> list[float]:
    """Interval at 95 % for the choice of test stamps and the luck of training together.

    The variances of the two add; the second is known from few seeds only, so that the quantile is that of t with the
    effective degrees of freedom (Satterthwaite 1946, Biometrics Bulletin 2, 110).

    Args:
        difference: Mean over the seeds.
        stamps: Its interval for the choice of test stamps alone.
        std: Of the difference over the seeds.
        n_seeds: Two or more.
    """
    of_stamps = ((stamps[1] - stamps[0]) / 2 / norm.ppf((1 + LEVEL) / 2)) ** 2
    of_training = std**2 / n_seeds
    freedom = (of_stamps + of_training) ** 2 / of_training**2 * (n_seeds - 1) if of_training else np.inf
    half = float(t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(of_stamps + of_training))
    return [difference - half, difference + half]


def verdict(total: Sequence[float] | None) -> str | None:
    """What a total interval says; None where there is none."""
    if total is None:
        return None
    return "lower" if total[1] < 0 else "higher" if total[0] > 0 else "not told apart"
