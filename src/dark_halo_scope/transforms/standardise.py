"""Normalisation of windows: each channel minus its mean, over its standard deviation.

The numbers are fitted on training windows alone and live among the weights, so that a window is scored by the numbers
that the network was trained with.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dark_halo_scope.windows.statistics import ChannelStatistics

BY = ("participant", "all", "none")
_NUMBERS = ("participants", "mean", "std")


class Standardise(nn.Module):
    """(x - mean) / std of each channel; ``by`` says whose mean and standard deviation.

    What is fitted once stays: a network that is trained on, for somebody else, keeps the numbers it knows and learns
    those of participants it has not met. A window of a participant whose numbers are not known becomes NaN.

    Args:
        by: "participant": each one's own. "all": the same for everybody. "none": windows are left as they are.

    Attributes:
        participants: `participant_key` of whose numbers are known, ascending, (G,); 0 stands for everybody.
        mean: (G, C).
        std: (G, C); 1 for a channel that stands still.
    """

    participants: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, by: str = "participant") -> None:
        super().__init__()
        if by not in BY:
            raise ValueError(f"transforms.normalise.by={by!r} is not known: choose one of {', '.join(BY)}")
        self.by = by
        self.register_buffer("participants", torch.empty(0, dtype=torch.int64))
        self.register_buffer("mean", torch.empty(0, 0))
        self.register_buffer("std", torch.empty(0, 0))

    def fit(self, statistics: ChannelStatistics) -> None:
        """Take the numbers of those who are not known yet."""
        if self.by == "none":
            return
        if self.by == "all":
            statistics = statistics.pooled()
        device = self.mean.device
        std = torch.from_numpy(statistics.variance).sqrt().float()
        found = {
            "participants": torch.from_numpy(statistics.participants),
            "mean": torch.from_numpy(statistics.mean).float(),
            "std": torch.where(std > 0, std, 1.0),
        }
        new = ~torch.isin(found["participants"], self.participants.cpu())
        if len(self.participants):
            found = {name: torch.cat([getattr(self, name).cpu(), values[new]]) for name, values in found.items()}
        order = found["participants"].argsort()
        for name, values in found.items():
            setattr(self, name, values[order].to(device))

    def unknown(self, participants: Tensor) -> Tensor:
        """Those of some `participant_key`, on the host, whose windows cannot be normalised."""
        if self.by == "none":
            return participants[:0]
        return participants[~torch.isin(self._whose(participants), self.participants.cpu())]

    def forward(self, windows: Tensor, participants: Tensor) -> Tensor:
        """Map windows (B, C, T), in the units of the sensor, of participants (B,) to (B, C, T)."""
        if self.by == "none":
            return windows
        wanted = self._whose(participants)
        place = torch.searchsorted(self.participants, wanted).clamp_max(len(self.participants) - 1)
        known = (self.participants[place] == wanted)[:, None]
        mean = torch.where(known, self.mean[place], torch.nan)
        return (windows - mean[..., None]) / self.std[place][..., None]

    def _whose(self, participants: Tensor) -> Tensor:
        return participants if self.by == "participant" else torch.zeros_like(participants)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Make room for as many participants as the weights know."""
        for name in _NUMBERS:
            if f"{prefix}{name}" in state_dict:
                setattr(self, name, getattr(self, name).new_empty(state_dict[f"{prefix}{name}"].shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
