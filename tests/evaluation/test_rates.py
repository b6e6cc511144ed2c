import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from dark_halo_scope.evaluation.intervals import expanded_percentile
from dark_halo_scope.evaluation.rates import RegionResamples, rate_intervals, rate_records


def survey(seed: int, n_regions: int = 30, per_region: int = 40, scatter: float = 1.0):
    """Regions of lenses whose completeness scatters between regions, in the logit; whether each lens is found."""
    rng = np.random.default_rng(seed)
    region = np.repeat(np.arange(n_regions), per_region)
    return region, rng.random(region.size) < expit(1 + scatter * rng.standard_normal(n_regions)[region])


def wilson(passed: int, n: int) -> list[float]:
    interval = binomtest(passed, n).proportion_ci(0.95, "wilson")
    return [interval.low, interval.high]


def test_resampled_intervals_cover_the_truth_where_binomial_ones_do_not():
    truth = expit(1 + np.random.default_rng(0).standard_normal(100_000)).mean()
    covered = np.zeros(2)
    for seed in range(300):
        region, found = survey(seed)
        for index, resamples in enumerate([RegionResamples(region, 200, seed), None]):
            (low,), (high,) = rate_intervals(np.zeros(region.size, int), found, 1, resamples)[0]
            covered[index] += low <= truth <= high
    assert 0.90 <= covered[0] / 300 <= 0.98
    assert covered[1] / 300 < 0.7


def test_every_cell_is_resampled_as_if_it_stood_alone():
    region, found = survey(1)
    cell = np.random.default_rng(1).integers(3, size=region.size)
    names = np.array([f"brick{r:03d}" for r in region])
    resamples = RegionResamples(names, n_resamples=40, seed=5)
    ends, carrying = resamples.intervals(cell, found, 3)
    times = np.random.default_rng(5).multinomial(30, np.full(30, 1 / 30), size=40)
    for index in range(3):
        inside = [np.flatnonzero((region == r) & (cell == index)) for r in range(30)]
        rates = [found[np.concatenate(list(map(np.tile, inside, drawn)))].mean() for drawn in times]
        np.testing.assert_allclose(ends[:, index], expanded_percentile(np.array(rates), carrying[index]), atol=1e-12)
    alone = cell == 2
    np.testing.assert_allclose(resamples.of(alone).intervals(cell[alone], found[alone], 3)[0][:, 2], ends[:, 2])


def test_few_regions_few_found_or_few_missed_leave_the_binomial_interval():
    region = np.concatenate([np.arange(200) % 9, np.arange(200) % 20, np.arange(200) % 20, np.arange(200) % 20])
    cell = np.repeat(np.arange(4), 200)
    found = np.concatenate([np.arange(200) < k for k in (100, 9, 191, 100)])
    records = rate_records(cell, found, 4, RegionResamples(region, n_resamples=100))
    assert [record["method"] for record in records] == ["Wilson"] * 3 + ["region bootstrap"]
    for record in records[:3]:
        assert record["interval"] == pytest.approx(wilson(record["passed"], record["n"]), abs=1e-9)


def test_a_rate_needs_ten_stamps():
    few, enough, none = rate_records(np.repeat([0, 1], [9, 10]), np.arange(19) % 3 == 0, 3)
    unknown = {"rate": None, "interval": None, "method": None}
    assert few == {"n": 9, "passed": 3} | unknown
    assert enough == {"n": 10, "passed": 4, "rate": 0.4, "interval": pytest.approx(wilson(4, 10)), "method": "Wilson"}
    assert none == {"n": 0, "passed": 0} | unknown
