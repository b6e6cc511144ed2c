import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest, norm

from dark_halo_scope.evaluation.calibration import expected_calibration_error
from dark_halo_scope.evaluation.intervals import (
    RegionBootstrap,
    TooFewRegionsError,
    binomial_interval,
    calibration_noise,
)
from dark_halo_scope.evaluation.metrics import auroc, ranking_metrics, roc_counts, tpr_at_fpr


@pytest.mark.parametrize(("k", "n"), [(0, 20), (7, 20), (20, 20), (431, 1000)])
def test_binomial_intervals_agree_with_scipy(k, n):
    wilson = binomtest(k, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(binomial_interval(k, n), [wilson.low, wilson.high], atol=1e-9)


def survey(seed: int, n_regions: int = 30, per_region: int = 40, scatter: float = 0.5, shift: float = 2.0):
    """Scores whose class separation differs from region to region by `scatter`."""
    rng = np.random.default_rng(seed)
    region = np.repeat(np.arange(n_regions), per_region)
    labels = np.tile([0, 1], n_regions * per_region // 2)
    separation = shift + scatter * rng.standard_normal(n_regions)[region]
    return (labels * separation + rng.standard_normal(labels.size)).astype(np.float32), labels, region


def test_region_bootstrap_covers_the_truth():
    truth_auroc = norm.cdf(2.0 / np.sqrt(2 + 0.5**2))
    truth_tpr = norm.sf((norm.isf(0.1) - 2.0) / np.sqrt(1 + 0.5**2))
    covered = np.zeros(2)
    n_datasets = 500
    for seed in range(n_datasets):
        bootstrap = RegionBootstrap(*survey(seed, per_region=20), n_resamples=200, seed=seed)
        draws = bootstrap.roc_statistics(lambda counts: {"auroc": auroc(counts), "tpr": tpr_at_fpr(counts, 0.1)})
        for index, (name, truth) in enumerate((("auroc", truth_auroc), ("tpr", truth_tpr))):
            low, high = bootstrap.interval(draws[name])
            covered[index] += low <= truth <= high
    assert (covered >= 0.90 * n_datasets).all(), covered
    assert (covered <= 0.98 * n_datasets).all(), covered


def test_resampling_stamps_instead_of_regions_is_too_narrow():
    logits, labels, region = survey(0, per_region=200, scatter=1.0)
    widths = []
    for groups in (region, np.arange(labels.size)):
        bootstrap = RegionBootstrap(logits, labels, groups, n_resamples=200)
        draws = bootstrap.roc_statistics(lambda counts: {"auroc": auroc(counts)})
        low, high = bootstrap.interval(draws["auroc"])
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1]


def test_resampled_statistics_equal_those_of_the_resampled_stamps():
    logits, labels, region = survey(3)
    logits = logits.round(1)  # ties
    bootstrap = RegionBootstrap(logits, labels, region, n_resamples=5)
    draws = bootstrap.roc_statistics(ranking_metrics)
    means = bootstrap.mean(logits)
    for index, weights in enumerate(bootstrap.weights):
        chosen = np.concatenate([np.tile(np.flatnonzero(region == r), int(w)) for r, w in enumerate(weights)])
        expected = ranking_metrics(roc_counts(logits[chosen], labels[chosen]))
        for name, value in expected.items():
            assert draws[name][index] == pytest.approx(value, abs=1e-12), name
        assert means[index] == pytest.approx(logits[chosen].mean(dtype=float), abs=1e-9)


def test_the_same_seed_gives_the_same_interval_and_regions_may_be_strings():
    logits, labels, region = survey(1)
    by_number, by_name = (
        RegionBootstrap(logits, labels, names, n_resamples=20, seed=4).roc_statistics(ranking_metrics)["ap"]
        for names in (region, np.array([f"brick{r:03d}" for r in region]))
    )
    np.testing.assert_array_equal(by_number, by_name)


def test_regions_of_one_class_only_never_leave_a_resample_without_the_other():
    labels = np.repeat([0, 1], [11, 1])
    bootstrap = RegionBootstrap(np.arange(12.0), labels, np.arange(12), n_resamples=50)
    assert np.isfinite(bootstrap.roc_statistics(ranking_metrics)["auroc"]).all()


def test_few_regions_give_no_interval():
    with pytest.raises(TooFewRegionsError, match="at least 10 regions, the sample has 4"):
        RegionBootstrap(np.arange(8.0), [0, 1] * 4, np.repeat(np.arange(4), 2))


def test_calibration_noise_is_the_error_of_a_perfect_network():
    rng = np.random.default_rng(0)
    probability = expit(2 * rng.standard_normal(1500))
    low, high = calibration_noise(probability)
    errors = [
        expected_calibration_error(probability, np.random.default_rng(s).random(1500) < probability) for s in range(200)
    ]
    assert 0.88 <= np.mean([(low <= e <= high) for e in errors]) <= 1.0
    assert 0 < low < high < 0.05
