"""What a threshold means on the sky: purity, candidates per square degree, hours of inspection."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit

from dark_halo_scope.evaluation.calibration import Calibrator, shift_prior

# Target density of the DESI luminous red galaxies, 0.4 < z < 1 (Zhou et al. 2023, AJ 165, 58, abstract).
LRG_PER_DEG2 = 605.0
LRG_SOURCE = "target density of DESI luminous red galaxies (Zhou et al. 2023, AJ 165, 58)"
INSPECTED_DEG2 = 1000.0


class SurveyAssumptionError(ValueError):
    """An assumption about the sky that cannot hold."""


@dataclass(frozen=True)
class SkyAssumptions:
    """What a labelled sample cannot say about the sky, and the projections therefore take from elsewhere.

    Attributes:
        galaxies_per_deg2: surface density of the galaxies that the finder is shown.
        galaxies_source: where that number comes from.
        prevalences: fractions of lenses among them.
        seconds_per_candidate: what an inspector spends on one candidate; an assumption.
        false_positives_per_deg2: densities to choose thresholds for.
    """

    galaxies_per_deg2: float = LRG_PER_DEG2
    galaxies_source: str = LRG_SOURCE
    prevalences: tuple[float, ...] = (1e-4,)
    seconds_per_candidate: float = 5.0
    false_positives_per_deg2: tuple[float, ...] = field(default=(10.0, 1.0, 0.1))

    def __post_init__(self) -> None:
        if not self.galaxies_per_deg2 > 0:
            raise SurveyAssumptionError(
                f"{self.galaxies_per_deg2:g} galaxies per square degree: give the density of galaxies to be searched"
            )
        if bad := [p for p in self.prevalences if not 0 < p < 1]:
            raise SurveyAssumptionError(
                f"a prevalence lies between 0 and 1, not {bad[0]:g}: give the fraction of lenses"
            )


def project(
    completeness: Mapping[str, Any], false_positive_rate: Mapping[str, Any], sky: SkyAssumptions
) -> list[dict[str, Any]]:
    """Purity, candidates and inspection time at every assumed prevalence.

    The ranges combine the ends of both 95 % intervals at their worst and at their best, so that they hold at least
    95 % where completeness and false-positive rate err independently or in opposite directions.

    Args:
        completeness: ``rate`` and ``interval`` of the lenses found at a threshold.
        false_positive_rate: the same of the controls passed.
        sky: what is assumed about the sky.

    Returns:
        One record a prevalence, each with value and range: ``purity`` (value None where nothing passes),
        ``candidates_per_deg2`` and ``hours_per_1000_deg2``.
    """
    tpr, (tpr_low, tpr_high) = completeness["rate"], completeness["interval"]
    fpr, (fpr_low, fpr_high) = false_positive_rate["rate"], false_positive_rate["interval"]
    records = []
    for prevalence in sky.prevalences:
        candidates, fewest, most = (
            sky.galaxies_per_deg2 * (prevalence * found + (1 - prevalence) * fooled)
            for found, fooled in ((tpr, fpr), (tpr_low, fpr_low), (tpr_high, fpr_high))
        )
        hours = INSPECTED_DEG2 * sky.seconds_per_candidate / 3600
        purity = [_purity(*rates, prevalence) for rates in ((tpr, fpr), (tpr_low, fpr_high), (tpr_high, fpr_low))]
        records.append(
            {
                "prevalence": prevalence,
                "purity": {"value": purity[0], "range": [purity[1] or 0.0, 1.0 if purity[2] is None else purity[2]]},
                "candidates_per_deg2": {"value": candidates, "range": [fewest, most]},
                "hours_per_1000_deg2": {"value": candidates * hours, "range": [fewest * hours, most * hours]},
            }
        )
    return records


def deployed_probabilities(
    logit: float, calibrator: Calibrator, calibrated_at: float, sky: SkyAssumptions
) -> list[dict[str, float]]:
    """Probability of a stamp just at a threshold, at every assumed prevalence.

    Args:
        logit: the threshold, as the network gives it.
        calibrator: fitted on a sample with the prevalence `calibrated_at`.
        calibrated_at: fraction of lenses in that sample.
        sky: what is assumed about the sky.
    """
    calibrated = calibrator.logit(np.array([logit]))
    return [
        {"prevalence": p, "probability": float(expit(shift_prior(calibrated, calibrated_at, p))[0])}
        for p in sky.prevalences
    ]


def _purity(tpr: float, fpr: float, prevalence: float) -> float | None:
    """Fraction of lenses among what passes (Bayes); None where nothing does."""
    passed = prevalence * tpr + (1 - prevalence) * fpr
    return prevalence * tpr / passed if passed > 0 else None
