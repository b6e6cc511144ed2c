"""Lens detection: one logit a stamp, high for a lens, low for a control."""

import sys
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dark_halo_scope.evaluation.metrics import binary_metrics
from dark_halo_scope.tasks.base import BaseTask, Batch
from dark_halo_scope.tasks.losses import LensCrossEntropy
from dark_halo_scope.transforms.inject import OnlineInjection
from dark_halo_scope.transforms.stored import known_statistics, nanomaggies, stamps_of


class LensDetectionTask(BaseTask):
    """Train and evaluate a network that gives one logit a stamp.

    Labels are 1 for a lens and 0 for a control. Batches hold `image` (B, C, H, W): float32 nanomaggies, or float16
    beside `exponent` int8 (B,), the power of two to multiply by; and `sky`, `sky_sigma`, `median`, `mad`, float32
    (B, C), from a training store. Their way on the device is nanomaggies, injection (training only), normalisation,
    augmentation (training only), memory format, network.

    Args:
        label_smoothing: see `tasks.losses`.
        class_weighting: "none", "balanced" or a number, see `tasks.losses`; the counts come from the datamodule.
        channels_last: memory layout that tensor cores, AMX and AVX512 convolve fastest.
        inject: makes lenses of some controls, in training only.
        parts: what `BaseTask` takes besides the criterion.

    Attributes:
        calibrator: set by calibration after the fit, a plain dict; None before.
        thresholds: operating thresholds, set with it.
    """

    network: Any  # torch's stubs do not know that `to` takes a memory format
    criterion: LensCrossEntropy

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weighting: str | float = "none",
        channels_last: bool = False,
        inject: OnlineInjection | None = None,
        **parts: Any,
    ) -> None:
        super().__init__(criterion=LensCrossEntropy(label_smoothing, class_weighting), **parts)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network.to(memory_format=self.memory_format)
        self.inject = inject
        self.calibrator: dict[str, Any] | None = None
        self.thresholds: list[dict[str, Any]] | None = None

    def setup(self, stage: str) -> None:
        """Find the hosts of arcs; balance the classes by the training split, as a checkpoint keeps them for later."""
        super().setup(stage)
        if stage == "fit" and self.inject is not None:
            self.inject.find_hosts(self._datamodule.index, progress=self.global_rank == 0 and sys.stderr.isatty())
        if stage == "fit" and self.criterion.balanced:
            self.criterion.balance(self._datamodule.index.class_counts("train"))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the calibration that a run left in its checkpoint."""
        self.calibrator = checkpoint.get("calibrator")
        self.thresholds = checkpoint.get("thresholds")

    def forward(self, stamps: Tensor | Batch) -> Tensor:
        """Map raw images (B, C, H, W) in nanomaggies, or a batch as it is streamed, to float32 logits (B,)."""
        return super().forward({"image": stamps} if isinstance(stamps, Tensor) else stamps)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Choose the controls that get an arc while rows and labels are still on the host."""
        if self.inject is None or not self.trainer.training:
            return batch
        return self.inject.choose(batch, self._keys(batch))

    def training_step(self, batch: Batch) -> Tensor | None:
        """Put the arcs on the chosen controls, on the device; return the loss of the batch."""
        return super().training_step(batch if self.inject is None else self.inject(batch, self._keys(batch)))

    def _compile(self) -> None:
        super()._compile()
        if self.inject is not None:
            self.inject.compile()

    def _samples(self, batch: Batch) -> Batch:
        return stamps_of(batch)

    def _loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return self.criterion(outputs, batch["label"], batch.get("weight"))

    def _inputs(self, samples: Batch, keys: Tensor | None) -> Tensor:
        images = self.normalise(nanomaggies(samples), known_statistics(samples))  # as D4 would leave its medians
        if keys is not None:
            images = self.augment(images, keys)
        return images.contiguous(memory_format=self.memory_format)

    def _metrics(self, outputs: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
        return binary_metrics(outputs, labels)
