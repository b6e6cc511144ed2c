"""Deflection by singular isothermal lenses (SIE, SIS), batch-first.

Kormann, Schneider & Bartelmann 1994 (A&A 284, 285). The Einstein radius is the one whose circle has the area inside the
tangential critical curve, so that it does not change with the axis ratio: their eq. 21a in units of theta_E.
"""

import torch
from torch import Tensor

_SMALLEST_F_PRIME = 1e-3  # below it the SIE is an SIS to 2e-7, and the closed form would divide zero by zero


def rotate(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates of (x, y) in a frame turned counter-clockwise by ``angle`` radians."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def sis_deflection(x: Tensor, y: Tensor, theta_e: Tensor) -> tuple[Tensor, Tensor]:
    """Deflection (same unit as ``theta_e``) by an SIS at the origin: constant in length, radial in direction."""
    r = torch.hypot(x, y).clamp_min(torch.finfo(x.dtype).tiny)
    return theta_e * x / r, theta_e * y / r


def sie_deflection(x: Tensor, y: Tensor, theta_e: Tensor, axis_ratio: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Deflection by an SIE at the origin; the major axis lies at ``angle`` radians from the x axis.

    Kormann et al. 1994, eq. 27a with f the axis ratio and f' = sqrt(1 - f^2). An axis ratio of 1 gives the SIS. All
    arguments broadcast against each other: ``x``, ``y`` (B, H, W) with parameters (B, 1, 1).
    """
    f_prime = torch.sqrt(1.0 - axis_ratio**2).clamp_min(_SMALLEST_F_PRIME)
    f = torch.sqrt(1.0 - f_prime**2)
    # KSB put the long axis of the mass along their x_2, this code along x': hence sine and cosine trade places.
    x_major, y_minor = rotate(x, y, angle)
    r = torch.hypot(x_major, y_minor).clamp_min(torch.finfo(x.dtype).tiny)
    scale = theta_e * torch.sqrt(f) / f_prime
    alpha_major = scale * torch.asin(f_prime * x_major / r)
    alpha_minor = scale * torch.asinh(f_prime / f * y_minor / r)
    return rotate(alpha_major, alpha_minor, -angle)
