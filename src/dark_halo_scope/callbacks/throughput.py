"""How fast training runs and what it waits for, measured with the host's clock only."""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Throughput(Callback):
    """Logs three numbers an epoch, without ever waiting for the device.

    - ``throughput/stamps_per_s``: training stamps over all ranks per second of training (validation left out);
    - ``throughput/data_wait_fraction``: share of that time between the end of a step and the start of the next, spent
      in waiting for the next batch, on the slowest rank. On a GPU the queue of earlier steps hides part of it; what
      later callbacks do in between, such as saving a checkpoint in mid-epoch, is counted with it;
    - ``throughput/gpu_memory_gib``: largest memory torch had allocated, on a GPU only.
    """

    def __init__(self) -> None:
        self._stamps = 0
        self._validation_s = 0.0
        self._wait_s = 0.0
        self._epoch_start = self._idle_since = self._validation_start = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start an epoch's account."""
        self._start(time.perf_counter())

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """The batch has come."""
        now = time.perf_counter()
        if not self._epoch_start:  # resumed inside an epoch, which has no epoch start
            self._start(now)
        self._wait_s += now - self._idle_since

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, torch.Tensor], *_: Any
    ) -> None:
        """The step is done (or queued, on a GPU)."""
        self._stamps += len(batch["image"])
        self._idle_since = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._validation_start = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the clock go on: validation is neither training nor waiting."""
        now = time.perf_counter()
        self._validation_s += now - self._validation_start
        self._idle_since = now

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the account."""
        if not self._epoch_start:  # resumed at the very end of an epoch
            return
        seconds = time.perf_counter() - self._epoch_start - self._validation_s
        pl_module.log("throughput/stamps_per_s", self._stamps / seconds, sync_dist=True, reduce_fx="sum")
        pl_module.log("throughput/data_wait_fraction", self._wait_s / seconds, sync_dist=True, reduce_fx="max")
        if pl_module.device.type == "cuda":
            gib = torch.cuda.max_memory_allocated(pl_module.device) / 2**30
            pl_module.log("throughput/gpu_memory_gib", gib, sync_dist=True, reduce_fx="max")
        self._epoch_start = 0.0

    def _start(self, now: float) -> None:
        self._epoch_start = self._idle_since = now
        self._stamps, self._wait_s, self._validation_s = 0, 0.0, 0.0
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
