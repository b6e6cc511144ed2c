"""What a variant of a network loses against the original, measured on the same validation stamps."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dark_halo_scope.evaluation.intervals import RegionBootstrap, TooFewRegionsError
from dark_halo_scope.evaluation.metrics import auroc, roc_counts, supports_fpr, tpr_at_fpr

FPRS = (1e-2, 1e-1)


@dataclass(frozen=True)
class TprLoss:
    """TPR at a false-positive rate before and after.

    Attributes:
        fpr: The rate.
        before, after: TPR of the original and of the variant, each at its own threshold.
        interval: 95 % region bootstrap of ``before - after``, stamp for stamp paired; None where it is refused.
        supported: Whether ten false positives are expected among the controls at this rate.
    """

    fpr: float
    before: float
    after: float
    interval: tuple[float, float] | None
    supported: bool

    @property
    def loss(self) -> float:
        """What is lost; negative where the variant finds more."""
        return self.before - self.after


def measure(
    before: NDArray[np.float32], after: NDArray[np.float32], labels: ArrayLike, regions: ArrayLike | None
) -> dict[str, Any]:
    """Compare two sets of logits (n,) of the same stamps.

    Args:
        before: Of the original network.
        after: Of the variant.
        labels: 1 for a lens; (n,).
        regions: Sky region of each stamp (n,), or None where there is none, and then no interval.

    Returns:
        Plain numbers: ``tpr`` (a list of `TprLoss`), ``auroc_before``, ``auroc_after``, ``max_logit_difference`` and
        ``mean_logit_difference``, ``n_lenses``, ``n_controls``.
    """
    counts = [roc_counts(logits, labels) for logits in (before, after)]
    tpr = [tpr_at_fpr(c, FPRS) for c in counts]
    intervals = _intervals(before, after, labels, regions)
    n_lenses, n_controls = int(counts[0].lenses[-1]), int(counts[0].controls[-1])
    losses = [
        TprLoss(fpr, float(tpr[0][k]), float(tpr[1][k]), intervals[k], supports_fpr(fpr, n_controls))
        for k, fpr in enumerate(FPRS)
    ]
    difference = np.abs(before - after)
    return {
        "tpr": [asdict(loss) | {"loss": loss.loss} for loss in losses],
        "auroc_before": float(auroc(counts[0])),
        "auroc_after": float(auroc(counts[1])),
        "max_logit_difference": float(difference.max()),
        "mean_logit_difference": float(difference.mean()),
        "n_lenses": n_lenses,
        "n_controls": n_controls,
    }


def _intervals(
    before: NDArray[np.float32], after: NDArray[np.float32], labels: ArrayLike, regions: ArrayLike | None
) -> list[tuple[float, float] | None]:
    """Of the loss at each rate; the same regions are drawn for both."""
    if regions is None:
        return [None] * len(FPRS)
    try:
        samples = [RegionBootstrap(logits, labels, regions) for logits in (before, after)]
    except TooFewRegionsError:
        return [None] * len(FPRS)
    drawn = [sample.roc_statistics(lambda counts: {"tpr": tpr_at_fpr(counts, FPRS)})["tpr"] for sample in samples]
    low, high = samples[0].interval(drawn[0] - drawn[1])
    return list(zip(low.tolist(), high.tolist(), strict=True))


def better(measured: dict[str, dict[str, Any]]) -> str:
    """The variant that loses the least TPR at the strictest rate that the sample supports; of equal ones the first."""

    def cost(name: str) -> float:
        losses = measured[name]["tpr"]
        return next((loss["loss"] for loss in losses if loss["supported"]), losses[-1]["loss"])

    return min(measured, key=cost)
