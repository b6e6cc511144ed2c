import numpy as np
import pytest

from dark_halo_scope.stamps.codec import StampError
from dark_halo_scope.stamps.repair import fill_nonfinite
from tests.stamps.datasets import stamp_image


def test_a_finite_stamp_is_left_as_it_is():
    image = stamp_image(1, is_lens=True)
    before = image.copy()
    assert fill_nonfinite(image, 0.01) == 0
    np.testing.assert_array_equal(image, before)


def test_a_few_bad_pixels_become_the_sky_of_their_band():
    image = stamp_image(1, is_lens=True) + np.float32([[[1.0]], [[2.0]], [[3.0]]])
    before = image.copy()
    image[0, 30, 30:33] = np.nan
    image[2, 5, 5] = np.inf
    assert fill_nonfinite(image, 0.01) == 4
    np.testing.assert_allclose(image[0, 30, 30:33], 1.0, atol=0.01)
    np.testing.assert_allclose(image[2, 5, 5], 3.0, atol=0.02)
    filled = image != before
    assert filled.sum() == 4


def test_more_bad_pixels_than_allowed_make_the_stamp_unusable():
    image = stamp_image(1, is_lens=True)
    image[1].flat[:41] = np.nan  # 1 % of 4096 pixels is 40.96
    with pytest.raises(StampError, match="band r has 41 non-finite pixels") as caught:
        fill_nonfinite(image, 0.01)
    assert caught.value.reason == "nonfinite"


def test_huge_finite_pixels_are_not_taken_for_infinite():
    image = np.full((3, 64, 64), 3e38, np.float32)
    with np.errstate(over="ignore"):
        assert fill_nonfinite(image, 0.01) == 0
