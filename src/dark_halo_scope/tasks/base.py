"""What every task shares, whatever it learns: one step, the optimiser and its schedule, a watch over the loss."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dark_halo_scope.tasks.optimise import build_optimizer
from dark_halo_scope.tasks.schedule import ScheduleError
from dark_halo_scope.transforms.augment import draw_keys

Batch = dict[str, Tensor]
CHECK_LOSS_EVERY_N_BATCHES = 50  # reading the loss makes the host wait for the device


class DivergedError(ValueError):
    """The training loss is not a finite number any more."""


class BaseTask(LightningModule, ABC):
    """A network with its normalisation, augmentation and optimisation.

    The normalisation is part of the task: a stamp is scored exactly as it was trained on.

    Args:
        network: maps normalised images (B, C, H, W) to outputs.
        normalise: maps raw images to normalised ones.
        augment: maps (images, keys) to images, in training only.
        optimizer: takes parameter groups, returns an optimiser.
        scheduler: takes the optimiser, `total_steps` and `steps_per_epoch`; stepped after every optimiser step.
        seed: of the augmentation.
        channels_last: memory layout that tensor cores, AMX and AVX512 convolve fastest.
    """

    def __init__(
        self,
        network: nn.Module,
        normalise: nn.Module,
        augment: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        seed: int,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)  # type: ignore[call-overload]  # torch stub gap
        self.normalise = normalise
        self.augment = augment
        self.seed = seed
        self._optimizer_partial = optimizer
        self._scheduler_partial = scheduler
        self._loss_total: Tensor | float = 0.0  # since the last check; NaN and infinity stick to a sum

    @abstractmethod
    def _step(self, batch: Batch, stage: str) -> Tensor | None:
        """Handle a batch of the stage "train", "val" or "test"; return the loss in training."""

    def training_step(self, batch: Batch) -> Tensor | None:
        """Return the loss of a batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch) -> None:
        """Score a batch."""
        self._step(batch, "val")

    def test_step(self, batch: Batch) -> None:
        """Score a batch."""
        self._step(batch, "test")

    def forward(self, images: Tensor) -> Tensor:
        """Map raw images (B, C, H, W) to the network's float32 outputs."""
        return self._outputs(self.normalise(images))

    def _training_outputs(self, batch: Batch) -> Tensor:
        """As `forward`, with the augmentation that this epoch draws for these rows."""
        keys = draw_keys(self.seed, self.current_epoch, batch["row"])
        return self._outputs(self.augment(self.normalise(batch["image"]), keys))

    def _outputs(self, images: Tensor) -> Tensor:
        return self.network(images.contiguous(memory_format=self.memory_format)).float()

    def _log_training_loss(self, loss: Tensor, batch_size: int) -> None:
        """Log the epoch's mean over all ranks, and this rank's steps for a live view."""
        self._loss_total += loss.detach()
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)
        self.log("train/loss_step", loss, on_step=True, on_epoch=False, prog_bar=True)

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        """Look at the loss now and then: long epochs must not go on for hours without one."""
        if (batch_idx + 1) % CHECK_LOSS_EVERY_N_BATCHES == 0:
            self._stop_if_diverged()

    def on_train_epoch_end(self) -> None:
        """Look at the loss once more."""
        self._stop_if_diverged()

    def on_validation_epoch_start(self) -> None:
        """Name a divergence before a metric stumbles over it."""
        self._stop_if_diverged()

    def _stop_if_diverged(self) -> None:
        """Stop all ranks together: one that stops alone leaves the others waiting in a collective."""
        bad_here = not math.isfinite(float(self._loss_total))
        self._loss_total = 0.0
        if self.trainer.strategy.reduce_boolean_decision(bad_here, all=False):
            raise DivergedError(
                f"the training loss became NaN or infinite in epoch {self.current_epoch}, by step {self.global_step}: "
                "lower optimizer.lr, lengthen the warmup, or use bf16 or fp32 instead of fp16"
            )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Log the gradient norm and clip by it. Lightning calls this after unscaling (fp16), clipping or not.

        Lightning's own clipping refuses every fused optimiser under autocast, although only fp16 scales gradients.
        """
        if gradient_clip_algorithm not in (None, "norm"):
            raise ValueError(f"trainer.gradient_clip_algorithm={gradient_clip_algorithm}: only norm is known, or null")
        parameters = list(self.parameters())
        norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        self.log("train/grad_norm", norm, on_step=True, on_epoch=False)
        if gradient_clip_val:
            nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Finish the partials, now that the network is on its device and the number of steps is known."""
        optimizer = build_optimizer(
            self._optimizer_partial,
            self.network,
            device=self.trainer.strategy.root_device,
            gradients_are_scaled=self.trainer.precision == "16-mixed",
        )
        total_steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(total_steps):
            raise ScheduleError("a schedule needs an end: set trainer.max_epochs or trainer.max_steps")
        steps_per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        scheduler = self._scheduler_partial(optimizer, total_steps=int(total_steps), steps_per_epoch=steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
