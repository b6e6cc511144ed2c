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

from dark_halo_scope.hardware import is_compiled
from dark_halo_scope.tasks.optimise import build_optimizer
from dark_halo_scope.tasks.schedule import ScheduleError
from dark_halo_scope.transforms.draws import draw_keys
from dark_halo_scope.transforms.inject import OnlineInjection
from dark_halo_scope.transforms.stored import known_statistics, nanomaggies, stamps_of

Batch = dict[str, Tensor]
"""`image` (B, C, H, W): float32 nanomaggies, or float16 beside `exponent` int8 (B,), the power of two to multiply by;
`sky`, `sky_sigma`, `median`, `mad`: float32 (B, C) from a training store, else absent; `label`, `row`: int64 (B,)."""
CHECK_LOSS_EVERY_N_BATCHES = 50  # reading the loss makes the host wait for the device


class DivergedError(ValueError):
    """The training loss is not a finite number any more."""


class BaseTask(LightningModule, ABC):
    """A network with its normalisation, augmentation and optimisation.

    The normalisation is part of the task: a stamp is scored exactly as it was trained on.

    Batches are dicts: see `Batch`. Their way on the device is nanomaggies, injection (training only), normalisation,
    augmentation (training only), memory format, network. Nothing on it waits for the device.

    Args:
        network: maps normalised images (B, C, H, W) to outputs.
        normalise: maps raw images, and the statistics of a training store or None, to normalised ones.
        augment: maps (images, keys) to images, in training only.
        optimizer: takes parameter groups, returns an optimiser.
        scheduler: takes the optimiser, `total_steps` and `steps_per_epoch`; stepped after every optimiser step.
        seed: of the augmentation.
        channels_last: memory layout that tensor cores, AMX and AVX512 convolve fastest.
        inject: makes lenses of some controls, in training only.
        compile: whether a trainer compiles what runs on the device: True, False or "auto" (see `hardware`).
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
        inject: OnlineInjection | None = None,
        compile: bool | str = False,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)  # type: ignore[call-overload]  # torch stub gap
        self.normalise = normalise
        self.augment = augment
        self.inject = inject
        self.seed = seed
        self._compile_asked = compile
        self._compiled = False
        self._transform: Callable[[Batch, Tensor | None], Tensor] = self._transform_stamps
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

    def setup(self, stage: str) -> None:
        """Compile for the device of the trainer, once, where that is asked for and pays.

        Weights keep their names: what is compiled is the call of the network, not a wrapper around it. Batches may be
        shorter than others (the last one, or one with bad rows): their size is a variable of the compiled code. CUDA
        graphs are not used: they would be recorded anew for each size, and the queue of kernels is ahead of the device
        as it is.
        """
        if not self._compiled and is_compiled(self._compile_asked, self.trainer.strategy.root_device):
            self._compiled = True
            self.network.compile()
            self._transform = torch.compile(self._transform_stamps)
            if self.inject is not None:
                self.inject.compile()

    def forward(self, stamps: Tensor | Batch) -> Tensor:
        """Map raw images (B, C, H, W) in nanomaggies, or a batch as it is streamed, to float32 outputs."""
        return self._outputs({"image": stamps} if isinstance(stamps, Tensor) else stamps_of(stamps), None)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Choose the controls that become lenses while rows and labels are still on the host."""
        if self.inject is None or not self.trainer.training:
            return batch
        keys = draw_keys(self.seed, self.current_epoch, batch["row"])
        return self.inject.choose(batch, keys)

    def _training_outputs(self, batch: Batch) -> Tensor:
        """As `forward`, with the injection and augmentation that this epoch draws for these rows."""
        keys = draw_keys(self.seed, self.current_epoch, batch["row"])
        stamps = stamps_of(batch)
        if self.inject is not None:
            stamps = {"image": self.inject(nanomaggies(stamps), batch["injected"], keys)}  # to be measured anew
        return self._outputs(stamps, keys)

    def _outputs(self, stamps: Batch, keys: Tensor | None) -> Tensor:
        if self._compiled:
            _let_sizes_vary(*stamps.values(), *([] if keys is None else [keys]))
        images = self._transform(stamps, keys)
        if self._compiled:
            _let_sizes_vary(images)
        return self.network(images).float()

    def _transform_stamps(self, stamps: Batch, keys: Tensor | None) -> Tensor:
        """From stamps as they are stored to what the network takes; augmented by the keys (B,) if there are any."""
        images = self.normalise(nanomaggies(stamps), known_statistics(stamps))  # as D4 would leave its medians
        if keys is not None:
            images = self.augment(images, keys)
        return images.contiguous(memory_format=self.memory_format)

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
        self.trainer.fit_loop.setup_data()  # where max_steps alone ends the training, batches are not counted yet
        steps_per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        scheduler = self._scheduler_partial(optimizer, total_steps=int(total_steps), steps_per_epoch=steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _let_sizes_vary(*tensors: Tensor) -> None:
    """Tell the compiler that the first dimension of these is not a constant."""
    for tensor in tensors:
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
