"""Sky and photon noise in nanomaggies.

A survey states its depth as the flux error of a point source fitted with the PSF; with n_eff = 1 / sum(psf^2) pixels
behind such a fit, the noise of one pixel is that error over sqrt(n_eff).
"""

import numpy as np
import torch
from torch import Tensor

AB_ZERO_POINT = 22.5  # magnitude of one nanomaggy
DETECTION_SIGMA = 5.0
REFERENCE_DEPTH_MAG = np.array([24.7, 24.2, 23.3])  # g, r, z
ELECTRONS_PER_NANOMAGGY = np.array([7400.0, 6800.0, 6600.0])  # at the reference depth: two to three DECam visits


def flux_of_magnitude(magnitude: Tensor) -> Tensor:
    """Nanomaggies from AB magnitudes."""
    return 10 ** (0.4 * (AB_ZERO_POINT - magnitude))


def inverse_variance(depth_mag: Tensor) -> Tensor:
    """Inverse variance (1 / nanomaggies^2) of a point-source flux from the 5-sigma depth in magnitudes."""
    return (DETECTION_SIGMA / flux_of_magnitude(depth_mag)) ** 2


def pixel_sigma(psf_depth: Tensor, noise_pixels: Tensor) -> Tensor:
    """Sky noise of a pixel (nanomaggies) from the inverse variance of a point-source flux."""
    return torch.rsqrt(psf_depth * noise_pixels)


def add_noise(light: Tensor, sky_sigma: Tensor, electrons_per_nanomaggy: Tensor, normal: Tensor) -> Tensor:
    """Stamps (B, 3, H, W) with sky and photon noise from standard normal draws of the same shape.

    Every source contributes photon noise alike, so the noise holds no hint of which light is an arc. At tens to
    thousands of electrons a pixel the Poisson law is Gaussian to well below the sky noise.
    """
    variance = sky_sigma[..., None, None] ** 2 + light.clamp_min(0) / electrons_per_nanomaggy[..., None, None]
    return light + torch.sqrt(variance) * normal
