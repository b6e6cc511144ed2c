"""What a batch holds as its dataset keeps it: pixels back to nanomaggies, and what a training store has measured."""

from collections.abc import Mapping

import torch
from torch import Tensor

_STATISTICS = ("sky", "sky_sigma", "median", "mad")
_PIXELS = ("image", "exponent")
_FLOAT32_BIAS, _FLOAT32_MANTISSA_BITS = 127, 23


def stamps_of(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a batch that tell how its stamps look: pixels, and statistics where it has them."""
    return {name: batch[name] for name in (*_PIXELS, *_STATISTICS) if name in batch}


def nanomaggies(stamps: Mapping[str, Tensor]) -> Tensor:
    """Float32 images (B, C, H, W) in nanomaggies: those given, or float16 ones times 2^exponent (B,), exactly.

    The power of two is put together from its bits (exponents from -126 to 127): a GPU's `pow` need not be exact.
    """
    images = stamps["image"].float()
    if "exponent" not in stamps:
        return images
    bits = (stamps["exponent"].int() + _FLOAT32_BIAS) << _FLOAT32_MANTISSA_BITS
    return images * bits.view(torch.float32)[:, None, None, None]


def known_statistics(stamps: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Statistics (B, C) that the store measured, for the normalisation; None where the batch has none."""
    return {name: stamps[name] for name in _STATISTICS} if "sky" in stamps else None
