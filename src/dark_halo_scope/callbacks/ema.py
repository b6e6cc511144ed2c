"""Exponential moving average of the weights, validated, kept and tested in place of the raw ones."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging


class EMA(EMAWeightAveraging):
    """Lightning's EMA, let go when training ends.

    Lightning's keeps its average after ``fit``. A later ``trainer.test(ckpt_path=best)`` then loads the raw weights
    out of the checkpoint and tests those, because averages are swapped in for validation only (2.6). Without it the
    checkpoint's ``state_dict``, which is the average, is what validation and test use.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore raw and averaged weights when training goes on."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let go of the average, which by now is also the module's own weights."""
        self._average_model = None
