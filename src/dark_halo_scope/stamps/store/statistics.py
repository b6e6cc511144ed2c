"""Sky and noise of stamps, measured once when a store is made; bit for bit what `transforms.normalise` measures.

One selection and the minimum of the upper part give a median at a third of the price of two selections.
"""

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import BANDS, STAMP_SIZE

SKY_RADIUS_PX = 20.0  # the annulus of `AnnulusAsinh`
_MAD_TO_SIGMA = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
_OFFSET = np.arange(STAMP_SIZE) - (STAMP_SIZE - 1) / 2
_SKY = np.flatnonzero(_OFFSET[:, None] ** 2 + _OFFSET**2 > SKY_RADIUS_PX**2)

Floats = NDArray[np.float32]


def stamp_statistics(images: Floats) -> dict[str, Floats]:
    """Statistics of raw stamps by column name.

    Args:
        images: (n, 3, 64, 64) in nanomaggies, finite.

    Returns:
        Each (n,) float32 in nanomaggies: ``stamp_sky_<band>`` and ``stamp_sky_sigma_<band>``, median and 1.4826 MAD
        beyond 20 px; ``stamp_noise``, the mean of the latter over the bands; ``stamp_median_<band>`` and
        ``stamp_mad_<band>`` (unscaled) of the whole stamp.
    """
    pixels = images.reshape(len(images), len(BANDS), -1)
    sky, sky_mad = _median_and_mad(np.take(pixels, _SKY, axis=-1))
    whole, whole_mad = _median_and_mad(pixels.copy())
    sky_sigma: Floats = np.float32(_MAD_TO_SIGMA) * sky_mad
    noise = (sky_sigma[:, 0] + sky_sigma[:, 1] + sky_sigma[:, 2]) / np.float32(len(BANDS))
    by_band = {"stamp_sky": sky, "stamp_sky_sigma": sky_sigma, "stamp_median": whole, "stamp_mad": whole_mad}
    columns = {f"{name}_{band}": value[:, b] for name, value in by_band.items() for b, band in enumerate(BANDS)}
    return {**columns, "stamp_noise": noise}


def _median_and_mad(values: Floats) -> tuple[Floats, Floats]:
    """Of the last axis; ``values`` are overwritten."""
    centre = _median(values)
    values -= centre[..., None]
    return centre, _median(np.abs(values, out=values))


def _median(values: Floats) -> Floats:
    """Median over the last axis, which it reorders: of an even number of values the mean of the two middle ones."""
    middle = (values.shape[-1] - 1) // 2
    values.partition(middle, axis=-1)
    lower = values[..., middle]
    upper = lower if values.shape[-1] % 2 else values[..., middle + 1 :].min(axis=-1)
    return np.divide(lower + upper, 2, dtype=np.float32)
