"""What tells whether two stamps show the same sky: a hash of the pixels, and a signature that survives their handling.

The signature is made of signs of the noise and neighbours around the host, so that two galaxies that look alike share
nothing, while the same cut-out does whatever was done to it: moved by a few pixels, turned or mirrored, rescaled (the
bands together or apart), set on another sky level, or given another arc in its middle. It is for noise-free handling: a
second exposure of the same galaxy has other noise and is no duplicate by this measure.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import STAMP_SIZE

_CELL = 3  # px a side: more light than one pixel holds, less than a galaxy
_CELLS = 15
_HALF = _CELL * _CELLS // 2
_CENTRE = slice(STAMP_SIZE // 2 - 8, STAMP_SIZE // 2 + 8)  # where the host's brightest pixel may lie
N_BITS = _CELLS**2 - 1  # the central cell is its own mirror image and says nothing
BITS_OF_WORD = 32
N_WORDS = N_BITS // BITS_OF_WORD

_OFFSET = np.arange(_CELLS) - _CELLS // 2
# From the outside in: whole words then lie beyond the arc, and are the same with another one or none.
_BY_RADIUS = np.argsort(-np.hypot(_OFFSET[:, None], _OFFSET).ravel(), kind="stable")[:N_BITS]

Floats = NDArray[np.float32]


def pixel_hash(image: Floats) -> int:
    """64 bits of the pixels (3, 64, 64): equal stamps, equal numbers."""
    return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little")


def signatures(images: Floats, sky_scatter: Floats) -> NDArray[np.uint32]:
    """Signatures of stamps: `N_BITS` bits each, in words (n, `N_WORDS`) from the outside in.

    Cells of 3 x 3 px around the brightest pixel of the host are summed over the bands in units of their noise. Of each
    its four neighbours are subtracted, which leaves noise and hardly any galaxy; what is above the median is clipped,
    so that nothing bright speaks for more than its own cells; and the mean over the eight cells that the dihedral group
    makes of it is subtracted, which takes out what is round. The signs of the rest are the bits, in the orientation in
    which its first moments are positive and the one along x is the larger.

    Args:
        images: (n, 3, 64, 64), finite.
        sky_scatter: Noise of each band, (n, 3).
    """
    scale = sky_scatter[..., None, None]
    light = np.divide(images, scale, out=np.zeros_like(images), where=scale > 0).sum(axis=1)
    cells = np.stack([_around(stamp) for stamp in light]).reshape(-1, _CELLS, _CELL, _CELLS, _CELL).sum(axis=(2, 4))
    cells -= _beside(cells)
    limit = np.median(np.abs(cells), axis=(1, 2), keepdims=True)
    cells = np.clip(cells, -limit, limit)
    turned = [np.rot90(cells, k, axes=(1, 2)) for k in range(4)]
    rest = cells - np.mean([*turned, *(t.transpose(0, 2, 1) for t in turned)], axis=0)
    bits = _orient(rest).reshape(len(images), -1)[:, _BY_RADIUS] > 0
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint32)


def _around(stamp: Floats) -> NDArray[np.float64]:
    """The 45 x 45 px around the brightest pixel near the centre of a stamp (64, 64)."""
    middle = stamp[_CENTRE, _CENTRE]
    y, x = (i + _CENTRE.start - _HALF for i in divmod(int(middle.argmax()), middle.shape[1]))
    return stamp[y : y + 2 * _HALF + 1, x : x + 2 * _HALF + 1].astype(np.float64)


def _beside(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the four cells beside each cell (n, 15, 15); beyond the edge lies what lies within it."""
    padded = np.pad(cells, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    return (padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]) / 4


def _orient(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn and mirror each (n, 15, 15) into its standard orientation."""
    x, y = (cells * _OFFSET).sum(axis=(1, 2)), (cells * _OFFSET[:, None]).sum(axis=(1, 2))
    cells = np.where((x < 0)[:, None, None], cells[:, :, ::-1], cells)
    cells = np.where((y < 0)[:, None, None], cells[:, ::-1], cells)
    return np.where((np.abs(y) > np.abs(x))[:, None, None], cells.transpose(0, 2, 1), cells)
