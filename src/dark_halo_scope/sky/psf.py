"""The point-spread function: a circular Moffat profile per stamp and band.

It is the effective PSF, pixel response included, as a survey measures it on its own images; stamps are therefore point
samples of (light convolved with PSF) times the pixel area.
"""

import torch
from torch import Tensor

from dark_halo_scope.sky.grid import StampGrid


def moffat(grid: StampGrid, fwhm: Tensor, beta: Tensor) -> Tensor:
    """Unit-flux PSF images (..., box, box), centred on pixel (0, 0) of the periodic box.

    Moffat 1969 (A&A 3, 455): (1 + r^2 / alpha^2)^-beta with FWHM = 2 alpha sqrt(2^(1 / beta) - 1). ``fwhm`` is in
    arcsec.
    """
    offset = torch.fft.fftfreq(grid.box, 1 / grid.box, device=fwhm.device) * grid.pixel_arcsec
    r_squared = offset[:, None] ** 2 + offset[None, :] ** 2
    beta = beta[..., None, None]
    alpha_squared = fwhm[..., None, None] ** 2 / (4 * (2 ** (1 / beta) - 1))
    profile = torch.exp(-beta * torch.log1p(r_squared / alpha_squared))
    return profile / profile.sum((-2, -1), keepdim=True)


def noise_pixels(psf: Tensor) -> Tensor:
    """Effective number of sky pixels (...,) behind an optimal point-source flux, 1 / sum(psf^2)."""
    return 1 / psf.square().sum((-2, -1))
