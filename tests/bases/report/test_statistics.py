"""Intervals, tests and shares against references, by hand and by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, permutation_test, ttest_1samp

from dark_halo_scope.bases.report.statistics import (
    MIN_GROUPS,
    GroupBootstrap,
    groups_needed,
    holm,
    mean_interval,
    share_interval,
    sign_flip_p,
    smallest_p,
)


@pytest.mark.parametrize("n_groups", [2, 5, 6, 9, 12])
def test_sign_flips_are_those_of_scipy(n_groups):
    rng = np.random.default_rng(n_groups)
    for shift in (0.0, 0.5, 2.0):
        differences = rng.normal(shift, 1, n_groups)
        reference = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert sign_flip_p(differences) == pytest.approx(reference.pvalue, abs=1e-12)


def test_ties_count_as_equally_large():
    differences = np.full(7, 0.1)  # sums of 0.1 in other orders differ in their last digit
    assert sign_flip_p(differences) == 2 / 2**7
    assert sign_flip_p([0.1, -0.1, 0.2, -0.2, 0.3, -0.3]) == 1.0
    assert sign_flip_p(np.zeros(8)) == 1.0


def test_of_many_groups_random_patterns_give_nearly_the_same_and_never_zero():
    differences = np.random.default_rng(0).normal(0.45, 1, 40)
    assert sign_flip_p(differences) == pytest.approx(ttest_1samp(differences, 0).pvalue, rel=0.2)
    assert sign_flip_p(np.ones(40)) == smallest_p(40) == 2**-16


@settings(max_examples=40)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8), st.floats(0.1, 10))
def test_the_side_and_the_unit_do_not_matter(differences, unit):
    p = sign_flip_p(differences)
    assert sign_flip_p([-d for d in differences]) == p
    assert smallest_p(len(differences)) <= p <= 1
    assert sign_flip_p([d * unit for d in differences]) == pytest.approx(p, abs=2 ** (1 - len(differences)) * 1.01)


def test_under_the_null_small_p_values_are_as_rare_as_they_say():
    rng = np.random.default_rng(3)
    p = [sign_flip_p(rng.standard_t(3, 8)) for _ in range(2000)]
    for level in (0.05, 0.2):
        assert np.mean(np.array(p) <= level) <= level + 3 * np.sqrt(level / 2000)


def test_holm_by_hand():
    # ascending: 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 * 1 is raised to the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_chance_of_any_false_claim():
    rng = np.random.default_rng(4)
    any_claim = [min(holm([sign_flip_p(rng.normal(0, 1, 12)) for _ in range(6)])) < 0.05 for _ in range(400)]
    assert np.mean(any_claim) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize(("n_tests", "n_groups"), [(1, 6), (2, 7), (8, 9), (160, 13)])
def test_how_many_groups_a_claim_takes(n_tests, n_groups):
    assert groups_needed(n_tests) == n_groups
    assert smallest_p(n_groups) * n_tests < 0.05 < smallest_p(n_groups - 1) * n_tests


def test_five_groups_reach_nothing_and_get_no_interval():
    assert groups_needed(1) == MIN_GROUPS
    assert sign_flip_p(np.arange(1, 6)) == 2 / 2**5 > 0.05
    assert mean_interval(np.arange(5)) is None


@pytest.mark.parametrize(("n_groups", "least"), [(6, 0.91), (10, 0.92), (20, 0.92)])
def test_intervals_cover_the_mean(n_groups, least):
    samples = np.random.default_rng(n_groups).normal(0.3, 1, (n_groups, 600))
    bootstrap = GroupBootstrap(n_groups)
    low, high = bootstrap.interval(bootstrap.means(samples))
    assert least < np.mean((low <= 0.3) & (high >= 0.3)) < 0.98


def test_an_interval_is_the_same_again():
    values = [0.1, 0.4, 0.3, 0.2, 0.6, 0.5]
    assert mean_interval(values) == mean_interval(values)


def test_a_share_has_its_exact_interval():
    for hits, groups in ((0, 10), (3, 12), (12, 12)):
        low, high = share_interval(hits, groups)
        assert low == pytest.approx(beta.ppf(0.025, hits, groups - hits + 1) if hits else 0, abs=1e-9)
        assert high == pytest.approx(beta.ppf(0.975, hits + 1, groups - hits) if hits < groups else 1, abs=1e-9)
