"""Deflections against lenstronomy, and what must hold for any isothermal lens."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.Util.param_util import phi_q2_ellipticity

from dark_halo_scope.sky.lens import sie_deflection, sis_deflection

AXIS_RATIOS = st.floats(0.3, 1.0)
ANGLES = st.floats(0, np.pi)
THETA_E = st.floats(0.2, 3.0)


def points(dtype=torch.float64):
    x, y = np.random.default_rng(0).uniform(-8, 8, (2, 500))
    return torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype)


def scalar(value, dtype=torch.float64):
    return torch.tensor(value, dtype=dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-5)])
@pytest.mark.parametrize("axis_ratio", [0.4, 0.75, 0.98])
@pytest.mark.parametrize("angle", [0.0, 0.6, 2.5])
def test_sie_is_lenstronomys(dtype, tolerance, axis_ratio, angle):
    x, y = points(dtype)
    e1, e2 = phi_q2_ellipticity(angle, axis_ratio)
    expected = LensModel(["SIE"]).alpha(
        x.double().numpy(), y.double().numpy(), [{"theta_E": 1.3, "e1": e1, "e2": e2, "center_x": 0, "center_y": 0}]
    )
    found = sie_deflection(x, y, *(scalar(v, dtype) for v in (1.3, axis_ratio, angle)))
    for component, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(component.numpy(), reference, atol=tolerance)


def test_sis_is_lenstronomys():
    x, y = points()
    expected = LensModel(["SIS"]).alpha(x.numpy(), y.numpy(), [{"theta_E": 0.8}])
    for component, reference in zip(sis_deflection(x, y, scalar(0.8)), expected, strict=True):
        np.testing.assert_allclose(component.numpy(), reference, atol=1e-12)


@settings(deadline=None)
@given(theta_e=THETA_E, angle=ANGLES)
def test_a_round_sie_is_an_sis(theta_e, angle):
    x, y = points()
    round_sie = sie_deflection(x, y, scalar(theta_e), scalar(1.0), scalar(angle))
    for component, reference in zip(round_sie, sis_deflection(x, y, scalar(theta_e)), strict=True):
        torch.testing.assert_close(component, reference, atol=1e-6, rtol=0)


@settings(deadline=None)
@given(theta_e=THETA_E, axis_ratio=AXIS_RATIOS, angle=ANGLES)
def test_critical_curve_encloses_the_area_of_the_einstein_circle(theta_e, axis_ratio, angle):
    """On the tangential critical curve of an isothermal lens the convergence is 1/2, and div(alpha) is twice it."""
    azimuth = torch.linspace(0, 2 * np.pi, 721, dtype=torch.float64)[:-1].requires_grad_(False)
    x, y = torch.cos(azimuth).requires_grad_(), torch.sin(azimuth).requires_grad_()
    alpha_x, alpha_y = sie_deflection(x, y, scalar(theta_e), scalar(axis_ratio), scalar(angle))
    (d_xx,) = torch.autograd.grad(alpha_x.sum(), x, retain_graph=True)
    (d_yy,) = torch.autograd.grad(alpha_y.sum(), y)
    convergence = (d_xx + d_yy) / 2  # at r = 1; it falls as 1 / r
    critical_radius = convergence / 0.5
    area = 0.5 * (critical_radius**2).mean() * 2 * np.pi
    assert area.item() == pytest.approx(np.pi * theta_e**2, rel=2e-3)


def test_nothing_is_undefined_at_the_centre():
    zero = torch.zeros(1)
    assert all(torch.isfinite(c).all() for c in sie_deflection(zero, zero, *(torch.tensor(v) for v in (1.0, 0.7, 0.3))))
    assert all(torch.isfinite(c).all() for c in sis_deflection(zero, zero, torch.tensor(1.0)))
