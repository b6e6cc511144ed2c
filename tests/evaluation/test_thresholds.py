import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from dark_halo_scope.evaluation.calibration import IsotonicCalibration, TemperatureScaling
from dark_halo_scope.evaluation.thresholds import density_thresholds, operating_thresholds
from dark_halo_scope.evaluation.wording import threshold_name


def sample(n: int = 24_000, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return (rng.normal(3.0 * (labels - 0.5))).astype(np.float32), labels


def by_name(records):
    return {record["name"]: record for record in records}


def test_thresholds_meet_their_false_positive_rate_and_lose_no_lens_needlessly():
    logits, labels = sample()
    records = by_name(operating_thresholds(logits, labels, TemperatureScaling(1.5)))
    for name, target in (("fpr_1e-2", 0.01), ("fpr_1e-3", 0.001)):
        record = records[name]
        passed = logits >= np.float32(record["logit"])
        assert record["supported"]
        assert passed[labels == 0].mean() == pytest.approx(record["val_fpr"])
        assert passed[labels == 1].mean() == pytest.approx(record["val_tpr"])
        looser = logits >= logits[logits < np.float32(record["logit"])].max()
        assert record["val_fpr"] <= target
        assert looser[labels == 0].mean() > target or looser[labels == 1].mean() == record["val_tpr"]
        assert record["probability"] == pytest.approx(1 / (1 + np.exp(-record["logit"] / 1.5)))


def test_a_rate_the_controls_cannot_support_gets_a_reason_and_no_threshold():
    record = by_name(operating_thresholds(*sample(), TemperatureScaling()))["fpr_1e-4"]
    assert not record["supported"]
    assert record["logit"] is None
    assert record["reason"].startswith("1.2 false positives expected among 12000 validation controls")
    assert record["reason"].endswith("100000 controls")


def test_best_f1_is_the_best_of_all_thresholds():
    logits, labels = sample(600)
    record = by_name(operating_thresholds(logits, labels, TemperatureScaling()))["best_f1"]
    best = max(f1_score(labels, logits >= threshold) for threshold in logits)
    assert f1_score(labels, logits >= np.float32(record["logit"])) == pytest.approx(best)


@pytest.mark.parametrize("calibrate", [TemperatureScaling.fit, IsotonicCalibration.fit])
def test_probability_one_half_is_that_of_the_calibrator(calibrate):
    logits, labels = sample(4000)
    calibrator = calibrate(logits, labels)
    record = by_name(operating_thresholds(logits, labels, calibrator))["probability_0.5"]
    called = calibrator.probability(logits) >= 0.5
    np.testing.assert_array_equal(logits >= np.float32(record["logit"]), called)


def test_a_network_that_is_never_sure_has_no_threshold_at_one_half():
    logits, labels = sample(400)
    record = by_name(operating_thresholds(logits - 50, labels, TemperatureScaling()))["probability_0.5"]
    assert not record["supported"]
    assert "no validation stamp" in record["reason"]


def test_saturated_scores_have_no_threshold_for_a_rate():
    logits, labels = sample(4000)
    record = by_name(operating_thresholds(np.minimum(logits, -1), labels, TemperatureScaling()))["fpr_1e-2"]
    assert not record["supported"]
    assert "share the highest logit" in record["reason"]


def test_a_density_of_false_positives_is_a_rate_among_the_galaxies():
    logits, labels = sample()
    dense, sparse = density_thresholds(logits, labels, TemperatureScaling(), (6.0, 0.06, 700.0), galaxies_per_deg2=600)
    assert (dense["name"], dense["target_fp_per_deg2"]) == ("fp_per_deg2_6", 6)
    assert dense["logit"] == by_name(operating_thresholds(logits, labels, TemperatureScaling()))["fpr_1e-2"]["logit"]
    assert not sparse["supported"]
    assert sparse["reason"].endswith("that is 100000 controls")
    assert threshold_name(dense) == "6 false positives per square degree"
    assert threshold_name(dense | {"target_fp_per_deg2": 1.0}) == "1 false positive per square degree"


def test_records_are_plain_json():
    records = operating_thresholds(*sample(), TemperatureScaling())
    assert json.loads(json.dumps(records)) == records
