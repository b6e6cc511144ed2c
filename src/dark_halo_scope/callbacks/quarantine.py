"""What was quarantined, repaired and excluded, for the report and the loggers."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from dark_halo_scope.callbacks.rng import gather_over_ranks
from dark_halo_scope.files import write_json


class QuarantineSummary(Callback):
    """Rewrites ``quarantine/summary.json`` after each epoch and evaluation, over all ranks; logs two counts.

    Args:
        run_dir: the run folder.
    """

    def __init__(self, run_dir: str) -> None:
        self.path = Path(run_dir) / "quarantine" / "summary.json"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the summary; log how many distinct stamps are quarantined and repaired so far."""
        summary = self._write(trainer)
        for action in ("quarantined", "repaired"):
            by_reason = summary[action].values()
            count = sum(n for splits in by_reason for classes in splits.values() for n in classes.values())
            pl_module.log(f"data/{action}", float(count), sync_dist=True)  # equal on all ranks

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the validation of the best checkpoint met."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._write(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the test met."""
        self._write(trainer)

    def _write(self, trainer: Any) -> dict[str, Any]:
        quarantine = trainer.datamodule.quarantine
        of_ranks = gather_over_ranks(quarantine.records)
        summary: dict[str, Any] = quarantine.summary([record for records in of_ranks for record in records])
        if trainer.is_global_zero:
            write_json(self.path, summary)
        return summary
