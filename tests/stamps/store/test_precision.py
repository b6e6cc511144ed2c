import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.stamps.store.precision import Float16Stamps, from_float16, to_float16
from tests.stamps.datasets import stamp_image


def restored_from(half: Float16Stamps) -> np.ndarray:
    images = np.empty(half.pixels.shape, np.float32)
    from_float16(half.pixels, half.exponent, images)
    return images


SIGMA = np.full((1, 3), 0.03, np.float32)


@settings(max_examples=30, deadline=None)
@given(power=st.integers(-90, 100), seed=st.integers(0, 1000), outlier=st.sampled_from([0, 1, 300, 1e5]))
def test_nothing_overflows_or_fades_at_any_scale(power, seed, outlier):
    image = stamp_image(seed, is_lens=True)[None]
    image[0, 1, 5, 5] += outlier
    image = np.ldexp(image, power)
    half = to_float16(image, np.ldexp(SIGMA, power))
    assert np.isfinite(half.pixels).all()
    restored = restored_from(half)
    faintest = np.abs(image).max() * 2.0**-39
    assert (restored[np.abs(image) > faintest] != 0).all()
    bound = np.abs(image) * 2**-11 + faintest
    assert (np.abs(restored.astype(np.float64) - image) <= bound).all()


def test_the_error_is_the_rms_of_the_worst_band_over_its_noise():
    image = stamp_image(3, is_lens=False)[None]
    sigma = np.array([[0.03, 0.06, 0.015]], np.float32)
    half = to_float16(image, sigma)
    difference = restored_from(half).astype(np.float64) - image
    expected = (np.sqrt((difference**2).mean(axis=(2, 3))) / sigma).max()
    assert half.error[0] == pytest.approx(expected, rel=1e-5)
    assert 0 < half.error[0] < 0.005


def test_a_saturated_star_is_too_much_for_it():
    image = stamp_image(3, is_lens=False)[None]
    image[0, 2, 20:40, 20:40] = np.linspace(9e3, 1e4, 400).reshape(20, 20)
    assert to_float16(image, SIGMA).error[0] > 5


def test_an_empty_stamp_stays_empty():
    half = to_float16(np.zeros((1, 3, 64, 64), np.float32), np.zeros((1, 3), np.float32))
    assert not half.pixels.any()
    assert half.exponent[0] == half.error[0] == 0
