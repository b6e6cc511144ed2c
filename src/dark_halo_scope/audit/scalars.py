"""Single numbers of a stamp: what a classifier could use that never looks at a shape."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import BANDS, STAMP_SIZE

_AXIS = np.arange(STAMP_SIZE) - (STAMP_SIZE - 1) / 2
_RADIUS_PX = np.hypot(_AXIS[:, None], _AXIS).ravel()
APERTURES = {
    "core flux r < 5 px": _RADIUS_PX < 5,
    "core flux r < 10 px": _RADIUS_PX < 10,
    "flux 3 to 11 px": (_RADIUS_PX >= 3) & (_RADIUS_PX < 11),  # where arcs of 0.8 to 2.9 arcsec lie
    "total flux": np.ones(STAMP_SIZE**2, np.bool_),
}
COLOURS = (("g", "z"), ("g", "r"), ("r", "z"))
_MASKS = np.stack(list(APERTURES.values()), axis=1).astype(np.float32)  # (4096, apertures)

Floats = NDArray[np.float32]


def pixel_scalars(images: Floats, statistics: Mapping[str, Floats]) -> dict[str, Floats]:
    """Everything simple that can be measured on stamps.

    Args:
        images: (n, 3, 64, 64) in nanomaggies, finite.
        statistics: Their `stamp_statistics`.

    Returns:
        Name to (n,): aperture fluxes over the sky (median beyond 20 px) by band and their ratios, brightest pixel,
        sky level and scatter, median and MAD of the whole stamp, all in nanomaggies; fraction of pixels that are 0.
    """
    pixels = images.reshape(len(images), len(BANDS), -1)
    fluxes = pixels @ _MASKS  # (n, 3, apertures)
    scalars: dict[str, Floats] = {}
    for b, band in enumerate(BANDS):
        sky = statistics[f"stamp_sky_{band}"]
        for k, aperture in enumerate(APERTURES):
            scalars[f"{aperture}, {band}"] = fluxes[:, b, k] - sky * _MASKS[:, k].sum()
        scalars[f"core: brightest pixel, {band}"] = pixels[:, b, _RADIUS_PX < 10].max(axis=1) - sky
        scalars[f"brightest pixel, {band}"] = pixels[:, b].max(axis=1)
        scalars[f"sky level, {band}"] = sky
        scalars[f"sky scatter, {band}"] = statistics[f"stamp_sky_sigma_{band}"]
        scalars[f"median, {band}"] = statistics[f"stamp_median_{band}"]
        scalars[f"MAD, {band}"] = statistics[f"stamp_mad_{band}"]
    for aperture in APERTURES:
        for one, other in COLOURS:
            scalars[f"{aperture}, {one}/{other}"] = _ratio(
                scalars[f"{aperture}, {one}"], scalars[f"{aperture}, {other}"]
            )
    return scalars | {"pixels equal to 0": np.mean(pixels == 0, axis=(1, 2), dtype=np.float32)}


def is_core(name: str) -> bool:
    """Whether a scalar is measured within 10 px of the centre only."""
    return name.startswith("core")


def is_sky(name: str) -> bool:
    """Whether a scalar is measured beyond 20 px only, where there is neither host nor arc."""
    return name.startswith("sky")


def _ratio(one: Floats, other: Floats) -> Floats:
    return np.divide(one, other, out=np.zeros_like(one), where=other != 0)
