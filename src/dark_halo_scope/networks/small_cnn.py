"""A plain convolutional network of 61k parameters: the honest baseline beside every deeper one."""

from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from dark_halo_scope.networks.head import logit_head


class SmallCNN(nn.Module):
    """Four blocks of convolution, batch norm and ReLU, halving the image each time, then a mean over what is left.

    Args:
        dropout: probability of dropping a pooled feature before the last layer.
    """

    STAGES: ClassVar = (*((f"features.{number}",) for number in range(4)), ("head",))

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 64)
        blocks = [_block(n_in, n_out) for n_in, n_out in pairwise(widths)]
        self.features = nn.Sequential(*blocks)  # (B, 64, 4, 4) from (B, 3, 64, 64)
        self.head = logit_head(widths[-1], dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to float32 logits (B,)."""
        return self.head(self.features(images).mean(dim=(2, 3))).squeeze(1)


def _block(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )
