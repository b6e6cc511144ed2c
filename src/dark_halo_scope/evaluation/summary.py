"""One score file -> every number of the report, as a plain dictionary (`metrics.json`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import expit

from dark_halo_scope.evaluation.calibration import Calibrator, reliability_bins
from dark_halo_scope.evaluation.completeness import completeness_report, rate_by_category
from dark_halo_scope.evaluation.intervals import binomial_interval, calibration_noise
from dark_halo_scope.evaluation.metrics import (
    RocCounts,
    binary_metrics,
    decision_metrics,
    probability_metrics,
    roc_counts,
    tpr_at_fpr,
)
from dark_halo_scope.evaluation.resampled import ResampledScores, Thresholds, unsupported_metrics
from dark_halo_scope.evaluation.scores import ScoreFileError, read_scores
from dark_halo_scope.files import sha256, write_json

REGION_COLUMN = "region_id"


def evaluate_run(run_dir: Path, calibrator: Calibrator, thresholds: Thresholds, **options: Any) -> dict[str, Any]:
    """Evaluate ``scores.parquet`` of a run folder and write ``metrics.json`` beside it.

    `options` go to `evaluate`.
    """
    path = run_dir / "scores.parquet"
    table, _ = read_scores(path)
    source = {"file": path.name, "sha256": sha256(path), "n_rows": table.num_rows}
    metrics = {"scores": source} | evaluate(table, calibrator, thresholds, **options)
    write_json(run_dir / "metrics.json", metrics)
    return metrics


def evaluate(
    scores: pa.Table,
    calibrator: Calibrator,
    thresholds: Thresholds,
    region_column: str = REGION_COLUMN,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute all numbers of the test split, with what is behind each and what the sample cannot support.

    Args:
        scores: table of a score file with the splits ``val`` and ``test``.
        calibrator: fitted on the validation split.
        thresholds: records of `operating_thresholds` on the validation split.
        region_column: which column names the region of sky; stamps stand for regions where it is missing.
        n_resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        Only numbers, strings, lists and dictionaries.
    """
    splits = {split: scores.filter(pc.equal(scores["split"], split)) for split in ("val", "test")}
    for split, part in splits.items():
        if part.num_rows == 0:
            raise ScoreFileError(f"the scores hold no stamp of split {split!r}: score that split too")
    test = splits["test"]
    logits, labels = test["logit"].to_numpy(), test["label"].to_numpy()
    counts = roc_counts(logits, labels)
    working_point = choose_working_point(thresholds)
    passed = logits >= np.float32(working_point["logit"])
    is_lens = labels == 1
    resampled = ResampledScores(test, thresholds, region_column, n_resamples, seed)
    return {
        "samples": {split: _sample_size(part, region_column) for split, part in splits.items()},
        "val": binary_metrics(splits["val"]["logit"], splits["val"]["label"]),
        "test": binary_metrics(logits, labels),
        "unsupported": unsupported_metrics(int(counts.controls[-1])),
        "intervals": resampled.description | {"test": resampled.metric_intervals()},
        "roc": _roc(counts, resampled),
        "calibration": _calibration(logits, labels, calibrator),
        "operating_points": [_operating_point(record, logits, labels, resampled) for record in thresholds],
        "working_point": working_point["name"],
        "completeness": completeness_report(test.filter(pa.array(is_lens)), passed[is_lens]),
        "lens_models": _by_category(test, is_lens, passed, "lens_model"),
        "control_kinds": _by_category(test, ~is_lens, passed, "control_kind"),
    }


def choose_working_point(thresholds: Thresholds) -> Mapping[str, Any]:
    """Pick the strictest target false-positive rate that validation supports; best F1 where none is."""
    targets = [record for record in thresholds if record["supported"] and record["target_fpr"] is not None]
    if targets:
        return min(targets, key=lambda record: record["target_fpr"])
    return next(record for record in thresholds if record["name"] == "best_f1")


def _sample_size(part: pa.Table, region_column: str) -> dict[str, int | None]:
    n_lenses = int(part["label"].to_numpy().sum())
    known = region_column in part.column_names
    n_regions = len(pc.unique(part[region_column])) if known else None
    return {"n_lenses": n_lenses, "n_controls": part.num_rows - n_lenses, "n_regions": n_regions}


def _roc(counts: RocCounts, resampled: ResampledScores) -> dict[str, Any]:
    ends = resampled.ends("roc")
    return {
        "fpr": resampled.fpr_grid.tolist(),
        "tpr": tpr_at_fpr(counts, resampled.fpr_grid).tolist(),
        "low": ends[0] if ends else None,
        "high": ends[1] if ends else None,
    }


def _calibration(logits: NDArray[np.float32], labels: NDArray[np.int8], calibrator: Calibrator) -> dict[str, Any]:
    def state(calibrated: NDArray[Any]) -> dict[str, Any]:
        probability = expit(calibrated.astype(np.float64))
        bins = reliability_bins(probability, labels)
        columns = {name: getattr(bins, name).tolist() for name in ("low", "high", "n", "n_lens", "predicted")}
        columns |= {"observed": bins.observed.tolist(), "interval": binomial_interval(bins.n_lens, bins.n).T.tolist()}
        noise = calibration_noise(probability).tolist()
        return probability_metrics(calibrated, labels) | {"ece_if_perfect": noise, "bins": columns}

    return {
        "calibrator": calibrator.to_dict(),
        "before": state(logits),
        "after": state(calibrator.logit(logits)),
    }


def _operating_point(
    record: Mapping[str, Any],
    logits: NDArray[np.float32],
    labels: NDArray[np.int8],
    resampled: ResampledScores,
) -> dict[str, Any]:
    if not record["supported"]:
        return dict(record) | {"test": None}
    name, passed = record["name"], logits >= np.float32(record["logit"])
    lenses, controls = passed[labels == 1], passed[labels == 0]
    decisions = decision_metrics(logits, labels, record["logit"])
    return dict(record) | {
        "test": {
            "completeness": resampled.rate(f"tpr:{name}", int(lenses.sum()), lenses.size),
            "false_positive_rate": resampled.rate(f"fpr:{name}", int(controls.sum()), controls.size),
            "precision": decisions["precision_lens"],
            "f1": decisions["f1_lens"],
        }
    }


def _by_category(
    test: pa.Table, chosen: NDArray[np.bool_], passed: NDArray[np.bool_], column: str
) -> list[dict[str, Any]] | None:
    if column not in test.column_names:
        return None
    names = test.filter(pa.array(chosen))[column].cast(pa.string()).to_pylist()
    return rate_by_category(names, passed[chosen])
