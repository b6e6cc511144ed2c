"""From the logits of an ensemble's members to the one that ranks and to a probability.

The logit that ranks is the mean over the members. Their calibrators were fitted to each alone, and there is none for
the mean. So the probability of an ensemble is the sigmoid of the mean of the calibrated logits, the geometric mean of
the members' odds. Members that disagree pull it towards 1/2, so that an ensemble of well-calibrated members errs on the
side of caution (Rahaman & Thiery 2021, "Uncertainty quantification and deep ensembles"); their remedy, to average first
and calibrate then, needs labelled scores of the ensemble itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dark_halo_scope.evaluation.calibration import Calibrator, TemperatureScaling, calibrator_from_dict
from dark_halo_scope.evaluation.scores import labelled_splits, read_scores
from dark_halo_scope.scoring.job import ScoringError, ScoringJob
from dark_halo_scope.tasks.restore import read_checkpoint

_MUST_AGREE = ("checkpoint_sha256", "tta")


def mean_logit(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logit that ranks (n,), from those of the members (members, n)."""
    return logits.mean(axis=0, dtype=np.float64).astype(np.float32)


@dataclass(frozen=True)
class Calibration:
    """How probabilities are made.

    Attributes:
        members: The calibrator of each checkpoint; None where it has none.
        fitted: A calibrator of the mean logit, which takes their place.
    """

    members: Sequence[Calibrator | None]
    fitted: TemperatureScaling | None = None

    @classmethod
    def of(cls, job: ScoringJob, calibrate_on: Path | None) -> "Calibration":
        """The checkpoints' own calibrators, or one fitted on the validation stamps of a file of the job's scores.

        Raises:
            ScoringError: When that file holds scores of other checkpoints, or no labelled validation stamps.
        """
        states = [read_checkpoint(path).get("calibrator") for path in job.checkpoints]
        members = [calibrator_from_dict(state) if state else None for state in states]
        return cls(members, _fit(job, calibrate_on) if calibrate_on else None)

    def probability(self, logits: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """Probabilities (n,) from the members' logits (members, n); None where a member has no calibrator."""
        if self.fitted is not None:
            return self.fitted.probability(mean_logit(logits))
        calibrated = [member.logit(z) for member, z in zip(self.members, logits, strict=True) if member is not None]
        return expit(np.mean(calibrated, axis=0)) if len(calibrated) == len(self.members) else None

    def description(self) -> dict[str, Any]:
        """For the score file: how it was done, and the numbers."""
        if self.fitted is not None:
            return {"of": "mean logit", "calibrators": [self.fitted.to_dict()]}
        if None in self.members:
            return {"of": "nothing: a checkpoint was never calibrated", "calibrators": []}
        of = "mean of the members' calibrated logits" if len(self.members) > 1 else "logit"
        return {"of": of, "calibrators": [member.to_dict() for member in self.members if member is not None]}


def _fit(job: ScoringJob, scores: Path) -> TemperatureScaling:
    table, provenance = read_scores(scores)
    if different := [name for name in _MUST_AGREE if provenance.get(name) != job.identity[name]]:
        raise ScoringError(
            f"--calibrate-on {scores} holds scores of another {', '.join(different)}; score labelled data with these "
            "checkpoints and options first"
        )
    splits = labelled_splits(table, str(scores))
    if "val" not in splits:
        raise ScoringError(f"--calibrate-on {scores} holds no labelled validation stamps; score that split too")
    return TemperatureScaling.fit(splits["val"]["logit"], splits["val"]["label"])
