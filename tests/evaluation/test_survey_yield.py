import numpy as np
import pytest
from scipy.special import expit

from dark_halo_scope.evaluation.calibration import TemperatureScaling
from dark_halo_scope.evaluation.survey_yield import (
    SkyAssumptions,
    SurveyAssumptionError,
    deployed_probabilities,
    project,
)


def rate(value: float, low: float, high: float):
    return {"rate": value, "interval": [low, high]}


def test_purity_and_candidates_are_those_of_a_simulated_sky():
    rng = np.random.default_rng(0)
    n_galaxies, prevalence = 2_000_000, 0.01
    is_lens = rng.random(n_galaxies) < prevalence
    passed = np.where(is_lens, rng.random(n_galaxies) < 0.6, rng.random(n_galaxies) < 0.02)
    sky = SkyAssumptions(500, "a test", (prevalence,), seconds_per_candidate=6)
    (record,) = project(rate(0.6, 0.5, 0.7), rate(0.02, 0.01, 0.03), sky)
    assert record["purity"]["value"] == pytest.approx(is_lens[passed].mean(), abs=0.005)
    assert record["candidates_per_deg2"]["value"] == pytest.approx(500 * passed.mean(), rel=0.02)
    hours = record["candidates_per_deg2"]["value"] * 1000 * 6 / 3600
    assert record["hours_per_1000_deg2"]["value"] == pytest.approx(hours)


def test_ranges_join_the_worst_ends_and_the_best():
    (record,) = project(rate(0.6, 0.5, 0.7), rate(0.02, 0.01, 0.03), SkyAssumptions(prevalences=(0.1,)))
    worst, best = 0.05 / (0.05 + 0.027), 0.07 / (0.07 + 0.009)
    assert record["purity"]["range"] == pytest.approx([worst, best])
    assert record["candidates_per_deg2"]["range"] == pytest.approx([605 * (0.05 + 0.009), 605 * (0.07 + 0.027)])


def test_a_threshold_that_nothing_passes_has_no_purity():
    (record,) = project(rate(0.0, 0.0, 0.1), rate(0.0, 0.0, 0.1), SkyAssumptions())
    assert record["purity"] == {"value": None, "range": [0.0, 1.0]}
    assert record["candidates_per_deg2"]["value"] == 0


def test_the_deployed_probability_is_the_lens_fraction_at_that_score_on_a_resampled_sky():
    rng = np.random.default_rng(1)
    log_odds = 2 * rng.standard_normal(600_000)
    is_lens = rng.random(log_odds.size) < expit(log_odds)
    kept = ~is_lens | (rng.random(log_odds.size) < 0.02)
    near = kept & (np.abs(log_odds - 1.0) < 0.05)
    sky = SkyAssumptions(prevalences=(float(is_lens[kept].mean()), 1e-4))
    over_confident = 3 * 1.0
    at_sample, at_sky = deployed_probabilities(over_confident, TemperatureScaling(3.0), is_lens.mean(), sky)
    assert at_sample["probability"] == pytest.approx(is_lens[near].mean(), abs=0.01)
    assert at_sky["probability"] < 1e-3


@pytest.mark.parametrize("assumed", [{"galaxies_per_deg2": 0.0}, {"prevalences": (1e-4, 1.0)}])
def test_an_impossible_sky_is_refused(assumed):
    with pytest.raises(SurveyAssumptionError, match="give the"):
        SkyAssumptions(**assumed)
