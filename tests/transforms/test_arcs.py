"""Lenses and seeing drawn from keys, against the priors and the survey that they are drawn for."""

import numpy as np
import pytest
import torch

from dark_halo_scope.sky.footprint import (
    BAND_FWHM_SCATTER,
    MEDIAN_FWHM_ARCSEC,
    NIGHT_FWHM_SCATTER,
    STAMP_FWHM_SCATTER,
)
from dark_halo_scope.sky.psf import moffat, noise_pixels
from dark_halo_scope.transforms.arcs import draw_arcs, draw_fluxes, draw_psf
from dark_halo_scope.transforms.draws import draw_keys, normals, split_keys
from dark_halo_scope.transforms.hosts import Hosts
from dark_halo_scope.transforms.inject import GRID
from tests.transforms.injected import injection


def test_draws_fill_their_priors():
    keys, priors = draw_keys(2, 0, torch.arange(4000)), injection().priors
    ones = torch.ones(4000)
    arcs = draw_arcs(keys, Hosts(ones, 0.1 * ones, -0.05 * ones, 0.7 * ones), priors, 0 * ones)
    assert (arcs["x"] == 0.1).all()
    assert (arcs["y"] == -0.05).all()
    assert arcs["lens_angle"].mean().item() == pytest.approx(0.7, abs=0.01)  # mass follows light, to 10 degrees
    assert arcs["lens_angle"].std().item() == pytest.approx(np.deg2rad(10), rel=0.05)
    dmag = -2.5 * torch.log10(draw_fluxes(keys, ones, priors, 9 * ones))
    expected = {"theta_e": (0.5, 2.5), "reff": (0.15, 0.45), "n": (0.7, 2.0), "axis_ratio": (0.5, 1.0)}
    expected["angle"] = (0, np.pi)
    for name, (low, high) in expected.items():
        assert arcs[name].aminmax() == pytest.approx((low, high), abs=0.01)
        assert arcs[name].mean().item() == pytest.approx((low + high) / 2, abs=(high - low) / 50)
    assert dmag[:, 1].aminmax() == pytest.approx((3, 6), abs=0.01)
    assert dmag[:, 1].mean().item() == pytest.approx(4.5, abs=0.05)
    g_r = dmag[:, 0] - dmag[:, 1]
    assert g_r.aminmax() == pytest.approx((0.1, 0.8), abs=0.01)
    redder = dmag[:, 1] - dmag[:, 2] - 0.45 * g_r
    assert redder.mean().item() == pytest.approx(0.08, abs=0.01)
    assert redder.std().item() == pytest.approx(0.10, rel=0.05)
    for name in ("source_x", "source_y"):
        assert (arcs[name] / arcs["theta_e"]).mean().item() == pytest.approx(0, abs=0.01)
    offset = torch.hypot(arcs["source_x"], arcs["source_y"]) / arcs["theta_e"]
    assert offset.square().mean().item() == pytest.approx(0.4**2 / 2, rel=0.05)  # uniform over the disc
    assert (arcs["lens_axis_ratio"] == 1).float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_draws_fill_what_the_limits_leave_of_their_priors():
    keys, priors, ones = draw_keys(2, 0, torch.arange(4000)), injection().priors, torch.ones(4000)
    hosts = Hosts(ones, 0 * ones, 0 * ones, 0 * ones)
    theta_e = draw_arcs(keys, hosts, priors, 1.5 * ones)["theta_e"]
    dmag = -2.5 * torch.log10(draw_fluxes(keys, ones, priors, 4 * ones)[:, 1])
    for drawn, low, high in ((theta_e, 1.5, 2.5), (dmag, 3.0, 4.0)):
        assert drawn.aminmax() == pytest.approx((low, high), abs=0.01)
        assert drawn.mean().item() == pytest.approx((low + high) / 2, abs=0.02)


def test_seeing_in_g_and_z_follows_that_in_r_as_in_the_survey():
    keys = draw_keys(4, 0, torch.arange(2000))
    apart = np.hypot(BAND_FWHM_SCATTER, STAMP_FWHM_SCATTER)
    log_r = normals(split_keys(keys, 9), 1)[:, 0] * np.hypot(NIGHT_FWHM_SCATTER, apart)
    psf = draw_psf(keys, torch.exp(log_r) * MEDIAN_FWHM_ARCSEC[1], GRID)
    torch.testing.assert_close(psf.sum((2, 3)), torch.ones(2000, 3))
    median = moffat(GRID, torch.from_numpy(MEDIAN_FWHM_ARCSEC), torch.full((3,), 3.2))
    # a PSF of one shape covers an area that grows as the square of its FWHM; the shape, one for all bands, cancels
    log_fwhm = torch.log(noise_pixels(psf) / noise_pixels(median)).numpy() / 2
    shape = log_fwhm[:, 1] - log_r.numpy()
    assert 0.02 < shape.std() < 0.06
    g, r, z = (log_fwhm - shape[:, None]).T
    for band in (g, z):
        assert np.cov(band, r)[0, 1] == pytest.approx(NIGHT_FWHM_SCATTER**2, rel=0.1)
        assert np.std(band - r) == pytest.approx(np.sqrt(2) * apart, rel=0.1)
    assert np.std(g - z) == pytest.approx(np.sqrt(2) * apart, rel=0.1)
