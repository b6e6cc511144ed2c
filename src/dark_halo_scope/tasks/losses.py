"""Binary cross-entropy on logits, with label smoothing and class weights, and what they do to calibration.

Plain cross-entropy is a proper score: over stamps whose true probability of being a lens is p, its minimum lies
at sigmoid(logit) = p. Both options move that minimum; the ranking of stamps does not depend on them:

- Label smoothing e trains towards p (1 - e) + e/2: probabilities end in [e/2, 1 - e/2].
- A weight w of lenses relative to controls trains towards w p / (w p + 1 - p): every logit moves up by log w.
  "balanced" makes the network believe that lenses and controls are equally frequent.

With either option a raw probability must not be read as one. Calibration after the fit undoes most of the first
(a squeeze) and, with a temperature alone, none of the second (a shift): combine class weights with isotonic
calibration. `val/nll` and `val/ece` are measured on plain labels, whatever `val/loss` is made of.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


class LossError(ValueError):
    """An option of the loss that cannot be meant."""


class LensCrossEntropy(nn.Module):
    """Mean over a batch of the weighted cross-entropy against smoothed labels, in float32.

    Args:
        label_smoothing: e in [0, 1); a control trains towards e/2 and a lens towards 1 - e/2.
        class_weighting: "none"; "balanced", by the counts that `balance` is told; or a number, the weight of a
            lens relative to a control.

    Attributes:
        class_weights: (2,) weights of a control and of a lens; part of the state dict.
    """

    class_weights: Tensor

    def __init__(self, label_smoothing: float = 0.0, class_weighting: str | float = "none") -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise LossError(f"task.label_smoothing={label_smoothing} is outside [0, 1)")
        self.label_smoothing = label_smoothing
        self.balanced = class_weighting == "balanced"
        self.register_buffer("class_weights", torch.tensor([1.0, _lens_weight(class_weighting)]))

    def balance(self, counts: Mapping[str, float]) -> None:
        """Weight both classes by N / (2 n_class), which keeps the mean weight at 1.

        Args:
            counts: training stamps by class, ``{"control": ..., "lens": ...}``.
        """
        total = counts["control"] + counts["lens"]
        self.class_weights.copy_(torch.tensor([total / (2 * counts[name]) for name in ("control", "lens")]))

    def forward(self, logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        """Map logits (B,), integer labels (B,) and weights (B,) of the stamps, if they differ, to a scalar."""
        targets = labels * (1 - self.label_smoothing) + self.label_smoothing / 2
        weights = self.class_weights[labels] if weight is None else self.class_weights[labels] * weight
        return binary_cross_entropy_with_logits(logits.float(), targets.float(), weight=weights)


def _lens_weight(class_weighting: str | float) -> float:
    """Weight of a lens relative to a control, before the counts are known."""
    if class_weighting in ("none", "balanced"):
        return 1.0
    if isinstance(class_weighting, str) or class_weighting <= 0:
        raise LossError(
            f"task.class_weighting={class_weighting!r} is not an option: none, balanced, or a number above 0"
        )
    return float(class_weighting)
