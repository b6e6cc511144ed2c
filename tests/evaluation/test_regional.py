import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit
from scipy.stats import chi2_contingency, kstest

from dark_halo_scope.evaluation.regional import calibration_by_region, completeness_by_region, region_names


def calibrated(seed: int, n_regions: int = 20, per_region: int = 60):
    rng = np.random.default_rng(seed)
    region = np.repeat([f"brick{r:02d}" for r in range(n_regions)], per_region)
    logits = 1.5 * rng.standard_normal(region.size)
    return logits, rng.random(region.size) < expit(logits), region


def test_tests_of_a_calibrated_finder_are_fair():
    results = [calibration_by_region(*calibrated(seed)) for seed in range(300)]
    for test in ("level", "confidence"):
        p_values = [result[test]["p_value"] for result in results]
        assert kstest(p_values, "uniform").pvalue > 1e-3, test


def test_a_region_with_too_many_lenses_is_found_and_shown_last():
    logits, labels, region = calibrated(1)
    spoilt = region == "brick07"
    labels = np.where(spoilt, np.random.default_rng(0).random(labels.size) < expit(logits + 2), labels)
    result = calibration_by_region(logits, labels, region)
    assert result["level"]["p_value"] < 1e-4
    worst = result["regions"][-1]
    assert worst["name"] == "brick07"
    assert worst["difference"] == pytest.approx(worst["observed"] - worst["predicted"])
    assert worst["interval"][0] < worst["observed"] < worst["interval"][1]


def test_over_confidence_in_some_regions_is_found_though_their_level_is_right():
    logits, labels, region = calibrated(2)
    claimed = np.where(np.isin(region, ["brick03", "brick11", "brick12"]), 4 * logits, logits)
    result = calibration_by_region(claimed, labels, region)
    assert result["confidence"]["p_value"] < 1e-6


def test_small_regions_are_counted_not_shown():
    logits, labels, region = calibrated(3, n_regions=3)
    region = np.where(np.arange(region.size) < 4, "tiny", region)
    result = calibration_by_region(logits, labels, region)
    assert result["n_small"] == 1
    assert len(result["regions"]) == result["level"]["dof"] == 3


def test_completeness_by_region_agrees_with_scipys_test_of_a_contingency_table():
    rng = np.random.default_rng(0)
    region = np.repeat(["a", "b", "c", "d"], [40, 60, 80, 5])
    found = rng.random(region.size) < np.repeat([0.3, 0.6, 0.6, 0.5], [40, 60, 80, 5])
    result = completeness_by_region(found, region.tolist())
    table = [[found[region == r].sum(), (~found[region == r]).sum()] for r in "abc"]
    expected = chi2_contingency(table, correction=False)
    assert result["test"]["chi2"] == pytest.approx(expected.statistic, abs=1e-9)
    assert result["test"]["p_value"] == pytest.approx(expected.pvalue, abs=1e-9)
    assert result["n_small"] == 1
    rates = [record["rate"] for record in result["regions"]]
    assert rates == sorted(rates)


def test_regions_where_all_is_found_cannot_be_told_apart():
    assert completeness_by_region(np.ones(40, bool), ["a"] * 20 + ["b"] * 20)["test"] is None


def test_regions_may_be_numbers_or_unknown():
    assert region_names(pa.table({"region_id": pa.array([3, None], pa.int32())}), "region_id") == ["3", "no region"]
