"""A FITS cutout to a stamp: three bands in nanomaggies, the central 64 x 64 pixels.

Two layouts are read. The cube of the Legacy Survey cutout service: one image (bands, y, x), its bands named by BANDS
(``grz``) or BAND0, BAND1 ..., or in the order g, r, z where there are three planes and no names. And one image (y, x)
a band: HDUs of one file, or files of one band each, named by BAND, FILTER or EXTNAME, or by the file's name. A header
that contradicts the contract, by the pixel scale of its WCS or by BUNIT, makes the cutout unusable.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from dark_halo_scope.stamps.codec import StampError
from dark_halo_scope.stamps.contract import BANDS, PIXEL_SCALE_ARCSEC, STAMP_SIZE

_SCALE_TOLERANCE = 0.01  # of the pixel scale; over a stamp, a third of a pixel from its centre to its edge
_UNITS = {"nanomaggy", "nanomaggies", "nanomaggy/pix", "nanomaggies/pix", "nmgy"}
_BAND_KEYWORDS = ("BAND", "FILTER", "EXTNAME")

Image = NDArray[np.float32]


def read_cutout(files: Mapping[str, Path], out: Image) -> None:
    """Read one cutout into ``out``, a (3, 64, 64) float32 view; pixels may still be NaN.

    Args:
        files: The one file that holds all bands, under the key ``""``; or the file of each band, under its name.
        out: Where to.

    Raises:
        StampError: Whatever is wrong with the files. ``out`` is then partly written and must not be used.
    """
    planes: dict[str, Image] = {}
    for band, path in files.items():
        try:
            planes |= _planes(path, band)
        except StampError:
            raise
        except FileNotFoundError as error:
            raise StampError("missing_file", f"{path} does not exist") from error
        except Exception as error:  # astropy names half a dozen types for a file that is cut short or no FITS
            raise StampError("corrupt", f"{path} cannot be read as FITS ({type(error).__name__}: {error})") from error
    for i, band in enumerate(BANDS):
        if band not in planes:
            held = ", ".join(planes) or "nothing"
            raise StampError("missing_band", f"{_listed(files)}: no band {band}; there is {held}")
        out[i] = _central(planes[band], files)


def _planes(path: Path, band: str) -> dict[str, Image]:
    """All images of a file by band; a file known to be of one ``band`` needs no header to say so."""
    with fits.open(path, memmap=False) as hdus:
        images = [(hdu.header, hdu.data) for hdu in hdus if hdu.is_image and hdu.header["NAXIS"] >= 2]
    planes: dict[str, Image] = {}
    for header, data in images:
        found = _named_planes(header, data, band, alone=len(images) == 1)
        if not found:
            continue  # an inverse variance or a mask beside the image
        _check_header(header, path)
        if twice := planes.keys() & found.keys():
            raise StampError("ambiguous_bands", f"{path} holds band {min(twice)} twice")
        planes |= found
    return planes


def _named_planes(header: fits.Header, data: NDArray[np.generic], band: str, *, alone: bool) -> dict[str, Image]:
    """The planes of one image by band; nothing where it is not one of ours."""
    if data.ndim == 2:
        names = [_own_band(header) or (band if alone else "")]
        data = data[None]
    elif data.ndim == 3:
        names = _cube_bands(header) or (list(BANDS) if len(data) == len(BANDS) else [])
    else:
        return {}
    if len(names) != len(data):
        return {}
    return {name: plane.astype(np.float32) for name, plane in zip(names, data, strict=True) if name in BANDS}


def _cube_bands(header: fits.Header) -> list[str]:
    if "BANDS" in header:
        return re.findall(r"[A-Za-z]", str(header["BANDS"]))
    numbered = [str(header[f"BAND{k}"]).strip() for k in range(header["NAXIS3"]) if f"BAND{k}" in header]
    return [name[:1] for name in numbered]


def _own_band(header: fits.Header) -> str:
    """The band that the header of a single image names, such as ``r``, ``image_r`` or ``r DECam SDSS c0002``."""
    for keyword in _BAND_KEYWORDS:
        words = re.split(r"[\s_.-]+", str(header.get(keyword, "")).strip())
        named = [word for word in (words[0], words[-1]) if word in BANDS]
        if named:
            return named[0]
    return ""


def _check_header(header: fits.Header, path: Path) -> None:
    unit = str(header.get("BUNIT", "")).strip().lower()
    if unit and unit not in _UNITS:
        raise StampError("units", f"{path} is in {unit}; nanomaggies are required")
    wcs = WCS(header, naxis=2)
    if not wcs.has_celestial:
        return
    scale = 3600 * float(np.mean(proj_plane_pixel_scales(wcs)))
    if abs(scale / PIXEL_SCALE_ARCSEC - 1) > _SCALE_TOLERANCE:
        raise StampError(
            "pixel_scale", f"{path} has {scale:.4f} arcsec a pixel; {PIXEL_SCALE_ARCSEC} are required, not resampled"
        )


def _central(plane: Image, files: Mapping[str, Path]) -> Image:
    """The central 64 x 64 pixels; of an odd side, half a pixel below the centre."""
    height, width = plane.shape
    if min(height, width) < STAMP_SIZE:
        raise StampError(
            "too_small", f"{_listed(files)}: {width} x {height} pixels; {STAMP_SIZE} x {STAMP_SIZE} are required"
        )
    y, x = (height - STAMP_SIZE) // 2, (width - STAMP_SIZE) // 2
    return plane[y : y + STAMP_SIZE, x : x + STAMP_SIZE]


def _listed(files: Mapping[str, Path]) -> str:
    return ", ".join(str(path) for path in files.values())
