"""How far the numbers of a score table may be from the truth: every bootstrap interval of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.evaluation.intervals import (
    LEVEL,
    MIN_EVENTS,
    RegionBootstrap,
    TooFewRegionsError,
    binomial_interval,
)
from dark_halo_scope.evaluation.metrics import (
    BOLOGNA,
    MIN_EXPECTED_FALSE_POSITIVES,
    PARTIAL_AUROC_FPR,
    RANKING_METRICS,
    TARGET_FPRS,
    RocCounts,
    controls_needed,
    fpr_name,
    ranking_metrics,
    supports_fpr,
    tpr_at_fpr,
)
from dark_halo_scope.evaluation.rates import BINOMIAL, RESAMPLED
from dark_halo_scope.evaluation.regional import region_names

Thresholds = Sequence[Mapping[str, Any]]
_ROC_POINTS = 121
NO_INTERVAL = {
    # with 30 regions of 40 stamps, the region bootstrap of TPR0 covered its truth in 73 % of 300 simulated surveys,
    # that of TPR10 in 96 %: resampling cannot imitate an extreme value
    "tpr0": "rests on the one control that scores highest; resampled regions cannot show how far it may lie from the "
    "truth, so that no interval is given"
}


def unsupported_metrics(n_controls: int) -> dict[str, str]:
    """Name the metrics that `n_controls` controls cannot support, each with the reason."""
    rates = {f"tpr_at_fpr_{fpr_name(fpr)}": fpr for fpr in TARGET_FPRS}
    rates[f"pauc_fpr_{fpr_name(PARTIAL_AUROC_FPR)}"] = PARTIAL_AUROC_FPR
    reasons = {
        name: f"needs {controls_needed(fpr)} controls for "
        f"{MIN_EXPECTED_FALSE_POSITIVES} expected false positives; the sample has {n_controls}"
        for name, fpr in rates.items()
        if not supports_fpr(fpr, n_controls)
    }
    if n_controls <= BOLOGNA["tpr10"]:
        reasons["tpr10"] = f"needs more than {BOLOGNA['tpr10']} controls; the sample has {n_controls}"
    return reasons


def comparable_metrics(n_controls: int) -> list[str]:
    """Names of the ranking metrics that a sample of `n_controls` controls can put an interval on."""
    skipped = unsupported_metrics(n_controls) | NO_INTERVAL
    return [name for name in RANKING_METRICS if name not in skipped]


class ResampledScores:
    """Bootstrap of one split: ranking metrics, the ROC curve, and rates at the fixed thresholds.

    `description` says how it was made, or under ``refused`` why there are no intervals.
    """

    def __init__(
        self, scores: pa.Table, thresholds: Thresholds, region_column: str, n_resamples: int, seed: int
    ) -> None:
        n_controls = int((scores["label"].to_numpy() == 0).sum())
        self._n_controls = n_controls
        self.fpr_grid = np.geomspace(min(1.0, MIN_EXPECTED_FALSE_POSITIVES / n_controls), 1.0, _ROC_POINTS)
        self._logits = {record["name"]: record["logit"] for record in thresholds if record["supported"]}
        known = region_column in scores.column_names
        regions = regions_of(scores, region_column)
        self.description: dict[str, Any] = {
            "level": LEVEL,
            "method": RESAMPLED if known else "stamp bootstrap",
            "column": region_column if known else None,
            "n_resamples": n_resamples,
            "seed": seed,
            "refused": None,
        }
        self._ends: dict[str, NDArray[np.float64]] = {}
        try:
            bootstrap = RegionBootstrap(
                scores["logit"], scores["label"], regions, n_resamples, seed, exact_at=list(self._logits.values())
            )
        except TooFewRegionsError as error:
            self.description["refused"] = str(error)
            return
        resampled = bootstrap.roc_statistics(self._statistics)
        self._ends = {name: bootstrap.interval(values) for name, values in resampled.items()}

    def _statistics(self, counts: RocCounts) -> dict[str, Any]:
        values = ranking_metrics(counts) | {"roc": tpr_at_fpr(counts, self.fpr_grid)}
        for name, logit in self._logits.items():
            index = np.searchsorted(-counts.thresholds, -np.float32(logit), side="right") - 1
            for rate, curve in (("tpr", counts.tpr), ("fpr", counts.fpr)):
                # a copy: a view would keep the curves of all resamples alive
                values[f"{rate}:{name}"] = curve[..., index].copy() if index >= 0 else np.zeros(curve.shape[:-1])
        return values

    def ends(self, name: str) -> list[Any] | None:
        """Both ends of the interval of a statistic, None where there is no bootstrap."""
        return self._ends[name].tolist() if name in self._ends else None

    def metric_intervals(self) -> dict[str, Any]:
        """Intervals of the ranking metrics that the sample supports."""
        return {name: self.ends(name) for name in comparable_metrics(self._n_controls) if name in self._ends}

    def rate(self, name: str, passed: int, n: int) -> dict[str, Any]:
        """A rate at a fixed threshold: bootstrap interval, or Wilson where too few stamps passed or failed."""
        ends = self.ends(name) if min(passed, n - passed) >= MIN_EVENTS else None
        method = self.description["method"] if ends else BINOMIAL
        interval = ends or binomial_interval(passed, n).tolist()
        return {"n": n, "passed": passed, "rate": passed / n, "interval": interval, "method": method}


def regions_of(table: pa.Table, column: str) -> NDArray[Any]:
    """What is resampled: the region of every stamp where `column` names it, else every stamp for itself."""
    if column not in table.column_names:
        return np.arange(table.num_rows)
    return np.asarray(region_names(table, column))
