"""Sky and noise of stamps, measured once when a store is made; bit for bit what `transforms.normalise` measures."""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import BANDS, STAMP_SIZE

SKY_RADIUS_PX = 20.0  # the annulus of `AnnulusAsinh`
_MAD_TO_SIGMA = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
_OFFSET = np.arange(STAMP_SIZE) - (STAMP_SIZE - 1) / 2
_SKY = np.flatnonzero(_OFFSET[:, None] ** 2 + _OFFSET**2 > SKY_RADIUS_PX**2)
_SORTED_AT_ONCE = 512  # floats that numpy sorts in registers: 0.6 us, against 24 for the median of 4,096 (EPYC Zen 4)
_BRACKET = 0.06  # quantiles to either side of a sample's median: 490 of 4,096 pixels, and in 0.3 % of bands not enough

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
    whole, whole_mad = _median_and_mad(pixels)
    sky_sigma: Floats = np.float32(_MAD_TO_SIGMA) * sky_mad
    noise = (sky_sigma[:, 0] + sky_sigma[:, 1] + sky_sigma[:, 2]) / np.float32(len(BANDS))
    by_band = {"stamp_sky": sky, "stamp_sky_sigma": sky_sigma, "stamp_median": whole, "stamp_mad": whole_mad}
    columns = {f"{name}_{band}": value[:, b] for name, value in by_band.items() for b, band in enumerate(BANDS)}
    return {**columns, "stamp_noise": noise}


def _median_and_mad(values: Floats) -> tuple[Floats, Floats]:
    """Of the last axis."""
    centre = _median(values)
    deviation = values - centre[..., None]
    return centre, _median(np.abs(deviation, out=deviation))


def _median(values: Floats) -> Floats:
    """Median over the last axis: of an even number of values the mean of the two middle ones.

    Only the values between two quantiles of a sample are sorted. Where the middle ones are not among them, all are.
    """
    rows = values.reshape(-1, values.shape[-1])
    n = rows.shape[-1]
    middle = np.array([[(n - 1) // 2], [n // 2]])
    sample = np.sort(rows[:, :: math.ceil(n / _SORTED_AT_ONCE)], axis=-1)
    quantile = [int(sample.shape[-1] * (0.5 + side * _BRACKET)) for side in (-1, 1)]
    least, most = sample[:, quantile, None].transpose(1, 0, 2)
    is_below = rows < least
    inside = np.flatnonzero(is_below ^ (rows <= most))
    edges = np.searchsorted(inside, n * np.arange(len(rows) + 1))
    below = np.array([np.count_nonzero(row) for row in is_below])
    among = rows.ravel()[inside]
    for start, end in pairwise(edges.tolist()):
        among[start:end].sort()
    place = edges[:-1] + middle - below
    found = among[np.clip(place, 0, len(among) - 1)]
    missed = (place[0] < edges[:-1]) | (place[1] >= edges[1:])
    found[:, missed] = np.sort(rows[missed], axis=-1).T[middle[:, 0]]
    return np.divide(found[0] + found[1], 2, dtype=np.float32).reshape(values.shape[:-1])
