"""Two checkpoints in a run folder: ``best.ckpt`` by the monitored metric and ``last.ckpt`` to go on from.

Lightning's own ModelCheckpoint is not used, for three reasons found in its source (2.6): it refreshes ``last`` only
together with a new best when validation runs inside an epoch, so that a resumed run would repeat everything since
the best; it collects the bytes in the system's temporary folder and *moves* them, which between two disks is a copy
that can stop half-way; and nothing is flushed to the disk before the old file is replaced.
"""

import io
import logging
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn

from dark_halo_scope.files import write_atomically

log = logging.getLogger(__name__)


class MonitorError(ValueError):
    """The monitored metric is not among those the task logs."""


class DurableCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are complete and on the disk before they take the place of the previous one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:
        """Serialise in memory, then replace ``path`` in one step."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())


class RunCheckpoint(Checkpoint):
    """Keeps ``best.ckpt`` and ``last.ckpt``; runs after every other callback, so both hold this epoch's states.

    ``best`` is written where the monitored metric improves strictly, ``last`` after each epoch, after each validation
    inside an epoch, and every ``last_every_n_steps`` optimiser steps. A run that is resumed from inside an epoch has
    the weights and the logged metrics of an uninterrupted one.

    Args:
        dirpath: folder of the two files.
        monitor: name of a logged validation metric.
        mode: ``max`` or ``min``.
        last_every_n_steps: optimiser steps between two writings of ``last`` inside an epoch; None for never.

    Attributes:
        best_model_path: path of ``best.ckpt``, empty as long as there is none.
        best_model_score: its monitored metric.
        last_model_path: path of ``last.ckpt``, empty as long as there is none.
    """

    def __init__(self, dirpath: str, monitor: str, mode: str = "max", last_every_n_steps: int | None = 2000) -> None:
        if mode not in ("max", "min"):
            raise MonitorError(f"monitor.mode={mode}: choose max or min")
        self.dirpath = Path(dirpath)
        self.monitor = monitor
        self.mode = mode
        self.last_every_n_steps = last_every_n_steps
        self.best_model_path = ""
        self.best_model_score: float | None = None
        self.last_model_path = ""
        self._validated = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the trainer write durably; remove what a killed run left unfinished."""
        trainer.strategy.checkpoint_io = DurableCheckpointIO()
        if stage == "fit" and trainer.is_global_zero:
            for unfinished in self.dirpath.glob(".*.unfinished"):
                unfinished.unlink()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Write ``last`` if it is due."""
        if self._is_due(trainer, batch_idx=args[-1]):
            self._save_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a validation inside an epoch, write both; one at its end waits for the epoch's own metrics."""
        if not _saves(trainer):
            return
        self._validated = True
        if trainer.val_check_interval != 1.0 or trainer.check_val_every_n_epoch != 1:
            self._save_best(trainer)
            self._save_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write both."""
        if _saves(trainer):
            self._save_best(trainer)
            self._save_last(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what is monitored and its best value so far."""
        checkpoint["monitor"] = {"name": self.monitor, "mode": self.mode, "best": self.best_model_score}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on from the best value so far, if this folder still holds the weights that reached it."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        monitor, best = checkpoint["monitor"], self.dirpath / "best.ckpt"
        if (monitor["name"], monitor["mode"]) == (self.monitor, self.mode) and best.exists():
            self.best_model_path, self.best_model_score = str(best), monitor["best"]

    def _is_due(self, trainer: Any, batch_idx: int) -> bool:
        every, done = self.last_every_n_steps, batch_idx + 1
        return (
            every is not None
            and trainer.global_step % every == 0
            and done % trainer.accumulate_grad_batches == 0  # gradients are not part of a checkpoint
            and done % trainer.val_check_batch != 0  # resuming there would leave out the validation
            and not trainer.is_last_batch
            and _saves(trainer)
        )

    def _save_best(self, trainer: Trainer) -> None:
        if not self._validated:
            return
        self._validated = False
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(name for name in trainer.callback_metrics if name.startswith("val/")))
            raise MonitorError(f"monitor.metric={self.monitor} is not logged in validation: choose one of {known}")
        score = float(trainer.callback_metrics[self.monitor])
        best = self.best_model_score
        better = best is None or (score > best if self.mode == "max" else score < best)
        if not trainer.strategy.reduce_boolean_decision(better and score == score):  # NaN is never the best
            return
        self.best_model_score, self.best_model_path = score, str(self.dirpath / "best.ckpt")
        trainer.save_checkpoint(self.best_model_path, weights_only=False)
        log.info("epoch %d: %s = %.5f is the best so far", trainer.current_epoch, self.monitor, score)

    def _save_last(self, trainer: Trainer) -> None:
        self.last_model_path = str(self.dirpath / "last.ckpt")
        trainer.save_checkpoint(self.last_model_path, weights_only=False)


def _saves(trainer: Any) -> bool:
    fitting: bool = trainer.state.fn == TrainerFn.FITTING
    return fitting and not trainer.sanity_checking and not trainer.fast_dev_run
