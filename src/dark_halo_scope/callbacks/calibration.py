"""Calibrate the best checkpoint on the validation split and choose its operating thresholds."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from dark_halo_scope.evaluation.calibration import fit_calibrator
from dark_halo_scope.evaluation.metrics import TARGET_FPRS
from dark_halo_scope.evaluation.thresholds import operating_thresholds

log = logging.getLogger(__name__)


class Calibration(Callback):
    """Acts after ``trainer.validate(ckpt_path=best)``, on a task that gathers its validation scores over ranks.

    Sets the task's ``calibrator`` and ``thresholds``, plain data, and adds both to that checkpoint.

    Args:
        method: ``temperature`` or ``isotonic``.
        target_fprs: false-positive rates to choose thresholds for.
    """

    def __init__(self, method: str = "temperature", target_fprs: Sequence[float] = TARGET_FPRS) -> None:
        self.method = method
        self.target_fprs = tuple(target_fprs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fit on the scores just gathered; every rank comes to the same result, rank 0 writes it."""
        if trainer.state.fn != TrainerFn.VALIDATING:
            return
        task: Any = pl_module
        scores = task.gathered_scores("val")
        calibrator = fit_calibrator(self.method, scores["logit"], scores["label"])
        task.calibrator = calibrator.to_dict()
        task.thresholds = operating_thresholds(scores["logit"], scores["label"], calibrator, self.target_fprs)
        if trainer.ckpt_path is not None:
            self._write(trainer, Path(trainer.ckpt_path), task)
        log.info("calibrated by %s on %d validation stamps", self.method, len(scores["label"]))

    def _write(self, trainer: Trainer, path: Path, task: Any) -> None:
        if trainer.is_global_zero:
            checkpoint_io = trainer.strategy.checkpoint_io
            checkpoint = checkpoint_io.load_checkpoint(path, map_location="cpu", weights_only=True)
            checkpoint |= {"calibrator": task.calibrator, "thresholds": task.thresholds}
            checkpoint_io.save_checkpoint(checkpoint, path)
        trainer.strategy.barrier()
