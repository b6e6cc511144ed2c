"""What a run says of itself while it trains, for `halo monitor`."""

import math
import statistics
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.states import TrainerFn

from dark_halo_scope.callbacks.horizon import steps_per_validation, total_steps
from dark_halo_scope.monitoring.process import ProcessName
from dark_halo_scope.monitoring.status import Patience, Phase, Status

KEPT_STEPS = 512  # of losses and times: enough for a robust spread, some 10 kB of JSON
KEPT_NORMS = 64


class Heartbeat(Callback):
    """Rewrites ``status.json`` every ``every_s`` seconds, from a thread of rank 0: it beats while a batch hangs, too.

    Losses stay on the device until the first step after a beat fetches all of them at once: the device is waited for
    once in ``every_s`` seconds, not once a step.

    Args:
        run_dir: the run folder.
        metric: the monitored metric.
        mode: ``max`` or ``min``.
        every_s: seconds between two beats.
    """

    def __init__(self, run_dir: str, metric: str, mode: str, every_s: float = 5.0) -> None:
        self.run_dir = Path(run_dir)
        self.metric = metric
        self.mode = mode
        self.every_s = every_s
        self._phase: Phase = "starting"
        self._error: str | None = None
        self._total_steps = self._steps_per_validation = 0  # unknown before the training
        self._moved_at = time.time()
        self._longest_pause_s = 0.0
        self._in_a_row = False  # whether the next batch follows another of its phase
        self._waited_s = 0.0
        self._steps: deque[tuple[float, float]] = deque(maxlen=KEPT_STEPS)  # (waited, altogether) seconds
        self._new_losses: list[tuple[int, torch.Tensor]] = []
        self._losses: deque[tuple[int, float | None]] = deque(maxlen=KEPT_STEPS)
        self._grad_norms: deque[tuple[int, float | None]] = deque(maxlen=KEPT_NORMS)
        self._fetched_at = 0.0
        self._validation_start = 0.0
        self._validation_s: float | None = None
        self._gpu_memory_gib: float | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def setup(self, trainer: Any, pl_module: LightningModule, stage: str) -> None:
        """Start to beat."""
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        self._moved_at = time.time()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(trainer, self._end), daemon=True, name="heartbeat")
        self._thread.start()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look how far it goes."""
        self._total_steps, self._steps_per_validation = total_steps(trainer), steps_per_validation(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first batch of an epoch has no other before it."""
        self._enter("training")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """The batch has come."""
        self._waited_s = time.time() - self._moved_at

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Note the step."""
        if self._in_a_row:
            self._steps.append((self._waited_s, time.time() - self._moved_at))
        self._move("training")
        if outputs is not None:
            self._new_losses.append((trainer.global_step, outputs["loss"]))
        if self._moved_at - self._fetched_at > self.every_s:
            self._fetch(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A validation is no pause between two steps."""
        self._enter("validating")
        self._validation_start = time.time()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """It moves."""
        self._move("validating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with training, or to the test."""
        self._validation_s = time.time() - self._validation_start
        self._enter("training" if trainer.state.fn == TrainerFn.FITTING else "between")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nearly done."""
        self._enter("testing")

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """It moves."""
        self._move("testing")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say what ended the run. Losses left on the device stay there: it may be the device that failed."""
        self._enter("failed")
        self._error = f"{type(exception).__name__}: {exception}"
        self._rest(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Beat once more; the next stage takes it up again, and after the last one the report is written."""
        if self._thread is not None and stage == "fit":
            self._fetch(trainer, pl_module)
        self._enter("between")
        self._rest(trainer)

    def _enter(self, phase: Phase) -> None:
        self._phase, self._in_a_row, self._moved_at = phase, False, time.time()

    def _move(self, phase: Phase) -> None:
        now = time.time()
        if self._in_a_row:
            self._longest_pause_s = max(self._longest_pause_s, now - self._moved_at)
        self._phase, self._in_a_row, self._moved_at = phase, True, now

    def _fetch(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the losses of the last seconds, and the latest gradient norm, from the device."""
        self._fetched_at = time.time()
        if self._new_losses:
            steps, losses = zip(*self._new_losses[-KEPT_STEPS:], strict=True)
            self._losses.extend(zip(steps, map(_finite, torch.stack(losses).tolist()), strict=True))
            self._new_losses.clear()
        if "train/grad_norm" in trainer.callback_metrics:
            norm = float(trainer.callback_metrics["train/grad_norm"])
            self._grad_norms.append((trainer.global_step, _finite(norm)))
        if pl_module.device.type == "cuda":
            self._gpu_memory_gib = torch.cuda.max_memory_allocated(pl_module.device) / 2**30

    def _beat(self, trainer: Trainer, end: threading.Event) -> None:
        while True:
            self._status(trainer).write(self.run_dir)
            if end.wait(self.every_s):
                return

    def _rest(self, trainer: Trainer) -> None:
        if self._thread is None:
            return
        self._end.set()
        self._thread.join()
        self._thread = None
        self._status(trainer).write(self.run_dir)

    def _status(self, trainer: Any) -> Status:
        steps = list(self._steps)
        total_s = sum(altogether for _, altogether in steps)
        on_gpu = self._gpu_memory_gib is not None
        return Status(
            process=ProcessName.own(),
            beat_at=time.time(),
            beat_s=self.every_s,
            moved_at=self._moved_at,
            phase=self._phase,
            epoch=trainer.current_epoch,
            max_epochs=trainer.max_epochs,
            step=trainer.global_step,
            total_steps=self._total_steps,
            steps_per_validation=self._steps_per_validation,
            metric=self.metric,
            mode=self.mode,
            step_s=statistics.median(altogether for _, altogether in steps) if steps else None,
            longest_pause_s=self._longest_pause_s,
            wait_fraction=sum(waited for waited, _ in steps) / total_s if total_s else None,
            validation_s=self._validation_s,
            losses=list(self._losses),
            grad_norms=list(self._grad_norms),
            patience=_patience(trainer),
            gpu_memory_gib=self._gpu_memory_gib,
            gpu_total_gib=torch.cuda.get_device_properties(0).total_memory / 2**30 if on_gpu else None,
            error=self._error,
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _patience(trainer: Any) -> Patience | None:
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping):
            return Patience(callback.patience - callback.wait_count, callback.patience, abs(callback.min_delta))
    return None
