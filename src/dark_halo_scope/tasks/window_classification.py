"""Window classification: one logit a class for each window of signals."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dark_halo_scope.evaluation.multiclass import multiclass_metrics
from dark_halo_scope.tasks.base import BaseTask, Batch
from dark_halo_scope.transforms.standardise import Standardise


class UnknownParticipantError(ValueError):
    """Windows of somebody whom the normalisation has no numbers of."""


class WindowClassificationTask(BaseTask):
    """Train and evaluate a network that gives K logits a window.

    Batches hold `window`, float32 (B, C, T) in the units of the sensor, and `participant`, int64 (B,), the
    `participant_key` of who it is of. Their way on the device is augmentation (training only), normalisation, network.

    Args:
        parts: what `BaseTask` takes besides the criterion.
    """

    normalise: Standardise

    def __init__(self, **parts: Any) -> None:
        super().__init__(criterion=nn.CrossEntropyLoss(), **parts)

    def setup(self, stage: str) -> None:
        """Fit the normalisation of participants that are new to it, on the training windows alone."""
        super().setup(stage)
        if stage == "fit":
            self.normalise.fit(self._datamodule.training_statistics())

    def on_validation_epoch_start(self) -> None:
        """As `BaseTask` does; and refuse participants whose windows cannot be normalised."""
        super().on_validation_epoch_start()
        self._refuse_unknown_participants("val")

    def on_test_epoch_start(self) -> None:
        """As `BaseTask` does; and refuse participants whose windows cannot be normalised."""
        super().on_test_epoch_start()
        self._refuse_unknown_participants("test")

    def _refuse_unknown_participants(self, stage: str) -> None:
        index = self._datamodule.index
        name_of = dict(zip(index.participant_keys.tolist(), index.participants, strict=True))
        there = set(index.participants_in(stage))
        keys = torch.tensor([key for key, name in name_of.items() if name in there])
        if unknown := [name_of[key] for key in self.normalise.unknown(keys).tolist()]:
            raise UnknownParticipantError(
                f"part {stage} has windows of {', '.join(unknown[:5])}, of whom no window was there to fit the "
                "normalisation on: give the part train some of theirs, or set transforms.normalise.by=all"
            )

    def _samples(self, batch: Batch) -> Batch:
        return {name: batch[name] for name in ("window", "participant")}

    def _inputs(self, samples: Batch, keys: Tensor | None) -> Tensor:
        windows = samples["window"]
        if keys is not None:
            windows = self.augment(windows, keys)
        return self.normalise(windows, samples["participant"])

    def _metrics(self, outputs: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
        return multiclass_metrics(outputs, labels)
