"""What every task shares, whatever it learns: one step, optimiser and schedule, a watch over the loss, the scores."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dark_halo_scope.hardware import is_compiled
from dark_halo_scope.tasks.mean_loss import MeanLoss
from dark_halo_scope.tasks.optimise import build_optimizer
from dark_halo_scope.tasks.schedule import ScheduleError
from dark_halo_scope.tasks.scores import ScoreCollection
from dark_halo_scope.transforms.draws import draw_keys

Batch = dict[str, Tensor]
"""`label` and `row`, int64 (B,), beside what the samples are made of (see the task)."""
CHECK_LOSS_EVERY_N_BATCHES = 50  # reading the loss makes the host wait for the device


class DivergedError(ValueError):
    """The training loss is not a finite number any more."""


class BaseTask(LightningModule, ABC):
    """A network with its normalisation, augmentation and optimisation.

    The normalisation is part of the task: a sample is scored exactly as it was trained on. Nothing on the way of a
    batch from its samples to the network's outputs waits for the device.

    Args:
        network: maps normalised samples (B, ...) to outputs (B,) or (B, K).
        criterion: maps outputs and labels (B,) to a scalar loss.
        normalise: maps raw samples to normalised ones.
        augment: changes samples by keys (B,), in training only.
        optimizer: takes parameter groups, returns an optimiser.
        scheduler: takes the optimiser, `total_steps` and `steps_per_epoch`; stepped after every optimiser step.
        seed: of the augmentation.
        compile: whether a trainer compiles what runs on the device: True, False or "auto" (see `hardware`).
    """

    def __init__(
        self,
        network: nn.Module,
        criterion: nn.Module,
        normalise: nn.Module,
        augment: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        seed: int,
        compile: bool | str = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion
        self.normalise = normalise
        self.augment = augment
        self.seed = seed
        self.train_loss = MeanLoss()
        self.val_scores = ScoreCollection()
        self.test_scores = ScoreCollection()
        self._gathered: dict[str, dict[str, NDArray[Any]]] = {}
        self._compile_asked = compile
        self._compiled = False
        self._transform: Callable[[Batch, Tensor | None], Tensor] = self._inputs
        self._optimizer_partial = optimizer
        self._scheduler_partial = scheduler
        self._loss_total: Tensor | float = 0.0  # since the last check; NaN and infinity stick to a sum

    @abstractmethod
    def _samples(self, batch: Batch) -> Batch:
        """What of a batch tells how its samples look."""

    @abstractmethod
    def _inputs(self, samples: Batch, keys: Tensor | None) -> Tensor:
        """From samples as they are stored to what the network takes; augmented by the keys (B,) if there are any."""

    @abstractmethod
    def _metrics(self, outputs: NDArray[Any], labels: NDArray[Any]) -> Mapping[str, float]:
        """Every metric of a whole split, by name."""

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
        """Compile for the device of the trainer where that is asked for and pays."""
        if is_compiled(self._compile_asked, self.trainer.strategy.root_device):
            self.compile_for_device()

    @property
    def _datamodule(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]  # set at run time

    def compile_for_device(self) -> None:
        """Compile what runs on the device, once.

        Weights keep their names: what is compiled is the call of the network, not a wrapper around it. Batches may be
        shorter than others (the last one, or one with bad rows): their size is a variable of the compiled code. CUDA
        graphs are not used: they would be recorded anew for each size, and the queue of kernels is ahead of the device
        as it is.
        """
        if not self._compiled:
            self._compiled = True
            self._compile()

    def _compile(self) -> None:
        self.network.compile()
        self._transform = torch.compile(self._inputs)

    def forward(self, batch: Batch) -> Tensor:
        """Map a batch as it is streamed to float32 outputs."""
        return self._outputs(self._samples(batch), None)

    def _step(self, batch: Batch, stage: str) -> Tensor | None:
        """Handle a batch of the stage "train", "val" or "test"; return the loss in training."""
        if stage == "train":
            loss = self._loss(self._outputs(self._samples(batch), self._keys(batch)), batch)
            self._log_training_loss(loss, len(batch["label"]))
            return loss
        self._scores(stage).update(batch["row"], self(batch), batch["label"])
        return None

    def _loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The scalar to train on."""
        return self.criterion(outputs, batch["label"])

    def _keys(self, batch: Batch) -> Tensor:
        """Keys (B,) that the samples are changed by in this epoch, on the device of the batch."""
        return draw_keys(self.seed, self.current_epoch, batch["row"])

    def _outputs(self, samples: Batch, keys: Tensor | None) -> Tensor:
        if self._compiled:
            _let_sizes_vary(*samples.values(), *([] if keys is None else [keys]))
        inputs = self._transform(samples, keys)
        if self._compiled:
            _let_sizes_vary(inputs)
        return self.network(inputs).float()

    def _log_training_loss(self, loss: Tensor, batch_size: int) -> None:
        """Log the epoch's mean over all ranks, and this rank's steps for a live view.

        Neither goes into the progress bar: Lightning reads what does after every step, bar or not.
        """
        self._loss_total += loss.detach()
        self.train_loss.update(loss, batch_size)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("train/loss_step", loss, on_step=True, on_epoch=False)

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        """Look at the loss now and then: long epochs must not go on for hours without one."""
        if (batch_idx + 1) % CHECK_LOSS_EVERY_N_BATCHES == 0:
            self._stop_if_diverged()

    def on_train_epoch_end(self) -> None:
        """Look at the loss once more."""
        self._stop_if_diverged()

    def on_validation_epoch_start(self) -> None:
        """Name a divergence before a metric stumbles over it; forget the scores of the last validation."""
        self._stop_if_diverged()
        self.val_scores.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the whole split."""
        if not self.trainer.sanity_checking:  # a batch or two of it may hold one class only
            self._finish_evaluation("val")

    def on_test_epoch_start(self) -> None:
        """Forget the scores of the last test."""
        self.test_scores.reset()

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the whole split."""
        self._finish_evaluation("test")

    def gathered_scores(self, stage: str) -> dict[str, NDArray[Any]]:
        """Return `row`, `logit`, `label` of the last evaluation of "val" or "test", every sample of all ranks once.

        Available to callbacks from `on_validation_end` and `on_test_end` on.
        """
        if stage not in self._gathered:
            raise ValueError(f"no scores of the stage {stage!r} yet: run its evaluation first")
        return self._gathered[stage]

    def _scores(self, stage: str) -> ScoreCollection:
        return {"val": self.val_scores, "test": self.test_scores}[stage]

    def _finish_evaluation(self, stage: str) -> None:
        """Gather the scores, compute every metric on the whole split, log the same numbers on all ranks."""
        scores = self._scores(stage).compute()
        self._gathered[stage] = {name: values.cpu().numpy() for name, values in scores.items()}
        loss = self.criterion(scores["logit"], scores["label"])
        metrics = self._metrics(self._gathered[stage]["logit"], self._gathered[stage]["label"])
        # All ranks hold equal numbers: their mean (sync_dist) changes nothing, and Lightning need not warn.
        values = {"loss": loss, **metrics}
        self.log_dict({f"{stage}/{name}": value for name, value in values.items()}, sync_dist=True)

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
