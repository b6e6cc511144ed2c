"""Operating thresholds, chosen on validation: by target false-positive rate, by best F1; 0.5 for reference."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dark_halo_scope.evaluation.calibration import Calibrator
from dark_halo_scope.evaluation.metrics import (
    MIN_EXPECTED_FALSE_POSITIVES,
    TARGET_FPRS,
    RocCounts,
    fpr_name,
    roc_counts,
    supports_fpr,
)


def operating_thresholds(
    logits: ArrayLike,
    labels: ArrayLike,
    calibrator: Calibrator,
    target_fprs: Sequence[float] = TARGET_FPRS,
) -> list[dict[str, Any]]:
    """Choose thresholds on validation scores.

    A stamp is called a lens where its logit >= the threshold. A target that the validation controls cannot support
    (fewer than ten expected false positives) gets no threshold but a reason.

    Returns:
        Plain records: ``name``, ``target_fpr`` (None for F1 and 0.5), ``logit``, ``probability`` (calibrated),
        ``val_fpr``, ``val_tpr``, ``n_lenses``, ``n_controls``, ``supported``, ``reason``.
    """
    counts = roc_counts(logits, labels)
    n_controls = int(counts.controls[-1])
    records = []
    for fpr in target_fprs:
        name = f"fpr_{fpr_name(fpr)}"
        if not supports_fpr(fpr, n_controls):
            needed = int(np.ceil(MIN_EXPECTED_FALSE_POSITIVES / fpr))
            reason: str | None = (
                f"{fpr * n_controls:.1f} false positives expected among {n_controls} validation controls; "
                f"{MIN_EXPECTED_FALSE_POSITIVES} are needed, that is {needed} controls"
            )
            records.append(_record(name, fpr, counts, None, calibrator, reason))
            continue
        passing = np.flatnonzero(counts.controls <= fpr * n_controls * (1 + 1e-12))
        index = int(passing[-1]) if passing.size else None
        reason = None if passing.size else "too many controls share the highest logit"
        records.append(_record(name, fpr, counts, index, calibrator, reason))

    f1 = 2 * counts.lenses / (counts.lenses + counts.controls + counts.lenses[-1])
    records.append(_record("best_f1", None, counts, int(np.argmax(f1)), calibrator, None))
    likely = np.flatnonzero(calibrator.probability(counts.thresholds) >= 0.5)
    index = int(likely[-1]) if likely.size else None
    reason = None if likely.size else "no validation stamp has a calibrated probability of 0.5"
    records.append(_record("probability_0.5", None, counts, index, calibrator, reason))
    return records


def _record(
    name: str,
    target_fpr: float | None,
    counts: RocCounts,
    index: int | None,
    calibrator: Calibrator,
    reason: str | None,
) -> dict[str, Any]:
    record: dict[str, Any] = {"name": name, "target_fpr": target_fpr}
    record |= dict.fromkeys(("logit", "probability", "val_fpr", "val_tpr"))
    if index is not None:
        threshold = float(counts.thresholds[index])
        record["logit"] = threshold
        record["probability"] = float(calibrator.probability(threshold))
        record["val_fpr"], record["val_tpr"] = float(counts.fpr[index]), float(counts.tpr[index])
    n_lenses, n_controls = int(counts.lenses[-1]), int(counts.controls[-1])
    supported = index is not None
    return record | {
        "n_lenses": n_lenses,
        "n_controls": n_controls,
        "supported": supported,
        "reason": reason,
    }
