"""Hosts of known light, measured on their stamps."""

import numpy as np
import pytest
import torch

from dark_halo_scope.transforms.hosts import measure_hosts
from dark_halo_scope.transforms.inject import GRID
from tests.transforms.injected import controls_and_lenses, host_of


def test_a_host_is_measured():
    host = host_of(controls_and_lenses())
    true_flux = 0.6 * 2 * np.pi * (0.7 / GRID.pixel_arcsec) ** 2  # of the exponential disc, of which 93 % is inside
    np.testing.assert_allclose(host.flux_r[1:] * 0.67 / 0.93, true_flux, rtol=0.05)
    assert host.x[1:].abs().max() < 0.02
    assert host.y[1:].abs().max() < 0.02


def test_an_off_centre_and_stretched_host_is_found():
    axis, angle = GRID.axis(1), 0.6
    x, y = axis - 0.08, axis[:, None] + 0.05
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    host = measure_hosts(GRID, torch.exp(-torch.sqrt(along**2 + (across / 0.7) ** 2 + 0.1))[None])
    assert (host.x.item(), host.y.item()) == pytest.approx((0.08, -0.05), abs=0.005)
    assert host.angle.item() == pytest.approx(angle, abs=0.02)
