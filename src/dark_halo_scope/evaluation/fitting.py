"""Where calibrator and thresholds of an evaluation come from: validation stamps, or an earlier evaluation."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from dark_halo_scope.evaluation.calibration import (
    Calibrator,
    TemperatureScaling,
    calibrator_from_dict,
    fit_calibrator,
)
from dark_halo_scope.evaluation.scores import ScoreFileError, labelled_splits
from dark_halo_scope.evaluation.thresholds import operating_thresholds

Fitted = tuple[Calibrator, list[dict[str, Any]]]
_OF_THE_TEST = ("test", "sky")  # what an evaluation adds to the record of a threshold


def fit_on_validation(table: pa.Table, source: str, method: str = TemperatureScaling.method) -> Fitted:
    """Fit a calibrator and choose thresholds on the validation stamps of a score table.

    Raises:
        ScoreFileError: the table has no validation stamp with a label; the message says what to give instead.
    """
    splits = labelled_splits(table, source)
    if "val" not in splits:
        held = ", ".join(splits) or "none"
        raise ScoreFileError(
            f"{source} holds no labelled validation stamps (labelled splits: {held}), and thresholds chosen on the "
            "stamps they are tested on say nothing: give --calibrated-by metrics.json of the run that trained the "
            "checkpoint, or score the split val too"
        )
    logits, labels = splits["val"]["logit"].to_numpy(), splits["val"]["label"].to_numpy()
    calibrator = fit_calibrator(method, logits, labels)
    return calibrator, operating_thresholds(logits, labels, calibrator)


def take_from(metrics: Path) -> Fitted:
    """Take calibrator and thresholds from the ``metrics.json`` of an earlier evaluation of the same checkpoint.

    Raises:
        ScoreFileError: the file is no such thing.
    """
    try:
        earlier = json.loads(metrics.read_text())
        calibrator = calibrator_from_dict(earlier["calibration"]["calibrator"])
        points = earlier["operating_points"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScoreFileError(
            f"{metrics} is no metrics.json of an evaluation ({type(error).__name__}: {error}): "
            "give the one of the run that trained the checkpoint"
        ) from error
    return calibrator, [{key: point[key] for key in point if key not in _OF_THE_TEST} for point in points]
