"""Early stopping that stays stopped when its run is resumed."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping


class ResumableEarlyStopping(EarlyStopping):
    """Lightning's EarlyStopping, with two differences when a run is resumed.

    A run whose patience had run out trains no further epoch (Lightning's would do one more, so that a run killed
    during its final test ended with other weights), and the patience is the configured one, not the saved one.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counters only."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before the first step if there is no patience left."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True
