"""Pixels that are NaN or infinite: a few are filled with the sky, more make the stamp unusable."""

import math

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.codec import StampError
from dark_halo_scope.stamps.contract import BANDS, STAMP_SIZE

_SKY_RADIUS_PX = 20  # beyond the host and any arc; 70 % of a stamp
_Y, _X = np.indices((STAMP_SIZE, STAMP_SIZE)) - (STAMP_SIZE - 1) / 2
_SKY = np.hypot(_X, _Y) > _SKY_RADIUS_PX


def fill_nonfinite(image: NDArray[np.float32], max_fraction: float) -> int:
    """Set non-finite pixels of ``image`` (3, 64, 64) in place to the sky of their band, the median beyond 20 px.

    Args:
        image: Pixels in nanomaggies.
        max_fraction: Largest fraction of a band that is filled; below 0.5, so that sky is left to measure.

    Returns:
        How many pixels were filled; 0 for nearly every stamp.

    Raises:
        StampError: With reason ``nonfinite`` when a band has more bad pixels than that.
    """
    if math.isfinite(np.add.reduce(image, axis=None)):  # NaN and inf reach the sum; that of finite pixels may overflow
        return 0
    finite = np.isfinite(image)
    n_bad = np.count_nonzero(~finite, axis=(1, 2))
    worst = int(n_bad.argmax())
    if n_bad[worst] > max_fraction * STAMP_SIZE**2:
        raise StampError(
            "nonfinite",
            f"band {BANDS[worst]} has {n_bad[worst]} non-finite pixels of {STAMP_SIZE**2}, too many to fill",
        )
    for band, good in zip(image, finite, strict=True):
        band[~good] = np.median(band[good & _SKY])
    return int(n_bad.sum())
