"""Numbers of a lens finder from float32 logits and labels (1 = lens, 0 = control).

Everything that ranks works on a `RocCounts`, whose counts may carry leading axes: the same functions give one
number for a sample and a vector of numbers for its bootstrap resamples. Ranking uses logits, never probabilities:
a sigmoid in float32 is exactly 1.0 for every logit above 17, and ties there make thresholds meaningless.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from dark_halo_scope.evaluation.calibration import expected_calibration_error

TARGET_FPRS = (1e-2, 1e-3, 1e-4)
PARTIAL_AUROC_FPR = 1e-2
MIN_EXPECTED_FALSE_POSITIVES = 10
BOLOGNA = {"tpr0": 1, "tpr10": 10}  # recall before this many false positives (Metcalf et al. 2019, A&A 625, A119)
Floats = NDArray[np.float64]


class SingleClassError(ValueError):
    """Ranking needs lenses and controls; the sample holds only one of them."""


class NonFiniteLogitError(ValueError):
    """The network returned NaN or infinity."""


@dataclass(frozen=True)
class RocCounts:
    """Lenses and controls at or above each distinct logit, from the strictest threshold to the loosest.

    Attributes:
        thresholds: (K,) float32, strictly descending; a stamp passes where its logit >= threshold.
        lenses: (..., K) number (or total weight) of lenses that pass.
        controls: (..., K) the same of controls: the false positives.
    """

    thresholds: NDArray[np.float32]
    lenses: Floats
    controls: Floats

    @property
    def tpr(self) -> Floats:
        """(..., K) completeness at each threshold."""
        return self.lenses / self.lenses[..., -1:]

    @property
    def fpr(self) -> Floats:
        """(..., K) false-positive rate at each threshold."""
        return self.controls / self.controls[..., -1:]


def check_sample(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return float32 logits and boolean labels of a sample that can be ranked."""
    logits, is_lens = np.asarray(logits, dtype=np.float32), np.asarray(labels).astype(bool)
    bad = int((~np.isfinite(logits)).sum())
    if bad:
        raise NonFiniteLogitError(
            f"{bad} of {logits.size} logits are not finite: the network has diverged; "
            "lower the learning rate or use bf16 or fp32"
        )
    n_lens = int(is_lens.sum())
    if n_lens in (0, is_lens.size):
        missing = "lenses" if n_lens == 0 else "controls"
        raise SingleClassError(
            f"a sample of {is_lens.size} stamps without {missing} has no ROC curve: check `lens_model` of this split"
        )
    return logits, is_lens


def roc_counts(logits: ArrayLike, labels: ArrayLike) -> RocCounts:
    """Count lenses and controls above every distinct logit; equal logits pass together."""
    checked, is_lens = check_sample(logits, labels)
    order = np.argsort(-checked, kind="stable")
    descending = checked[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(descending)), descending.size - 1)
    lenses = np.cumsum(is_lens[order], dtype=np.float64)[last_of_tie]
    return RocCounts(descending[last_of_tie], lenses, last_of_tie + 1.0 - lenses)


def _with_origin(curve: Floats) -> Floats:
    return np.concatenate([np.zeros_like(curve[..., :1]), curve], axis=-1)


def partial_auroc(counts: RocCounts, max_fpr: float) -> Any:
    """Area under the ROC up to `max_fpr`, scaled to 0.5 for chance and 1 for perfect (McClish 1989)."""
    fpr, tpr = _with_origin(counts.fpr), _with_origin(counts.tpr)
    width = np.diff(fpr, axis=-1)
    inside = np.clip(max_fpr - fpr[..., :-1], 0, width)
    slope = np.divide(np.diff(tpr, axis=-1), width, out=np.zeros_like(width), where=width > 0)
    area = (inside * (tpr[..., :-1] + slope * inside / 2)).sum(axis=-1)
    chance = max_fpr**2 / 2
    return 0.5 * (1 + (area - chance) / (max_fpr - chance))


def auroc(counts: RocCounts) -> Any:
    """Area under the ROC: how often a random lens outranks a random control, ties half."""
    return np.trapezoid(_with_origin(counts.tpr), _with_origin(counts.fpr), axis=-1)


def average_precision(counts: RocCounts) -> Any:
    """Precision averaged over the lenses, without interpolation, at the prevalence of the sample."""
    passed = counts.lenses + counts.controls
    precision = np.divide(counts.lenses, passed, out=np.zeros_like(passed), where=passed > 0)
    return (np.diff(_with_origin(counts.tpr), axis=-1) * precision).sum(axis=-1)


def tpr_at_fpr(counts: RocCounts, fpr: ArrayLike) -> Any:
    """Recall at the loosest threshold whose false-positive rate does not exceed `fpr` (no interpolation).

    Returns:
        One value for each leading index of `counts` and each element of `fpr`: (..., *shape of fpr).
    """
    rates = np.asarray(fpr, dtype=np.float64)
    allowed = rates.ravel() * (1 + 1e-12)  # 0.29 * 100 is 28.999... in floats
    recall = _recall_within(counts, counts.controls[..., -1:] * allowed)
    return recall.reshape((*recall.shape[:-1], *rates.shape))


def tpr_before_false_positives(counts: RocCounts, n: int) -> Any:
    """Recall at the loosest threshold that fewer than `n` controls pass (Metcalf et al. 2019: TPR0, TPR10).

    It belongs to the number of controls: among ten times as many, the same finder reaches less.
    """
    allowed = np.full((*counts.controls.shape[:-1], 1), n - 1.0)
    return _recall_within(counts, allowed)[..., 0]


def _recall_within(counts: RocCounts, allowed: Floats) -> Floats:
    """Recall with at most `allowed` (..., R) controls passing, for each leading index of `counts`."""
    rows = counts.controls.reshape(-1, counts.controls.shape[-1])
    limits = allowed.reshape(-1, allowed.shape[-1])
    passing = np.stack([np.searchsorted(*pair, side="right") for pair in zip(rows, limits, strict=True)])
    return np.take_along_axis(_with_origin(counts.tpr), passing.reshape(allowed.shape), axis=-1)


def fpr_name(fpr: float) -> str:
    """Write a rate the way metric names carry it: 0.01 -> ``1e-2``."""
    mantissa, exponent = f"{fpr:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def supports_fpr(fpr: float, n_controls: int) -> bool:
    """Tell whether at least ten false positives are expected among `n_controls` at this rate."""
    return fpr * n_controls * (1 + 1e-12) >= MIN_EXPECTED_FALSE_POSITIVES


def controls_needed(fpr: float) -> int:
    """The fewest controls that support this rate."""
    return int(np.ceil(MIN_EXPECTED_FALSE_POSITIVES / fpr * (1 - 1e-12)))


def ranking_metrics(counts: RocCounts) -> dict[str, Any]:
    """Metrics that depend on the order of the logits only; arrays where `counts` carries resamples."""
    values = {
        "auroc": auroc(counts),
        "ap": average_precision(counts),
        f"pauc_fpr_{fpr_name(PARTIAL_AUROC_FPR)}": partial_auroc(counts, PARTIAL_AUROC_FPR),
    }
    values |= {f"tpr_at_fpr_{fpr_name(fpr)}": tpr_at_fpr(counts, fpr) for fpr in TARGET_FPRS}
    return values | {name: tpr_before_false_positives(counts, n) for name, n in BOLOGNA.items()}


RANKING_METRICS = tuple(ranking_metrics(RocCounts(np.zeros(1, np.float32), np.ones(1), np.ones(1))))


def probability_metrics(logits: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """Proper scores and calibration error of sigmoid(logit); the two classes also apart."""
    checked, is_lens = check_sample(logits, labels)
    wide = checked.astype(np.float64)
    nll = np.logaddexp(0.0, np.where(is_lens, -wide, wide))  # -log of the probability given to the true class
    return {
        "brier": float(np.mean((expit(wide) - is_lens) ** 2)),
        "nll": float(nll.mean()),
        "ece": expected_calibration_error(expit(wide), is_lens),
        "nll_lens": float(nll[is_lens].mean()),
        "nll_control": float(nll[~is_lens].mean()),
    }


def decision_metrics(logits: ArrayLike, labels: ArrayLike, threshold: float = 0.0) -> dict[str, float]:
    """Precision, recall and F1 of both classes where a stamp with logit >= `threshold` is called a lens.

    A precision without any call is 0. The default threshold, probability 0.5 before calibration, is a reference
    point only.
    """
    checked, is_lens = check_sample(logits, labels)
    called = checked >= np.float32(threshold)
    tp, fp = float((called & is_lens).sum()), float((called & ~is_lens).sum())
    fn, tn = float((~called & is_lens).sum()), float((~called & ~is_lens).sum())
    return {
        "precision_lens": tp / max(tp + fp, 1.0),
        "recall_lens": tp / (tp + fn),
        "f1_lens": 2 * tp / (2 * tp + fp + fn),
        "precision_control": tn / max(tn + fn, 1.0),
        "recall_control": tn / (tn + fp),
        "f1_control": 2 * tn / (2 * tn + fp + fn),
        "specificity": tn / (tn + fp),
        "accuracy": (tp + tn) / is_lens.size,
    }


def binary_metrics(logits: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """All metrics of one sample.

    TPR at a small FPR is always given a number, so that it can be followed through training; whether the sample
    can support it is for `supports_fpr` to say.

    Args:
        logits: (N,) scores of the network before the sigmoid.
        labels: (N,) 1 for a lens, 0 for a control.

    Raises:
        SingleClassError: lenses or controls are missing.
        NonFiniteLogitError: a logit is NaN or infinite.
    """
    _, is_lens = check_sample(logits, labels)
    ranking = {name: float(value) for name, value in ranking_metrics(roc_counts(logits, labels)).items()}
    counts = {"n_lens": float(is_lens.sum()), "n_control": float((~is_lens).sum())}
    return ranking | decision_metrics(logits, labels) | probability_metrics(logits, labels) | counts
