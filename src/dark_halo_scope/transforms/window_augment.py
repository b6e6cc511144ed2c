"""Augmentation of windows in the units of the sensor: another mounting, another gain, more noise (Um et al. 2017)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dark_halo_scope.transforms.draws import normals, split_keys, splitmix64, uniforms


class WindowAugment(nn.Module):
    """Rotates, scales and jitters whole batches; each from its own stream of draws, each off at 0.

    It comes before the normalisation: a rotation mixes axes, which share a unit only as they are measured.

    Args:
        use_augmentation: Whether anything is done at all.
        jitter: Standard deviation of white noise, as a fraction of that of the channel in the window.
        scale: Standard deviation of the factor on each channel, about 1.
        rotate_deg: Largest angle by which the sensor is turned, about an axis in any direction.
        triples: Numbers of the channels that are x, y and z of one sensor; those of a window turn together.
    """

    triples: Tensor

    def __init__(
        self,
        use_augmentation: bool = True,
        jitter: float = 0.05,
        scale: float = 0.1,
        rotate_deg: float = 15.0,
        triples: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        for name, value in (("jitter", jitter), ("scale", scale), ("rotate_deg", rotate_deg)):
            if value < 0:
                raise ValueError(f"transforms.augment.{name}={value} must not be negative; 0 turns it off")
        channels = [channel for triple in triples for channel in triple]
        if any(len(triple) != 3 for triple in triples) or len(set(channels)) < len(channels):
            raise ValueError(
                f"transforms.augment.triples={[list(triple) for triple in triples]} must be threes of channels (x, y "
                "and z of a sensor), each channel at most once"
            )
        self.use_augmentation = use_augmentation
        self.jitter = jitter
        self.scale = scale
        self.rotate_rad = torch.pi * rotate_deg / 180 if triples else 0.0
        self.register_buffer("triples", torch.tensor(channels, dtype=torch.int64), persistent=False)

    def forward(self, windows: Tensor, keys: Tensor) -> Tensor:
        """Augment (B, C, T) by the keys (B,) of `draw_keys`."""
        if not self.use_augmentation:
            return windows
        for amount, change in ((self.rotate_rad, self._rotate), (self.scale, self._scale), (self.jitter, self._jitter)):
            keys = splitmix64(keys)
            if amount:
                windows = change(windows, keys)
        return windows

    def _rotate(self, windows: Tensor, keys: Tensor) -> Tensor:
        axis = nn.functional.normalize(normals(keys, 3), dim=1)
        angle = (2 * uniforms(split_keys(keys, 1), 1) - 1) * self.rotate_rad  # apart from the keys of what follows
        sensors = windows[:, self.triples].unflatten(1, (-1, 1, 3))  # (B, sensors, 1, 3, T)
        turned = (rotation(axis, angle)[:, None, :, :, None] * sensors).sum(dim=3)  # no matmul: autocast would round it
        return windows.index_copy(1, self.triples, turned.flatten(1, 2))

    def _scale(self, windows: Tensor, keys: Tensor) -> Tensor:
        return windows * (1 + self.scale * normals(keys, windows.shape[1]))[..., None]

    def _jitter(self, windows: Tensor, keys: Tensor) -> Tensor:
        noise = normals(keys, windows[0].numel()).view_as(windows)
        return windows + self.jitter * windows.std(dim=2, keepdim=True) * noise


def rotation(axis: Tensor, angle_rad: Tensor) -> Tensor:
    """Matrices (B, 3, 3) that turn about unit vectors (B, 3) by angles (B, 1) (Rodrigues 1840)."""
    x, y, z = axis.unbind(dim=1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    along = axis[:, :, None] * axis[:, None, :]
    sine, cosine = torch.sin(angle_rad)[..., None], torch.cos(angle_rad)[..., None]
    return cosine * torch.eye(3, device=axis.device) + sine * cross + (1 - cosine) * along
