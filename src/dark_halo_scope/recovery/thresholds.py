"""The thresholds that known lenses are held against, and the labelled stamps that they come from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dark_halo_scope.evaluation.calibration import TemperatureScaling, fit_calibrator
from dark_halo_scope.evaluation.fitting import take_from
from dark_halo_scope.evaluation.metrics import TARGET_FPRS
from dark_halo_scope.evaluation.scores import ScoreFileError, labelled_splits, read_scores
from dark_halo_scope.evaluation.thresholds import density_thresholds, operating_thresholds

Record = dict[str, Any]


def thresholds_for(
    scores: pa.Table,
    origin: Record,
    path: Path,
    calibrated_by: Path | None,
    fprs: Sequence[float],
    fp_per_deg2: Sequence[float],
    galaxies_per_deg2: float,
) -> tuple[list[Record], str | None]:
    """Thresholds that are chosen by a false-positive rate or density, and where they come from.

    Args:
        scores: The score table of the lenses.
        origin: Its provenance.
        path: Its file.
        calibrated_by: A metrics.json of an evaluation, or a labelled score file of the same checkpoint; None for the
            validation stamps in the score table itself.
        fprs: Target false-positive rates; empty for the usual ones.
        fp_per_deg2: Target false positives per square degree.
        galaxies_per_deg2: Density of the galaxies to be searched.

    Returns:
        Records of `operating_thresholds`, those asked for first, and a description. Nothing and None where no labelled
        stamp is known.

    Raises:
        ScoreFileError: The stamps to choose thresholds on were scored by another network, or have no labels.
    """
    if calibrated_by is not None and calibrated_by.suffix == ".json":
        if fprs or fp_per_deg2:
            raise ScoreFileError(
                f"{calibrated_by} holds fixed thresholds: for another rate or density, give the labelled score file "
                "that it was made of with --calibrated-by"
            )
        records, told = take_from(calibrated_by)[1], str(calibrated_by)
        return [record for record in records if record["target_fpr"] is not None], told
    if calibrated_by is not None:
        table, of = read_scores(calibrated_by)
        _check_same_network(path, origin, calibrated_by, of)
        splits, source = labelled_splits(table, str(calibrated_by)), calibrated_by
    else:
        splits, source = labelled_splits(scores, str(path)), path
    name = next((name for name in ("val", "test") if name in splits), None)
    if calibrated_by is None and name != "val":
        return [], None  # the lenses may be among the test stamps of the score file itself
    if name is None:
        raise ScoreFileError(f"{source} has no labelled validation or test stamps to choose a threshold on")
    logits, labels = splits[name]["logit"].to_numpy(), splits[name]["label"].to_numpy()
    calibrator = fit_calibrator(TemperatureScaling.method, logits, labels)
    asked = density_thresholds(logits, labels, calibrator, fp_per_deg2, galaxies_per_deg2)
    at_rates = operating_thresholds(logits, labels, calibrator, fprs or TARGET_FPRS)
    n_controls = int((labels == 0).sum())
    told = f"{n_controls} {name} controls of {source}"
    return [*asked, *(record for record in at_rates if record["target_fpr"] is not None)], told


def _check_same_network(path: Path, origin: Record, other: Path, of: Record) -> None:
    ours, theirs = (_checkpoints(facts) for facts in (origin, of))
    if ours and theirs and ours != theirs:
        raise ScoreFileError(
            f"{other} was scored by another network than {path}, whose thresholds mean nothing here: score labelled "
            "data with the same checkpoints"
        )


def _checkpoints(origin: Record) -> list[str]:
    """Hashes of the checkpoints behind a score file, as a run or as `halo score` writes them."""
    hashes = origin.get("checkpoint_sha256", [])
    return [hashes] if isinstance(hashes, str) else sorted(hashes)
