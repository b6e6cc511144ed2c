"""Real FITS cutouts for tests."""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from dark_halo_scope.stamps.contract import BANDS, PIXEL_SCALE_ARCSEC


def celestial(header: fits.Header, size: int, scale_arcsec: float = PIXEL_SCALE_ARCSEC) -> None:
    """Give a header the tangential projection of a cutout."""
    for axis, kind, sign in ((1, "RA---TAN", -1), (2, "DEC--TAN", 1)):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CRPIX{axis}"] = kind, 10.0, (size + 1) / 2
        header[f"CD{axis}_{axis}"] = sign * scale_arcsec / 3600
    header["CD1_2"] = header["CD2_1"] = 0.0


def write_cube(path: Path, image: np.ndarray, bands: str | None = "".join(BANDS), **cards: Any) -> Path:
    """A cutout in the layout of the Legacy Survey cutout service."""
    hdu = fits.PrimaryHDU(image)
    celestial(hdu.header, image.shape[-1])
    if bands is not None:
        hdu.header["BANDS"] = bands
        hdu.header.update({f"BAND{k}": band for k, band in enumerate(bands)})
    hdu.header.update(cards)
    path.parent.mkdir(parents=True, exist_ok=True)
    hdu.writeto(path)
    return path
