import json

import numpy as np
import pytest
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit
from scipy.stats import binned_statistic

from dark_halo_scope.evaluation.calibration import (
    CalibrationError,
    IsotonicCalibration,
    TemperatureScaling,
    calibrator_from_dict,
    expected_calibration_error,
    fit_calibrator,
    reliability_bins,
    shift_prior,
)


def over_confident_sample(n: int, factor: float = 3.0, seed: int = 0):
    """Labels drawn from known log-odds, and a network that claims `factor` times those."""
    rng = np.random.default_rng(seed)
    log_odds = 2.0 * rng.standard_normal(n)
    labels = (rng.random(n) < expit(log_odds)).astype(np.int8)
    return (factor * log_odds).astype(np.float32), labels


def test_temperature_recovers_the_over_confidence():
    assert TemperatureScaling.fit(*over_confident_sample(40_000)).temperature == pytest.approx(3.0, rel=0.03)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_brings_an_over_confident_network_below_two_per_cent(method):
    calibrator = fit_calibrator(method, *over_confident_sample(20_000, seed=1))
    logits, labels = over_confident_sample(20_000, seed=2)
    assert expected_calibration_error(expit(logits.astype(float)), labels) > 0.08
    assert expected_calibration_error(calibrator.probability(logits), labels) < 0.02


def test_temperature_minimises_the_likelihood():
    logits, labels = over_confident_sample(2000)

    def nll(temperature):
        z = logits.astype(float) / temperature
        return np.mean(np.logaddexp(0, z) - labels * z)

    best = TemperatureScaling.fit(logits, labels).temperature
    assert nll(best) < min(nll(0.99 * best), nll(1.01 * best))


def test_temperature_of_a_perfect_and_of_a_useless_network_is_bounded():
    assert TemperatureScaling.fit([-5.0, -4.0, 4.0, 5.0], [0, 0, 1, 1]).temperature == pytest.approx(0.01)
    assert TemperatureScaling.fit([5.0, 4.0, -4.0, -5.0], [0, 0, 1, 1]).temperature == pytest.approx(100)


def test_isotonic_agrees_with_scipy_and_never_claims_certainty():
    logits, labels = over_confident_sample(500)
    order = np.argsort(logits)
    margin = 1 / (logits.size + 2)
    expected = isotonic_regression(labels[order].astype(float)).x.clip(margin, 1 - margin)
    calibrator = IsotonicCalibration.fit(logits, labels)
    np.testing.assert_allclose(calibrator.probability(logits[order]), expected, atol=1e-12)
    assert np.isfinite(calibrator.logit([-1e6, 1e6])).all()


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibrators_survive_json(method):
    logits, labels = over_confident_sample(300)
    calibrator = fit_calibrator(method, logits, labels)
    again = calibrator_from_dict(json.loads(json.dumps(calibrator.to_dict())))
    assert again == calibrator
    np.testing.assert_array_equal(again.probability(logits), calibrator.probability(logits))


def test_prior_shift_is_right_on_resampled_data():
    logits, labels = over_confident_sample(400_000, factor=1.0)
    rng = np.random.default_rng(5)
    kept = (labels == 0) | (rng.random(labels.size) < 0.02)  # about one lens in fifty controls
    train, target = labels.mean(), labels[kept].mean()
    shifted = expit(shift_prior(logits[kept], train, target))
    assert expected_calibration_error(expit(logits[kept].astype(float)), labels[kept]) > 0.2
    assert expected_calibration_error(shifted, labels[kept]) < 0.005
    assert shifted.mean() == pytest.approx(target, rel=0.05)


def test_prior_shift_is_bayes_rule():
    probability, train, target = 0.7, 0.5, 1e-4
    odds = probability / (1 - probability) * (target / (1 - target)) / (train / (1 - train))
    assert expit(shift_prior(logit(probability), train, target)) == pytest.approx(odds / (1 + odds), rel=1e-12)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 50])
def test_a_prevalence_outside_zero_and_one_is_refused(prevalence):
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        shift_prior([0.0], 0.5, prevalence)


def test_reliability_bins_count_every_stamp_once():
    bins = reliability_bins([0.0, 0.05, 0.5, 0.5, 1.0], [0, 1, 0, 1, 1], n_bins=10)
    assert bins.n.tolist() == [2, 2, 1]
    assert bins.n_lens.tolist() == [1, 1, 1]
    np.testing.assert_allclose(bins.predicted, [0.025, 0.5, 1.0])
    np.testing.assert_allclose(bins.low, [0.0, 0.5, 0.9])
    np.testing.assert_allclose(bins.observed, [0.5, 0.5, 1.0])
    assert expected_calibration_error([0.0, 0.05, 0.5, 0.5, 1.0], [0, 1, 0, 1, 1], 10) == pytest.approx(0.4 * 0.475)


def test_ece_agrees_with_scipys_binned_means():
    logits, labels = over_confident_sample(3000)
    probability = expit(logits.astype(float))
    bins = {"bins": 15, "range": (0, 1)}
    n, predicted, observed = (
        np.nan_to_num(binned_statistic(probability, values, statistic, **bins).statistic)
        for values, statistic in ((None, "count"), (probability, "mean"), (labels, "mean"))
    )
    expected = np.sum(n * np.abs(predicted - observed)) / labels.size
    assert expected_calibration_error(probability, labels) == pytest.approx(expected, abs=1e-9)


def test_unusable_samples_are_refused():
    with pytest.raises(CalibrationError, match="both classes"):
        fit_calibrator("temperature", [0.0, 1.0], [1, 1])
    with pytest.raises(CalibrationError, match="finite logits"):
        fit_calibrator("isotonic", [np.nan, 1.0], [0, 1])
    with pytest.raises(CalibrationError, match="temperature, isotonic"):
        fit_calibrator("platt", [0.0, 1.0], [0, 1])
