"""Exponential moving average of the weights, validated, kept and tested in place of the raw ones."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_avg_fn


class EMA(WeightAveraging):
    """Lightning's weight averaging with an exponential mean, let go when training ends.

    Lightning's keeps its average after ``fit``. A later ``trainer.test(ckpt_path=best)`` then loads the raw weights
    out of the checkpoint and tests those, because averages are swapped in for validation only (2.6). Without it the
    checkpoint's ``state_dict``, which is the average, is what validation and test use.

    Args:
        decay: share of the old average that a step keeps.
    """

    def __init__(self, decay: float = 0.999) -> None:
        average = get_ema_avg_fn(decay)

        def average_or_take(old: Tensor, new: Tensor, n_averaged: Tensor | int) -> Tensor:
            """Buffers of whole numbers, such as the pixels of the sky annulus, have no mean."""
            return average(old, new, n_averaged) if old.is_floating_point() else new

        super().__init__(avg_fn=average_or_take)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore raw and averaged weights when training goes on."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let go of the average, which by now is also the module's own weights."""
        self._average_model = None
