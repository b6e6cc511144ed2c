import numpy as np
import torch

from dark_halo_scope.stamps.store.statistics import SKY_RADIUS_PX, stamp_statistics
from dark_halo_scope.transforms import normalise
from tests.stamps.datasets import stamp_image


def test_they_are_bit_for_bit_what_the_normalisation_measures():
    rng = np.random.default_rng(0)
    images = np.stack([stamp_image(k, k % 2 == 1) * rng.lognormal(0, 3) for k in range(40)]).astype(np.float32)
    found = stamp_statistics(images)
    pixels = torch.from_numpy(images).flatten(2)
    sky = pixels[..., normalise.AnnulusAsinh(radius_px=SKY_RADIUS_PX).annulus]
    centre, whole = normalise.median(sky), normalise.median(pixels)
    sigma = normalise.mad_sigma(sky, centre)
    for b, band in enumerate("grz"):
        np.testing.assert_array_equal(found[f"stamp_sky_{band}"], centre[:, b].numpy())
        np.testing.assert_array_equal(found[f"stamp_sky_sigma_{band}"], sigma[:, b].numpy())
        np.testing.assert_array_equal(found[f"stamp_median_{band}"], whole[:, b].numpy())
        mad = normalise.median((pixels - whole[..., None]).abs())[:, b]
        np.testing.assert_array_equal(found[f"stamp_mad_{band}"], mad.numpy())
    np.testing.assert_array_equal(found["stamp_noise"], sigma.mean(dim=1).numpy())
    assert all(values.dtype == np.float32 for values in found.values())


def test_a_constant_stamp_has_no_noise():
    found = stamp_statistics(np.full((1, 3, 64, 64), 2.5, np.float32))
    assert found["stamp_sky_g"] == 2.5
    assert found["stamp_noise"] == 0
