import numpy as np
import pytest
from scipy.stats import linregress

from dark_halo_scope.monitoring.trend import trend


def test_slope_and_error_are_those_of_least_squares():
    values = np.random.default_rng(2).normal(0, 1, 9) + 0.4 * np.arange(9)
    expected = linregress(np.arange(9), values)
    assert trend(values).slope == pytest.approx(expected.slope)
    assert trend(values).stderr == pytest.approx(expected.stderr)


def test_noise_alone_is_taken_for_a_rise_as_often_as_the_confidence_says():
    noise = np.random.default_rng(4).normal(0, 1, (4000, 8))
    assert np.mean([trend(values).rises for values in noise]) == pytest.approx(0.05, abs=0.015)
    assert np.mean([trend(values).falls for values in noise]) == pytest.approx(0.05, abs=0.015)
