"""Does the finder behave the same in every region of sky? Calibration and completeness, region by region."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from scipy.stats import chi2

from dark_halo_scope.evaluation.completeness import rate_by_category
from dark_halo_scope.evaluation.intervals import binomial_interval
from dark_halo_scope.evaluation.rates import MIN_STAMPS_PER_RATE

Floats = NDArray[np.float64]


def region_names(table: pa.Table, column: str) -> list[str]:
    """The region of every stamp, as text; a null is a region of its own."""
    return table[column].cast(pa.string()).fill_null("no region").to_pylist()


def calibration_by_region(calibrated_logits: ArrayLike, labels: ArrayLike, regions: list[str]) -> dict[str, Any]:
    """Observed minus predicted number of lenses in every region, and two tests of whether regions differ.

    ``level`` asks whether probabilities are too high or too low in some regions, ``confidence`` whether they are too
    extreme: the score of a temperature of its own in every region, sum of z (y - p), against its variance under the
    common calibration, sum of z^2 p (1 - p). Both statistics follow chi-squared with one degree of freedom a region
    where the common calibration holds.

    Args:
        calibrated_logits: (N,) logits after calibration.
        labels: (N,) 1 for a lens.
        regions: N names.

    Returns:
        ``regions``: records of ``name``, ``n``, ``predicted`` and ``observed`` fraction, Wilson ``interval`` of the
        latter and ``difference``, most negative difference first; regions of fewer than ten stamps are counted in
        ``n_small`` and left out. ``level`` and ``confidence``: ``chi2``, ``dof``, ``p_value``.
    """
    z, is_lens = np.asarray(calibrated_logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    names, region = np.unique(np.asarray(regions), return_inverse=True)
    p = expit(z)
    n = np.bincount(region)
    variance = p * (1 - p)

    def total(values: Floats) -> Floats:
        return np.bincount(region, values).astype(np.float64)

    predicted, observed = total(p), total(is_lens)
    enough = np.flatnonzero(n >= MIN_STAMPS_PER_RATE)
    low, high = binomial_interval(observed[enough], n[enough])
    records = [
        {
            "name": str(names[index]),
            "n": int(n[index]),
            "predicted": float(predicted[index] / n[index]),
            "observed": float(observed[index] / n[index]),
            "interval": [float(low[position]), float(high[position])],
            "difference": float((observed[index] - predicted[index]) / n[index]),
        }
        for position, index in enumerate(enough)
    ]
    return {
        "regions": sorted(records, key=lambda record: record["difference"]),
        "n_small": int(names.size - enough.size),
        "level": _chi2_test((observed - predicted)[enough], total(variance)[enough]),
        "confidence": _chi2_test(total(z * (is_lens - p))[enough], total(z**2 * variance)[enough]),
    }


def completeness_by_region(found: NDArray[np.bool_], regions: list[str]) -> dict[str, Any]:
    """Completeness in every region with Wilson intervals, and Pearson's test of one completeness for all.

    Args:
        found: (N,) whether each lens passes the threshold.
        regions: N names.
    """
    records = rate_by_category(regions, found)
    shown = [record for record in records if record["rate"] is not None]
    n = np.array([record["n"] for record in shown], dtype=np.float64)
    passed = np.array([record["passed"] for record in shown], dtype=np.float64)
    test = None
    if len(shown) > 1 and 0 < passed.sum() < n.sum():
        common = passed.sum() / n.sum()
        test = _chi2_test(passed - n * common, n * common * (1 - common), dof=len(shown) - 1)
    return {
        "regions": sorted(shown, key=lambda record: record["rate"]),
        "n_small": len(records) - len(shown),
        "test": test,
    }


def _chi2_test(excess: Floats, variance: Floats, dof: int | None = None) -> dict[str, Any] | None:
    """Sum of squared excesses over their variances; None where no region can be tested."""
    tested = variance > 0
    if not tested.any():
        return None
    statistic = float(np.sum(excess[tested] ** 2 / variance[tested]))
    degrees = int(tested.sum()) if dof is None else dof
    return {"chi2": statistic, "dof": degrees, "p_value": float(chi2.sf(statistic, degrees))}
