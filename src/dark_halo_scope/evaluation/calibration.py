"""From logits to probabilities that mean what they say: temperature, isotonic, prior shift, reliability.

A calibrator is fitted on validation logits only, is immutable, and travels in a checkpoint as a
plain dictionary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

Floats = NDArray[np.float64]
N_RELIABILITY_BINS = 15


class CalibrationError(ValueError):
    """A calibrator cannot be fitted, read or applied."""


@dataclass(frozen=True)
class ReliabilityBins:
    """Predicted and observed lens fraction in equal-width bins of probability; empty bins are left out.

    Attributes:
        low, high: (K,) bin edges.
        n: (K,) stamps in the bin.
        n_lens: (K,) lenses among them.
        predicted: (K,) mean probability of the bin's stamps.
    """

    low: Floats
    high: Floats
    n: NDArray[np.int64]
    n_lens: NDArray[np.int64]
    predicted: Floats

    @property
    def observed(self) -> Floats:
        """(K,) fraction of lenses found in the bin."""
        return self.n_lens / self.n


def reliability_bins(probability: ArrayLike, labels: ArrayLike, n_bins: int = N_RELIABILITY_BINS) -> ReliabilityBins:
    """Bin stamps by probability; a value on an edge belongs to the bin above it, 1.0 to the last bin."""
    p, is_lens = np.asarray(probability, dtype=np.float64), np.asarray(labels).astype(bool)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    bin_of = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, n_bins - 1)
    n = np.bincount(bin_of, minlength=n_bins)
    n_lens = np.bincount(bin_of, weights=is_lens, minlength=n_bins).astype(np.int64)
    total = np.bincount(bin_of, weights=p, minlength=n_bins)
    filled = n > 0
    return ReliabilityBins(edges[:-1][filled], edges[1:][filled], n[filled], n_lens[filled], total[filled] / n[filled])


def expected_calibration_error(probability: ArrayLike, labels: ArrayLike, n_bins: int = N_RELIABILITY_BINS) -> float:
    """Mean gap between predicted and observed lens fraction, weighted by stamps (Guo et al. 2017, eq. 3)."""
    bins = reliability_bins(probability, labels, n_bins)
    return float(np.sum(bins.n * np.abs(bins.predicted - bins.observed)) / bins.n.sum())


@dataclass(frozen=True)
class TemperatureScaling:
    """Divide every logit by one temperature (Guo et al. 2017, sec. 4.2). Keeps the ranking."""

    method: ClassVar[str] = "temperature"
    temperature: float = 1.0

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Find the temperature between 0.01 and 100 with the smallest negative log-likelihood."""
        z, is_lens = _fit_sample(logits, labels)

        def slope(inverse_temperature: float) -> float:
            # derivative of the mean NLL, which is convex in 1/T: one root at most
            return float(np.mean(z * (expit(inverse_temperature * z) - is_lens)))

        coldest, hottest = 100.0, 0.01
        if slope(coldest) <= 0:  # the sample is perfectly separated: no finite optimum
            return cls(1 / coldest)
        if slope(hottest) >= 0:  # the logits carry no information
            return cls(1 / hottest)
        return cls(1 / brentq(slope, hottest, coldest, xtol=1e-12))

    def logit(self, logits: ArrayLike) -> Floats:
        """Calibrated logits, at the prevalence of the sample fitted on."""
        return np.asarray(logits, dtype=np.float64) / self.temperature

    def probability(self, logits: ArrayLike) -> Floats:
        """Probability of being a lens, at the prevalence of the sample fitted on."""
        return expit(self.logit(logits))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings only."""
        return {"method": self.method, "temperature": self.temperature}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(float(state["temperature"]))


@dataclass(frozen=True)
class IsotonicCalibration:
    """A non-decreasing map from logit to probability (Zadrozny & Elkan 2002), linear between its knots.

    Free of any assumed shape, but it needs thousands of stamps and makes ties, so it must not be used for
    ranking. Probabilities are kept one stamp away from 0 and 1: a finite sample cannot prove certainty.
    """

    method: ClassVar[str] = "isotonic"
    knot_logits: tuple[float, ...]
    knot_probabilities: tuple[float, ...]

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Fit by pooling adjacent violators."""
        z, is_lens = _fit_sample(logits, labels)
        margin = 1.0 / (z.size + 2)
        model = IsotonicRegression(y_min=margin, y_max=1 - margin).fit(z, is_lens)
        return cls(tuple(float(x) for x in model.X_thresholds_), tuple(float(y) for y in model.y_thresholds_))

    def probability(self, logits: ArrayLike) -> Floats:
        """Probability of being a lens, at the prevalence of the sample fitted on."""
        return np.interp(np.asarray(logits, dtype=np.float64), self.knot_logits, self.knot_probabilities)

    def logit(self, logits: ArrayLike) -> Floats:
        """Calibrated logits, at the prevalence of the sample fitted on."""
        return logit(self.probability(logits))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings only."""
        return {
            "method": self.method,
            "knot_logits": list(self.knot_logits),
            "knot_probabilities": list(self.knot_probabilities),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(tuple(state["knot_logits"]), tuple(state["knot_probabilities"]))


Calibrator = TemperatureScaling | IsotonicCalibration
CALIBRATORS: dict[str, type[TemperatureScaling] | type[IsotonicCalibration]] = {
    kind.method: kind for kind in (TemperatureScaling, IsotonicCalibration)
}


def _calibrator_type(method: str) -> type[TemperatureScaling] | type[IsotonicCalibration]:
    if method not in CALIBRATORS:
        raise CalibrationError(f"no calibration method {method!r}: choose one of {', '.join(CALIBRATORS)}")
    return CALIBRATORS[method]


def fit_calibrator(method: str, logits: ArrayLike, labels: ArrayLike) -> Calibrator:
    """Fit the calibrator named `method` (``temperature`` or ``isotonic``) on validation logits."""
    return _calibrator_type(method).fit(logits, labels)


def calibrator_from_dict(state: Mapping[str, Any]) -> Calibrator:
    """Rebuild a calibrator from what `to_dict` gave, as stored in checkpoints."""
    return _calibrator_type(state["method"]).from_dict(state)


def shift_prior(calibrated_logits: ArrayLike, train_prevalence: float, target_prevalence: float) -> Floats:
    """Move calibrated logits from one prevalence of lenses to another (Saerens et al. 2002, eq. 4).

    Holds where only the mix of lenses and controls differs, not what either looks like.

    Args:
        calibrated_logits: logits calibrated on a sample with `train_prevalence`.
        train_prevalence: fraction of lenses in that sample, in (0, 1).
        target_prevalence: fraction of lenses where the probability will be used, in (0, 1).
    """
    for prevalence in (train_prevalence, target_prevalence):
        if not 0 < prevalence < 1:
            raise CalibrationError(f"a prevalence lies between 0 and 1, not {prevalence}: give the fraction of lenses")
    return np.asarray(calibrated_logits, dtype=np.float64) + logit(target_prevalence) - logit(train_prevalence)


def _fit_sample(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    z, is_lens = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if z.size == 0 or not np.isfinite(z).all():
        raise CalibrationError(f"calibration needs finite logits: only {np.isfinite(z).sum()} of {z.size} are")
    if is_lens.min() == is_lens.max():
        raise CalibrationError(f"calibration needs both classes: all {z.size} stamps have label {is_lens[0]:.0f}")
    return z, is_lens
