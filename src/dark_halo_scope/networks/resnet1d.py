"""Residual networks (He et al. 2016) for windows of signals."""

from typing import ClassVar

from torch import Tensor, nn

from dark_halo_scope.networks.head import logit_head


class ResNet1d(nn.Module):
    """The 18 layers of ResNet18 along one axis: four stages of two basic blocks, with kernels of ``kernel_size``.

    The first stage keeps the window's length, as the "3x3" stem does for stamps: 128 samples are few.

    Args:
        n_channels: channels of a window.
        n_classes: logits to give.
        width: features of the first stage; each further stage doubles them and halves the length.
        kernel_size: samples that a convolution sees, odd.
        dropout: probability of dropping a pooled feature before the last layer.
    """

    STAGES: ClassVar = (("stem",), *((f"stages.{2 * k}", f"stages.{2 * k + 1}") for k in range(4)), ("head",))

    def __init__(
        self, n_channels: int, n_classes: int, width: int = 32, kernel_size: int = 7, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"model.kernel_size={kernel_size} is even, and a block would shift its input: choose odd")
        widths = [width * 2**stage for stage in range(4)]
        self.stem = nn.Sequential(_conv(n_channels, width, kernel_size), nn.BatchNorm1d(width), nn.ReLU(inplace=True))
        blocks: list[nn.Module] = []
        n_in = width
        for stage, n_out in enumerate(widths):
            blocks += [_Block(n_in, n_out, kernel_size, stride=2 if stage else 1), _Block(n_out, n_out, kernel_size)]
            n_in = n_out
        self.stages = nn.Sequential(*blocks)
        self.head = logit_head(widths[-1], dropout, n_classes)

    def forward(self, windows: Tensor) -> Tensor:
        """Map (B, C, T) to float32 logits (B, K)."""
        return self.head(self.stages(self.stem(windows)).mean(dim=2))


class _Block(nn.Module):
    """Two convolutions and what they leave out (He et al. 2016, figure 2; projection shortcut where sizes differ)."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _conv(n_in, n_out, kernel_size, stride),
            nn.BatchNorm1d(n_out),
            nn.ReLU(inplace=True),
            _conv(n_out, n_out, kernel_size),
            nn.BatchNorm1d(n_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or n_in != n_out:
            self.shortcut = nn.Sequential(_conv(n_in, n_out, 1, stride), nn.BatchNorm1d(n_out))

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.relu(self.residual(features) + self.shortcut(features))


def _conv(n_in: int, n_out: int, kernel_size: int, stride: int = 1) -> nn.Conv1d:
    conv = nn.Conv1d(n_in, n_out, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
