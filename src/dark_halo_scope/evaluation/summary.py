"""One score file -> every number of the report, as a plain dictionary (`metrics.json`)."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import expit

from dark_halo_scope.evaluation import baseline, selection
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
from dark_halo_scope.evaluation.rates import RegionResamples
from dark_halo_scope.evaluation.regional import calibration_by_region, completeness_by_region, region_names
from dark_halo_scope.evaluation.resampled import NO_INTERVAL, ResampledScores, Thresholds, unsupported_metrics
from dark_halo_scope.evaluation.scores import ScoreFileError, labelled_splits, read_scores
from dark_halo_scope.evaluation.selection import selection_function, write_selection_function
from dark_halo_scope.evaluation.survey_yield import SkyAssumptions, deployed_probabilities, project
from dark_halo_scope.evaluation.thresholds import density_thresholds
from dark_halo_scope.files import sha256, write_json

REGION_COLUMN = "region_id"
TEST = "test"


def evaluate_run(run_dir: Path, calibrator: Calibrator, thresholds: Thresholds, **options: Any) -> dict[str, Any]:
    """Evaluate ``scores.parquet`` of a run folder; see `evaluate_file`."""
    return evaluate_file(run_dir / "scores.parquet", run_dir, calibrator, thresholds, **options)


def evaluate_file(
    path: Path,
    out: Path,
    calibrator: Calibrator,
    thresholds: Thresholds,
    region_column: str = REGION_COLUMN,
    n_resamples: int = 1000,
    seed: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate a score file; write ``metrics.json`` and ``selection_function.parquet`` into a folder.

    The trivial scores of the dataset's audit are looked for beside the score file. The other arguments are those of
    `evaluate`. Notes on the data that the score file carries go into the metrics, under ``data_notes``.
    """
    table, origin = read_scores(path)
    beside = path.parent / baseline.FILE_NAME
    options = {"trivial_scores": beside if beside.exists() else None} | options
    source = {"file": path.name, "sha256": sha256(path), "n_rows": table.num_rows}
    metrics = {"scores": source, "data_notes": origin.get("data_notes", [])}
    metrics |= evaluate(table, calibrator, thresholds, region_column, n_resamples, seed, **options)
    test = labelled_splits(table, str(path))[TEST]
    is_lens = test["label"].to_numpy() == 1
    resamples = _resamples(test, region_column, n_resamples, seed)
    write_selection_function(
        out / selection.FILE_NAME,
        selection_function(
            test.filter(pa.array(is_lens)), metrics["operating_points"], resamples and resamples.of(is_lens)
        ),
        {"scores": source, "split": TEST, "scored": origin},
    )
    write_json(out / "metrics.json", metrics)
    return metrics


def evaluate(
    scores: pa.Table,
    calibrator: Calibrator,
    thresholds: Thresholds,
    region_column: str = REGION_COLUMN,
    n_resamples: int = 1000,
    seed: int = 0,
    sky: SkyAssumptions | None = None,
    trivial_scores: Path | None = None,
) -> dict[str, Any]:
    """Compute all numbers of the test split, with what is behind each and what the sample cannot support.

    Args:
        scores: table of a score file with the split ``test``, and ``val`` unless calibrator and thresholds come from
            elsewhere.
        calibrator: fitted on validation stamps.
        thresholds: records of `operating_thresholds` on validation stamps; where the table holds a validation split,
            thresholds by false positives per square degree are added.
        region_column: which column names the region of sky; stamps stand for regions where it is missing.
        n_resamples: bootstrap resamples.
        seed: of the bootstrap.
        sky: what the sample cannot know about the sky: density of galaxies, prevalence, inspection time.
        trivial_scores: file of the dataset's audit with the scores of trivial baselines.

    Returns:
        Only numbers, strings, lists and dictionaries.
    """
    sky = sky or SkyAssumptions()
    splits = labelled_splits(scores, "the score file")
    if TEST not in splits:
        raise ScoreFileError(f"the scores hold no stamp of split {TEST!r} with a label: score that split too")
    test, val = splits[TEST], splits.get("val")
    if val is not None:
        densities = (sky.false_positives_per_deg2, sky.galaxies_per_deg2)
        chosen_before = [record for record in thresholds if "target_fp_per_deg2" not in record]
        thresholds = [*chosen_before, *density_thresholds(val["logit"], val["label"], calibrator, *densities)]
    logits, labels = test["logit"].to_numpy(), test["label"].to_numpy()
    counts = roc_counts(logits, labels)
    working_point = choose_working_point(thresholds)
    passed = logits >= np.float32(working_point["logit"])
    is_lens = labels == 1
    resampled = ResampledScores(test, thresholds, region_column, n_resamples, seed)
    points = [_operating_point(record, logits, labels, resampled) for record in thresholds]
    lenses = test.filter(pa.array(is_lens))
    resamples = _resamples(test, region_column, n_resamples, seed)
    of_lenses, of_controls = (resamples and resamples.of(chosen) for chosen in (is_lens, ~is_lens))
    return {
        "samples": {name: _sample_size(part, region_column) for name, part in splits.items() if name != "train"},
        "val": binary_metrics(val["logit"], val["label"]) if val is not None else None,
        "test": binary_metrics(logits, labels),
        "unsupported": unsupported_metrics(int(counts.controls[-1])),
        "no_interval": NO_INTERVAL,
        "intervals": resampled.description | {"test": resampled.metric_intervals()},
        "roc": _roc(counts, resampled),
        "calibration": _calibration(test, calibrator, region_column),
        "operating_points": [_on_the_sky(point, calibrator, sky) for point in points],
        "sky": asdict(sky),
        "working_point": working_point["name"],
        "baselines": baseline.baseline_margins(test, trivial_scores, region_column, n_resamples, seed)
        if trivial_scores
        else None,
        "completeness": completeness_report(lenses, passed[is_lens], of_lenses)
        | {"region": _by_region(lenses, passed[is_lens], region_column)},
        "lens_models": _by_category(test, is_lens, passed, "lens_model", of_lenses),
        "control_kinds": _by_category(test, ~is_lens, passed, "control_kind", of_controls),
    }


def choose_working_point(thresholds: Thresholds) -> Mapping[str, Any]:
    """Pick the strictest target false-positive rate that validation supports; best F1 where none is."""
    targets = [
        record
        for record in thresholds
        if record["supported"] and record["target_fpr"] is not None and "target_fp_per_deg2" not in record
    ]
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


def _calibration(test: pa.Table, calibrator: Calibrator, region_column: str) -> dict[str, Any]:
    logits, labels = test["logit"].to_numpy(), test["label"].to_numpy()

    def state(calibrated: NDArray[Any]) -> dict[str, Any]:
        probability = expit(calibrated.astype(np.float64))
        bins = reliability_bins(probability, labels)
        columns = {name: getattr(bins, name).tolist() for name in ("low", "high", "n", "n_lens", "predicted")}
        columns |= {"observed": bins.observed.tolist(), "interval": binomial_interval(bins.n_lens, bins.n).T.tolist()}
        noise = calibration_noise(probability).tolist()
        return probability_metrics(calibrated, labels) | {"ece_if_perfect": noise, "bins": columns}

    calibrated = calibrator.logit(logits)
    by_region = None
    if region_column in test.column_names:
        by_region = calibration_by_region(calibrated, labels, region_names(test, region_column))
    return {
        "calibrator": calibrator.to_dict(),
        "before": state(logits),
        "after": state(calibrated),
        "by_region": by_region,
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


def _on_the_sky(point: dict[str, Any], calibrator: Calibrator, sky: SkyAssumptions) -> dict[str, Any]:
    """Add what the threshold means at the prevalence of the sky."""
    if point["test"] is None:
        return point | {"sky": None}
    calibrated_at = point["n_lenses"] / (point["n_lenses"] + point["n_controls"])
    projected = project(point["test"]["completeness"], point["test"]["false_positive_rate"], sky)
    deployed = deployed_probabilities(point["logit"], calibrator, calibrated_at, sky)
    return point | {"sky": [ahead | at for ahead, at in zip(projected, deployed, strict=True)]}


def _by_region(lenses: pa.Table, found: NDArray[np.bool_], region_column: str) -> dict[str, Any] | None:
    if region_column not in lenses.column_names:
        return None
    return completeness_by_region(found, region_names(lenses, region_column))


def _resamples(test: pa.Table, region_column: str, n_resamples: int, seed: int) -> RegionResamples | None:
    """Resamples of the regions of all stamps; None where the regions are not known."""
    if region_column not in test.column_names:
        return None
    return RegionResamples(region_names(test, region_column), n_resamples, seed)


def _by_category(
    test: pa.Table,
    chosen: NDArray[np.bool_],
    passed: NDArray[np.bool_],
    column: str,
    resamples: RegionResamples | None,
) -> list[dict[str, Any]] | None:
    if column not in test.column_names:
        return None
    names = test.filter(pa.array(chosen))[column].cast(pa.string()).to_pylist()
    return rate_by_category(names, passed[chosen], resamples)
