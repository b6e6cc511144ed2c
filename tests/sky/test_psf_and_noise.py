"""The PSF against astropy and lenstronomy; noise against the depth it is made from."""

import numpy as np
import pytest
import torch
from astropy.modeling.models import Moffat2D
from lenstronomy.LightModel.Profiles.moffat import Moffat

from dark_halo_scope.sky.grid import StampGrid
from dark_halo_scope.sky.noise import add_noise, flux_of_magnitude, inverse_variance, pixel_sigma
from dark_halo_scope.sky.psf import moffat, noise_pixels

GRID = StampGrid(size=64, pixel_arcsec=0.262)


def psf_image(fwhm, beta):
    return moffat(GRID, torch.tensor(fwhm, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)).numpy()


@pytest.mark.parametrize(("fwhm", "beta"), [(0.9, 2.6), (1.2, 3.0), (1.7, 3.8)])
def test_moffat_is_astropys_and_lenstronomys(fwhm, beta):
    image = psf_image(fwhm, beta)
    offset = np.fft.fftfreq(GRID.box, 1 / GRID.box) * GRID.pixel_arcsec
    x, y = np.meshgrid(offset, offset)
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    for expected in (Moffat2D(1, 0, 0, alpha, beta)(x, y), Moffat().function(x, y, 1, alpha, beta)):
        np.testing.assert_allclose(image, expected / expected.sum(), rtol=1e-6, atol=1e-12)
    assert Moffat2D(gamma=alpha, alpha=beta).fwhm == pytest.approx(fwhm)
    assert image.sum() == pytest.approx(1)


def test_each_band_has_its_own_psf():
    fwhm = torch.tensor([[1.3, 1.2, 1.1], [1.6, 1.4, 1.0]])
    images = moffat(GRID, fwhm, torch.full((2, 3), 3.0))
    assert images.shape == (2, 3, GRID.box, GRID.box)
    assert (images[:, :2, 0, 0] < images[:, 1:, 0, 0]).all()


def test_magnitudes_are_nanomaggies():
    assert flux_of_magnitude(torch.tensor(22.5)).item() == pytest.approx(1)
    assert flux_of_magnitude(torch.tensor(20.0)).item() == pytest.approx(10)


def test_a_point_source_at_the_depth_is_a_five_sigma_detection():
    """Fit the PSF to point sources of the limiting magnitude under simulated noise: flux / scatter must be 5."""
    depth_mag = torch.tensor(24.0)
    psf = moffat(GRID, torch.tensor(1.2), torch.tensor(3.0))
    sigma = pixel_sigma(inverse_variance(depth_mag), noise_pixels(psf))
    stamp = torch.fft.fftshift(psf)[32:96, 32:96]
    flux = flux_of_magnitude(depth_mag)
    normal = torch.randn((2000, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    no_photon_noise = torch.full((1, 1), 1e12)
    noisy = add_noise(flux * stamp.expand(2000, 1, 64, 64), sigma.expand(2000, 1), no_photon_noise, normal)
    fitted = (noisy * stamp).sum((1, 2, 3)) / stamp.square().sum()
    assert fitted.mean().item() == pytest.approx(flux.item(), rel=0.02)
    assert (flux / fitted.std()).item() == pytest.approx(5, rel=0.05)


def test_photon_noise_grows_with_the_square_root_of_the_light():
    normal = torch.randn((1, 1, 200, 200), generator=torch.Generator().manual_seed(0))
    light = torch.full_like(normal, 0.5)
    noisy = add_noise(light, torch.zeros(1, 1), torch.full((1, 1), 7000.0), normal)
    assert ((noisy - light).std() * 7000).item() == pytest.approx(np.sqrt(0.5 * 7000), rel=0.02)
