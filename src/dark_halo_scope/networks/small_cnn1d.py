"""A plain convolutional network for windows of signals: 32k parameters, trained in seconds."""

from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from dark_halo_scope.networks.head import logit_head


class SmallCNN1d(nn.Module):
    """Three blocks of convolution, batch norm and ReLU, halving the window each time, then a mean over what is left.

    Args:
        n_channels: channels of a window.
        n_classes: logits to give.
        dropout: probability of dropping a pooled feature before the last layer.
    """

    STAGES: ClassVar = (*((f"features.{number}",) for number in range(3)), ("head",))

    def __init__(self, n_channels: int, n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        widths = (n_channels, 32, 64, 64)
        self.features = nn.Sequential(*(_block(n_in, n_out) for n_in, n_out in pairwise(widths)))
        self.head = logit_head(widths[-1], dropout, n_classes)

    def forward(self, windows: Tensor) -> Tensor:
        """Map (B, C, T) to float32 logits (B, K)."""
        return self.head(self.features(windows).mean(dim=2))


def _block(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(n_in, n_out, kernel_size=5, padding=2, bias=False),
        nn.BatchNorm1d(n_out),
        nn.ReLU(inplace=True),
        nn.MaxPool1d(2),
    )
