"""What a stamp shows of its host galaxy: how bright it is, where it lies and which way it is stretched."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dark_halo_scope.sky.grid import StampGrid

_APERTURE_ARCSEC = 3.0
_FRACTION_IN_APERTURE = (
    0.67  # of a host's r flux, median over 101 plain controls of the default survey (16-84 %: 0.56-0.80)
)
_FLUX_RANGE_NMGY = (4.0, 100.0)  # r = 21.0 to 17.5, the hosts of `sky.populations`: blank or crowded stamps end there
_WINDOW_ARCSEC = 0.8
_CENTRING_STEPS = 3


@dataclass(frozen=True)
class Hosts:
    """Hosts of some stamps, (M,) each.

    Attributes:
        flux_r: total flux in r, nanomaggies.
        x: offset of the centre from the stamp's along columns, arcsec.
        y: along rows.
        angle: direction of the major axis from the x axis, radians.
    """

    flux_r: Tensor
    x: Tensor
    y: Tensor
    angle: Tensor


def measure_hosts(grid: StampGrid, r_band: Tensor) -> Hosts:
    """Measure hosts on sky-subtracted r images (M, H, W), one near the centre of each.

    Centre and direction come from moments under a Gaussian window, the centre by steps of twice the moment, which undo
    what the window takes (as SExtractor's XWIN; Bertin & Arnouts 1996). It is held to half a pixel: cutouts are centred
    on their hosts. Light of neighbours counts as the host's (0.2 mag in the median of those with a blue one), and
    stars, being compact, are taken for 0.4 mag brighter than they are.
    """
    axis = grid.axis(1, r_band.device)
    inside = axis[:, None] ** 2 + axis**2 < _APERTURE_ARCSEC**2
    flux = (r_band * inside).sum((1, 2)) / _FRACTION_IN_APERTURE
    x = y = torch.zeros_like(flux)
    half_pixel = grid.pixel_arcsec / 2
    for _ in range(_CENTRING_STEPS):
        dx, dy, weight = _windowed(r_band, axis, x, y)
        total = _positive(weight.sum((1, 2)))
        x = (x + 2 * (weight * dx).sum((1, 2)) / total).clamp(-half_pixel, half_pixel)
        y = (y + 2 * (weight * dy).sum((1, 2)) / total).clamp(-half_pixel, half_pixel)
    dx, dy, weight = _windowed(r_band, axis, x, y)
    angle = torch.atan2(2 * (weight * dx * dy).sum((1, 2)), (weight * (dx**2 - dy**2)).sum((1, 2))) / 2
    return Hosts(flux.clamp(*_FLUX_RANGE_NMGY), x, y, angle)


def _windowed(image: Tensor, axis: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets from (x, y), (M, 1, W) and (M, H, 1), and the image under a Gaussian window around it."""
    dx, dy = axis - x[:, None, None], axis[:, None] - y[:, None, None]
    return dx, dy, image * torch.exp(-(dx**2 + dy**2) / (2 * _WINDOW_ARCSEC**2))


def _positive(value: Tensor) -> Tensor:
    return value.clamp_min(torch.finfo(value.dtype).tiny)
