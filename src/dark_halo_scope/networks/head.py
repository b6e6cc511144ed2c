"""The last layer of a network: from pooled features to logits."""

import torch
from torch import Tensor, nn


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32 also under autocast.

    A logit of bfloat16 has 8 bits, so that among a thousand stamps most share theirs with another: the ranking then
    has ties just where few false positives count.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, F) to float32 outputs (B, outputs)."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())


def logit_head(n_features: int, dropout: float, n_logits: int = 1) -> nn.Sequential:
    """Dropout, then float32 logits: (B, n_features) to (B, n_logits)."""
    return nn.Sequential(nn.Dropout(dropout), Float32Linear(n_features, n_logits))
