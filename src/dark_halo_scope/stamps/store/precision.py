"""Pixels as they are stored: float32 as they are, or float16 times a power of two chosen for each stamp."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import STAMP_SHAPE, STAMP_SIZE

_LEAST_NOISE_NMGY = 1e-4  # far below the sky noise of any survey: over its edge the sky is constant
_HIGHEST_POWER = 15  # 2^15 has a factor of two to the largest float16


@dataclass(frozen=True)
class Float16Stamps:
    """Stamps (n) in float16.

    Attributes:
        pixels: (n, 3, 64, 64) float16; times 2^exponent they are nanomaggies.
        exponent: (n,) int8.
        error: Rms error of the worst band over the sky noise of that band; (n,) float32.
    """

    pixels: NDArray[np.float16]
    exponent: NDArray[np.int8]
    error: NDArray[np.float32]


def to_float16(images: NDArray[np.float32], sky_sigma: NDArray[np.float32]) -> Float16Stamps:
    """Round stamps to float16, the brightest pixel of each brought to 2^14 ... 2^15.

    So nothing overflows, and what is too faint for float16 lies 2^39 below the brightest pixel: the eleven digits of
    a pixel matter, not the range. The noise of a bright pixel's own photons is not counted in its favour.

    Args:
        images: (n, 3, 64, 64) in nanomaggies, finite.
        sky_sigma: Sky noise (n, 3) in nanomaggies.
    """
    brightest = np.abs(images).max(axis=(1, 2, 3))
    _, power = np.frexp(brightest)
    exponent = np.where(brightest > 0, np.clip(power - _HIGHEST_POWER, -126, 127), 0).astype(np.int8)
    power_of_two = np.ldexp(np.float32(1), -exponent.astype(np.int32))[:, None, None, None]
    scaled = images * power_of_two  # exact, and a tenth of the price of ldexp
    pixels = np.empty(images.shape, np.float16)
    difference = np.empty_like(scaled)
    _cast(scaled, pixels)
    _cast(pixels, difference)
    difference -= scaled
    mean_square = np.einsum("nbyx,nbyx->nb", difference, difference) / np.float32(STAMP_SIZE**2)
    rms = np.ldexp(np.sqrt(mean_square), exponent[:, None].astype(np.int32))
    error = (rms / np.maximum(sky_sigma, np.float32(_LEAST_NOISE_NMGY))).max(axis=1)
    return Float16Stamps(pixels, exponent, error)


def from_float16(pixels: NDArray[np.float16], exponent: NDArray[np.int8], out: NDArray[np.float32]) -> None:
    """Write the nanomaggies of float16 pixels to ``out`` (n, 3, 64, 64); the rounding was in the storing."""
    _cast(pixels, out)
    out *= np.ldexp(np.float32(1), exponent.astype(np.int32))[:, None, None, None]


def _cast(source: NDArray[Any], target: NDArray[Any]) -> None:
    """Convert between float16 and float32, ten times faster than numpy does.

    Two stamps are too few for torch to share them out: its own threads, on top of the callers', would only fight.
    """
    of, to = torch.from_numpy(source), torch.from_numpy(target)
    for start in range(0, len(source), 2):
        to[start : start + 2].copy_(of[start : start + 2])


def stored_bytes(precision: str) -> int:
    """Bytes of a stamp."""
    return int(np.dtype(precision).itemsize * np.prod(STAMP_SHAPE))


def described(precision: str) -> dict[str, Any]:
    """The pixel column in words, for readers of the manifest."""
    factor = " times 2^stamp_exponent" if precision == "float16" else ""
    return {
        "column": "stamp_pixels",
        "dtype": precision,
        "byte_order": "little",
        "shape": list(STAMP_SHAPE),
        "bytes_per_stamp": stored_bytes(precision),
        "meaning": f"bands g, r, z{factor} in nanomaggies",
    }
