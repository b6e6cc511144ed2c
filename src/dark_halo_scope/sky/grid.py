"""The stamp's pixel grid and its Fourier modes.

A stamp is built in Fourier space: profiles known in closed form are added as their transforms (exact flux, exact
sub-pixel position, no cusp to resolve), patterns known only in real space are sampled on a finer raster and
transformed, the sum is multiplied by the PSF and transformed back once per band. Modes are those of a box of twice
the stamp's side, so that light which leaves the stamp on one side does not come back on the other.

Positions are arcsec from the stamp's centre, x along columns, y along rows; the centre is the corner shared by the four
middle pixels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_BOX_FACTOR = 2
RASTER_FACTOR = 2  # raster cells per pixel along each axis, in the layer that is transformed


@dataclass(frozen=True)
class StampGrid:
    """Pixels, raster and Fourier modes of square stamps.

    Attributes:
        size: Pixels on a side.
        pixel_arcsec: Side of a pixel, arcsec.
    """

    size: int
    pixel_arcsec: float

    @property
    def box(self) -> int:
        """Pixels on a side of the periodic box."""
        return _BOX_FACTOR * self.size

    @property
    def raster_size(self) -> int:
        """Raster cells on a side of the stamp."""
        return RASTER_FACTOR * self.size

    def axis(self, cells_per_pixel: int, device: torch.device | None = None) -> Tensor:
        """Centres (size * cells_per_pixel,) of the cells that cover the stamp, arcsec."""
        cells = self.size * cells_per_pixel
        centres = (torch.arange(cells, dtype=torch.float64, device=device) + 0.5) / cells_per_pixel - self.size / 2
        return (centres * self.pixel_arcsec).float()

    def frequencies(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Fourier modes in cycles per arcsec: ky (box,) of the rows and kx (box // 2 + 1,) of the columns."""
        ky = torch.fft.fftfreq(self.box, self.pixel_arcsec, device=device)
        kx = torch.fft.rfftfreq(self.box, self.pixel_arcsec, device=device)
        return ky, kx

    def shift(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Phases (N, box) of the rows and (N, box // 2 + 1) of the columns that move a profile to positions (N,)."""
        ky, kx = self.frequencies(x.device)
        corner = (self.size - 1) / 2 * self.pixel_arcsec  # of pixel (0, 0) from the centre
        phase_y = -2 * torch.pi * (y + corner)[:, None] * ky
        phase_x = -2 * torch.pi * (x + corner)[:, None] * kx
        unit = torch.ones((), device=x.device)
        return torch.polar(unit, phase_y), torch.polar(unit, phase_x)

    def raster_modes(self, raster: Tensor) -> Tensor:
        """Modes (B, box, box // 2 + 1) of flux per raster cell (B, raster_size, raster_size).

        Two matrix products: only the low modes of the zero-padded raster are wanted, which an FFT would compute in
        full. The blur of averaging over a cell is known and is divided out.
        """
        cells = self.axis(RASTER_FACTOR, raster.device)
        cell_arcsec = self.pixel_arcsec / RASTER_FACTOR
        phases = self.shift(cells, cells)
        rows, columns = (
            phase / torch.sinc(k * cell_arcsec)
            for phase, k in zip(phases, self.frequencies(raster.device), strict=True)
        )
        return rows.T @ raster.to(torch.complex64) @ columns

    def image(self, modes: Tensor) -> Tensor:
        """Stamps (..., size, size) from their modes (..., box, box // 2 + 1)."""
        return torch.fft.irfft2(modes, s=(self.box, self.box))[..., : self.size, : self.size]
