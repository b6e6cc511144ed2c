"""Augmentation that keeps the sky's statistics: the dihedral group D4, and shifts by whole pixels.

No colour jitter (colour is physics), no scaling (the Einstein radius is in pixels), no resampling (it correlates
the noise).
"""

import torch
from torch import Tensor, nn

from dark_halo_scope.transforms.draws import shift_right, splitmix64


class RandomD4(nn.Module):
    """Each of the eight flips and quarter turns of a square with probability 1/8."""

    def forward(self, images: Tensor, keys: Tensor) -> Tensor:
        """Turn (B, C, N, N) by the bits of keys (B,): transposed or not, mirrored or not along either axis.

        Every element of D4 is exactly one of these eight products.
        """
        transpose, flip_x, flip_y = (((keys >> bit) & 1).bool()[:, None, None, None] for bit in range(3))
        images = torch.where(transpose, images.transpose(2, 3), images)
        images = torch.where(flip_x, images.flip(3), images)
        return torch.where(flip_y, images.flip(2), images)


class RandomShift(nn.Module):
    """Shift by whole pixels, uniform within +-max_px along each axis; what enters is the mirror image of the border.

    Args:
        max_px: largest shift, in pixels.
    """

    def __init__(self, max_px: int) -> None:
        super().__init__()
        self.max_px = max_px

    def forward(self, images: Tensor, keys: Tensor) -> Tensor:
        """Shift (B, C, H, W) by the keys (B,): the upper half of a key moves along y, the lower half along x."""
        source_y = self._source(shift_right(keys, 32), images.shape[2])
        source_x = self._source(keys & 0xFFFFFFFF, images.shape[3])
        # Not `take_along_dim`: compiled, it would hold for this one size of the batch.
        images = images.gather(2, source_y[:, None, :, None].expand_as(images))
        return images.gather(3, source_x[:, None, None, :].expand_as(images))

    def _source(self, draws: Tensor, size: int) -> Tensor:
        """Pixel (B, size) from which each pixel comes, reflected at the border."""
        shift = draws % (2 * self.max_px + 1) - self.max_px
        position = (torch.arange(size, device=draws.device) - shift[:, None]).abs()
        return (size - 1) - ((size - 1) - position).abs()


class Augment(nn.Module):
    """The augmentation of a training batch; each part draws from its own stream.

    Args:
        d4: turn and mirror.
        max_shift_px: largest shift in pixels; 0 for none.
    """

    def __init__(self, d4: bool = True, max_shift_px: int = 0) -> None:
        super().__init__()
        if max_shift_px < 0:
            raise ValueError(f"transforms.augment.max_shift_px={max_shift_px} must not be negative")
        parts: list[nn.Module] = [RandomD4()] if d4 else []
        if max_shift_px:
            parts.append(RandomShift(max_shift_px))
        self.parts = nn.ModuleList(parts)

    def forward(self, images: Tensor, keys: Tensor) -> Tensor:
        """Augment (B, C, H, W) by the keys (B,) of `draw_keys`."""
        for part in self.parts:
            keys = splitmix64(keys)
            images = part(images, keys)
        return images
