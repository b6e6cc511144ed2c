import numpy as np
import pytest
import torch

from dark_halo_scope.stamps.store.statistics import SKY_RADIUS_PX, stamp_statistics
from dark_halo_scope.transforms import normalise
from tests.stamps.datasets import stamp_image


def test_they_are_bit_for_bit_what_the_normalisation_measures():
    rng = np.random.default_rng(0)
    images = np.stack([stamp_image(k, k % 2 == 1) * rng.lognormal(0, 3) for k in range(40)]).astype(np.float32)
    before = images.copy()
    found = stamp_statistics(images)
    np.testing.assert_array_equal(images, before)
    pixels = torch.from_numpy(images).flatten(2)
    sky = pixels[..., normalise.AnnulusAsinh(radius_px=SKY_RADIUS_PX).annulus]
    centre, sky_mad = normalise.median_and_mad(sky)
    whole, whole_mad = normalise.median_and_mad(pixels)
    sigma = normalise.MAD_TO_SIGMA * sky_mad
    for b, band in enumerate("grz"):
        np.testing.assert_array_equal(found[f"stamp_sky_{band}"], centre[:, b].numpy())
        np.testing.assert_array_equal(found[f"stamp_sky_sigma_{band}"], sigma[:, b].numpy())
        np.testing.assert_array_equal(found[f"stamp_median_{band}"], whole[:, b].numpy())
        np.testing.assert_array_equal(found[f"stamp_mad_{band}"], whole_mad[:, b].numpy())
    np.testing.assert_array_equal(found["stamp_noise"], sigma.mean(dim=1).numpy())
    assert all(values.dtype == np.float32 for values in found.values())


def test_a_constant_stamp_has_no_noise():
    found = stamp_statistics(np.full((1, 3, 64, 64), 2.5, np.float32))
    assert found["stamp_sky_g"] == 2.5
    assert found["stamp_noise"] == 0


@pytest.mark.parametrize("kind", ["noise", "steps", "slope", "two values", "columns"])
def test_medians_are_exact_whatever_the_pixels(kind):
    rng = np.random.default_rng(1)
    images = rng.normal(0, 1, (5, 3, 64, 64))
    if kind == "steps":
        images = np.round(images)
    elif kind == "slope":
        images = np.sort(images.reshape(5, 3, -1), axis=-1).reshape(images.shape)
    elif kind == "two values":
        images = np.where(images < 0, -1.0, 3.0)
    elif kind == "columns":
        images[..., ::2] += 100  # a sample of every other pixel or fewer would know nothing of the rest
    images = images.astype(np.float32)
    found = stamp_statistics(images)
    pixels = torch.from_numpy(images).flatten(2)
    for b, band in enumerate("grz"):
        median = np.median(images[:, b], axis=(1, 2))
        np.testing.assert_array_equal(found[f"stamp_median_{band}"], median)
        mad = np.median(np.abs(images[:, b] - median[:, None, None]), axis=(1, 2))
        np.testing.assert_array_equal(found[f"stamp_mad_{band}"], mad)
        sky = pixels[:, b, normalise.AnnulusAsinh(radius_px=SKY_RADIUS_PX).annulus].numpy()
        np.testing.assert_array_equal(found[f"stamp_sky_{band}"], np.median(sky, axis=-1))
