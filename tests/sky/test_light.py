"""Sersic light against lenstronomy, and its Fourier transform against closed forms and quadrature."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util.param_util import phi_q2_ellipticity
from scipy.special import gamma, gammaincinv, j0

from dark_halo_scope.sky.grid import StampGrid
from dark_halo_scope.sky.light import SERSIC_MAX, SERSIC_MIN, sersic, sersic_b, sersic_modes
from tests.sky.oracle import sersic_radius

GRID = StampGrid(size=64, pixel_arcsec=0.262)


def modes_of(reff=1.0, n=1.0, axis_ratio=1.0, angle=0.0):
    """Modes (box, half) of one profile."""
    return sersic_modes(GRID, *(torch.tensor([v], dtype=torch.float32) for v in (reff, n, axis_ratio, angle)))[0]


def wavenumber():
    """2 pi k (box, half) in radians per arcsec."""
    ky, kx = GRID.frequencies()
    return 2 * np.pi * torch.hypot(kx[None, :], ky[:, None]).numpy()


@pytest.mark.parametrize("n", [0.7, 1.0, 4.0, 6.0])
def test_half_light_index(n):
    assert sersic_b(torch.tensor(n, dtype=torch.float64)).item() == pytest.approx(gammaincinv(2 * n, 0.5), rel=2e-4)


@pytest.mark.parametrize("n", [0.7, 1.0, 2.0, 4.0])
@pytest.mark.parametrize(("axis_ratio", "angle"), [(1.0, 0.0), (0.5, 0.9)])
def test_sersic_is_lenstronomys_at_unit_flux(n, axis_ratio, angle):
    x, y = np.random.default_rng(1).uniform(-3, 3, (2, 200))
    e1, e2 = phi_q2_ellipticity(angle, axis_ratio)
    model = LightModel(["SERSIC_ELLIPSE"])
    kwargs = [{"amp": 1.0, "R_sersic": sersic_radius(0.6, n), "n_sersic": n, "e1": e1, "e2": e2}]
    kwargs[0] |= {"center_x": 0.0, "center_y": 0.0}
    expected = model.surface_brightness(x, y, kwargs) / model.total_flux(kwargs)[0]
    at = [torch.tensor(v, dtype=torch.float64) for v in (x, y, 0.6, n, axis_ratio, angle)]
    np.testing.assert_allclose(sersic(*at).numpy(), expected, rtol=5e-3)


def test_transform_of_a_gaussian():
    k, b = wavenumber(), gammaincinv(1.0, 0.5)
    np.testing.assert_allclose(modes_of(reff=0.8, n=0.5), np.exp(-((0.8 * k) ** 2) / (4 * b)), atol=1e-4)


def test_transform_of_an_exponential():
    k, b = wavenumber(), gammaincinv(2.0, 0.5)
    np.testing.assert_allclose(modes_of(reff=1.2, n=1.0), (1 + (1.2 * k / b) ** 2) ** -1.5, atol=1e-4)


@pytest.mark.parametrize("n", [2.7, 4.0, 6.0])
def test_transform_by_quadrature(n):
    k = wavenumber()
    log_r = np.linspace(-14, 8, 400_001)
    r, b = np.exp(log_r), gammaincinv(2 * n, 0.5)
    total = 2 * np.pi * n * np.exp(b) * b ** (-2 * n) * gamma(2 * n)
    for row, column in [(0, 1), (3, 5), (0, 20), (90, 60)]:
        integrand = 2 * np.pi * r**2 * j0(k[row, column] * r) * np.exp(-b * (r ** (1 / n) - 1)) / total
        assert modes_of(n=n)[row, column].item() == pytest.approx(np.trapezoid(integrand, log_r), abs=1e-3)


@settings(deadline=None, max_examples=50)
@given(reff=st.floats(0.0, 3.0), n=st.floats(SERSIC_MIN, SERSIC_MAX), q=st.floats(0.1, 1.0), angle=st.floats(0, np.pi))
def test_flux_is_exact_for_any_shape(reff, n, q, angle):
    modes = modes_of(reff, n, q, angle)
    assert modes[0, 0].item() == pytest.approx(1, abs=1e-4)
    assert torch.isfinite(modes).all()
    assert modes.max() <= 1 + 1e-5


def test_the_transform_is_the_profile():
    """An elliptical exponential, rendered through Fourier space, is the real-space profile at the pixels."""
    modes = modes_of(reff=2.0, n=1.0, axis_ratio=0.6, angle=0.7)
    phase_y, phase_x = GRID.shift(torch.tensor([0.4]), torch.tensor([-0.9]))
    image = GRID.image(phase_y[0, :, None] * phase_x[0, None, :] * modes)
    axis = GRID.axis(1)
    shape = [torch.tensor(v) for v in (2.0, 1.0, 0.6, 0.7)]
    expected = sersic(axis[None, :] - 0.4, axis[:, None] + 0.9, *shape) * GRID.pixel_arcsec**2
    away = torch.hypot(axis[None, :] - 0.4, axis[:, None] + 0.9) > 1.0  # the cusp is not band-limited
    torch.testing.assert_close(image[away], expected[away], atol=float(expected.max()) * 0.01, rtol=0)
