"""Operating thresholds, chosen on validation: by false-positive rate or density, by best F1; 0.5 for reference."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dark_halo_scope.evaluation.calibration import Calibrator
from dark_halo_scope.evaluation.metrics import (
    MIN_EXPECTED_FALSE_POSITIVES,
    TARGET_FPRS,
    RocCounts,
    controls_needed,
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
    records = [_at_rate(f"fpr_{fpr_name(fpr)}", fpr, counts, calibrator) for fpr in target_fprs]
    f1 = 2 * counts.lenses / (counts.lenses + counts.controls + counts.lenses[-1])
    records.append(_record("best_f1", None, counts, int(np.argmax(f1)), calibrator, None))
    likely = np.flatnonzero(calibrator.probability(counts.thresholds) >= 0.5)
    index = int(likely[-1]) if likely.size else None
    reason = None if likely.size else "no validation stamp has a calibrated probability of 0.5"
    records.append(_record("probability_0.5", None, counts, index, calibrator, reason))
    return records


def density_thresholds(
    logits: ArrayLike,
    labels: ArrayLike,
    calibrator: Calibrator,
    false_positives_per_deg2: Sequence[float],
    galaxies_per_deg2: float,
) -> list[dict[str, Any]]:
    """Choose thresholds on validation scores by how many false positives a square degree may hold.

    Nearly all galaxies are no lenses, so the rate is that number over `galaxies_per_deg2`.

    Returns:
        Records of `operating_thresholds` with ``target_fp_per_deg2`` beside the ``target_fpr`` that it amounts to.
    """
    counts = roc_counts(logits, labels)
    return [
        _at_rate(f"fp_per_deg2_{density:g}", density / galaxies_per_deg2, counts, calibrator)
        | {"target_fp_per_deg2": density}
        for density in false_positives_per_deg2
        if density < galaxies_per_deg2
    ]


def _at_rate(name: str, fpr: float, counts: RocCounts, calibrator: Calibrator) -> dict[str, Any]:
    n_controls = int(counts.controls[-1])
    if not supports_fpr(fpr, n_controls):
        reason = (
            f"{fpr * n_controls:.1f} false positives expected among {n_controls} validation controls; "
            f"{MIN_EXPECTED_FALSE_POSITIVES} are needed, that is {controls_needed(fpr)} controls"
        )
        return _record(name, fpr, counts, None, calibrator, reason)
    passing = np.flatnonzero(counts.controls <= fpr * n_controls * (1 + 1e-12))
    if not passing.size:
        return _record(name, fpr, counts, None, calibrator, "too many controls share the highest logit")
    return _record(name, fpr, counts, int(passing[-1]), calibrator, None)


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
