import numpy as np
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
