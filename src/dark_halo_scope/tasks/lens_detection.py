"""Lens detection: one logit a stamp, high for a lens, low for a control."""

from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from dark_halo_scope.evaluation.metrics import binary_metrics
from dark_halo_scope.tasks.base import BaseTask, Batch
from dark_halo_scope.tasks.losses import LensCrossEntropy
from dark_halo_scope.tasks.scores import ScoreCollection


class LensDetectionTask(BaseTask):
    """Train and evaluate a network that gives one logit a stamp.

    Labels are 1 for a lens and 0 for a control.

    Args:
        label_smoothing: see `tasks.losses`.
        class_weighting: "none", "balanced" or a number, see `tasks.losses`; the counts come from the datamodule.
        parts: what `BaseTask` takes.

    Attributes:
        calibrator: set by calibration after the fit, a plain dict; None before.
        thresholds: operating thresholds, set with it.
    """

    def __init__(self, label_smoothing: float = 0.0, class_weighting: str | float = "none", **parts: Any) -> None:
        super().__init__(**parts)
        self.criterion = LensCrossEntropy(label_smoothing, class_weighting)
        self.val_scores = ScoreCollection()
        self.test_scores = ScoreCollection()
        self.calibrator: dict[str, Any] | None = None
        self.thresholds: list[dict[str, Any]] | None = None
        self._gathered: dict[str, dict[str, NDArray[Any]]] = {}

    def setup(self, stage: str) -> None:
        """Balance the classes by the training split; later stages keep the weights of the checkpoint."""
        super().setup(stage)
        if stage == "fit" and self.criterion.balanced:
            datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]  # set at run time
            counts = datamodule.index.class_counts("train")
            self.criterion.balance(counts if self.inject is None else self.inject.expected_counts(counts))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the calibration that a run left in its checkpoint."""
        self.calibrator = checkpoint.get("calibrator")
        self.thresholds = checkpoint.get("thresholds")

    def gathered_scores(self, stage: str) -> dict[str, NDArray[Any]]:
        """Return `row`, `logit`, `label` of the last evaluation of "val" or "test", every stamp of all ranks once.

        Available to callbacks from `on_validation_end` and `on_test_end` on.
        """
        if stage not in self._gathered:
            raise ValueError(f"no scores of the stage {stage!r} yet: run its evaluation first")
        return self._gathered[stage]

    def _step(self, batch: Batch, stage: str) -> Tensor | None:
        if stage == "train":
            loss = self.criterion(self._training_outputs(batch), batch["label"])
            self._log_training_loss(loss, len(batch["label"]))
            return loss
        self._scores(stage).update(batch["row"], self(batch), batch["label"])
        return None

    def on_validation_epoch_start(self) -> None:
        """Forget the scores of the last validation."""
        super().on_validation_epoch_start()
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

    def _scores(self, stage: str) -> ScoreCollection:
        return {"val": self.val_scores, "test": self.test_scores}[stage]

    def _finish_evaluation(self, stage: str) -> None:
        """Gather the scores, compute every metric on the whole split, log the same numbers on all ranks."""
        scores = self._scores(stage).compute()
        self._gathered[stage] = {name: values.cpu().numpy() for name, values in scores.items()}
        loss = self.criterion(scores["logit"], scores["label"])
        metrics = binary_metrics(self._gathered[stage]["logit"], self._gathered[stage]["label"])
        # All ranks hold equal numbers: their mean (sync_dist) changes nothing, and Lightning need not warn.
        values = {"loss": loss, **metrics}
        self.log_dict({f"{stage}/{name}": value for name, value in values.items()}, sync_dist=True)
