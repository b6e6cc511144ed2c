"""Randomness without state: a draw is a hash of (seed, epoch, row).

So a stamp is treated the same way under any number of ranks, in any order of the batches and after any resume.
"""

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_FLOAT_BITS = 24  # that a float32 in [0, 1) can tell apart


def _signed(word: int) -> int:
    """The int64 with the bits of an unsigned 64-bit word."""
    word &= _MASK
    return word - (1 << 64) if word >> 63 else word


def shift_right(words: Tensor, bits: int) -> Tensor:
    """Logical shift: int64's own `>>` would drag the sign along."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def splitmix64(words: Tensor) -> Tensor:
    """One output of the SplitMix64 generator (Steele, Lea & Flood 2014, figure 12) for each int64 state."""
    words = words + _signed(_GOLDEN)
    words = (words ^ shift_right(words, 30)) * _signed(0xBF58476D1CE4E5B9)
    words = (words ^ shift_right(words, 27)) * _signed(0x94D049BB133111EB)
    return words ^ shift_right(words, 31)


def draw_keys(seed: int, epoch: int, rows: Tensor) -> Tensor:
    """Return one independent 64-bit key for each stamp: int64 (B,) from the rows, int64 (B,).

    Seed and epoch are hashed on the host, so that no device is waited for.
    """
    state = splitmix64(splitmix64(torch.tensor(seed)) + epoch)
    return splitmix64(rows + int(state))


def split_keys(keys: Tensor, stream: int) -> Tensor:
    """Keys (B,) of another stream of draws for the same stamps."""
    return splitmix64(splitmix64(keys) + stream)


def uniforms(keys: Tensor, count: int) -> Tensor:
    """Numbers (B, count) in [0, 1): the first `count` outputs of the SplitMix64 stream that starts at each key (B,)."""
    return shift_right(_words(keys, count), 64 - _FLOAT_BITS).float() * 2.0**-_FLOAT_BITS


def normals(keys: Tensor, count: int) -> Tensor:
    """Standard normal numbers (B, count) from the keys (B,): Box & Muller 1958, two out of each 64-bit word."""
    words = _words(keys, (count + 1) // 2)
    first = shift_right(words, 64 - _FLOAT_BITS).float() + 1  # 1 ... 2^24, whose logarithm is finite
    second = (words & ((1 << _FLOAT_BITS) - 1)).float()
    radius = torch.sqrt(-2 * torch.log(first * 2.0**-_FLOAT_BITS))
    angle = second * (2 * torch.pi * 2.0**-_FLOAT_BITS)
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)[:, :count]


def _words(keys: Tensor, count: int) -> Tensor:
    step = torch.arange(count, device=keys.device) * _signed(_GOLDEN)
    return splitmix64(keys[:, None] + step)
