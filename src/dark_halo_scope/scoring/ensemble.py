"""Checkpoints to logits: each member scores a batch with its own normalisation, in one or in eight orientations."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dark_halo_scope.scoring.job import ScoringError
from dark_halo_scope.tasks.lens_detection import LensDetectionTask
from dark_halo_scope.tasks.restore import load_task, read_checkpoint
from dark_halo_scope.transforms.augment import RandomD4

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_N_ORIENTATIONS = 8

Batch = dict[str, Tensor]


class Ensemble:
    """The networks of some checkpoints on a device.

    Args:
        checkpoints: Files of checkpoints.
        tta: Whether logits are averaged over the eight orientations.
        precision: As in `ScoringJob`.
        device: Where to compute.
        compiled: Whether to compile what runs there.
    """

    def __init__(
        self, checkpoints: Sequence[Path], *, tta: bool, precision: str, device: torch.device, compiled: bool
    ) -> None:
        self.members: list[LensDetectionTask] = [load_task(path).to(device) for path in checkpoints]
        if compiled:
            for member in self.members:
                member.compile_for_device()
        self._tta = tta
        self._device = device
        self._autocast = _AUTOCAST.get(precision)

    @torch.inference_mode()
    def logits(self, batch: Batch) -> Tensor:
        """Float32 logits (members, b) of a batch as the stream gives it, on the device."""
        batch = {name: values.to(self._device, non_blocking=True) for name, values in batch.items()}
        with torch.autocast(self._device.type, dtype=self._autocast, enabled=self._autocast is not None):
            views = orientations(batch) if self._tta else iter([batch])
            total: Tensor | float = 0.0
            for view in views:
                total = total + torch.stack([member(view) for member in self.members])
        assert isinstance(total, Tensor)
        return total / _N_ORIENTATIONS if self._tta else total


def orientations(batch: Batch) -> Iterator[Batch]:
    """The batch in each of the eight orientations of a square; what was measured of a stamp holds in all of them."""
    turn = RandomD4()
    for element in range(_N_ORIENTATIONS):
        keys = torch.full((len(batch["image"]),), element, device=batch["image"].device)
        yield batch | {"image": turn(batch["image"], keys)}


def max_nonfinite_fraction(checkpoints: Sequence[Path]) -> float:
    """The fraction of a band up to which non-finite pixels were filled in training, the same for all checkpoints.

    Raises:
        ScoringError: When they differ.
    """
    fractions = {str(path): read_checkpoint(path)["config"]["data"]["max_nonfinite_fraction"] for path in checkpoints}
    if len(set(fractions.values())) > 1:
        told = ", ".join(f"{path}: {fraction}" for path, fraction in fractions.items())
        raise ScoringError(
            f"the checkpoints were trained with different data.max_nonfinite_fraction ({told}); score apart"
        )
    return next(iter(fractions.values()))
