"""Residual networks (He et al. 2016) for stamps of 64 px, on torchvision's implementation."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.models import resnet18, resnet34

from dark_halo_scope.networks.head import logit_head

_BUILDERS = {18: resnet18, 34: resnet34}
STEMS = ("3x3", "imagenet")


class PretrainedWeightsError(ValueError):
    """A file of pretrained weights is missing, unreadable, or belongs to another network."""


class ResNet(nn.Module):
    """ResNet18 or ResNet34 with one logit.

    The ImageNet stem (7x7 stride 2, then a max-pool) turns 64 px into 16 px before the first block sees them:
    an arc at 0.6 arcsec from its lens (2.3 px) ends within one pixel of it. The "3x3" stem keeps all 64 px for the
    first stage: conv1 is 3x3 stride 1 and the max-pool is gone (as He et al. 2016, section 4.2, for small images).

    Args:
        depth: 18 or 34.
        stem: "3x3" or "imagenet".
        dropout: probability of dropping a pooled feature before the last layer.
        weights: state dict of torchvision's network of this depth, a local file. Needs the ImageNet stem: its 7x7
            kernels do not fit a 3x3 stem, and later stages would see features of another scale than they learnt.
            The last layer is never taken from the file.
    """

    STAGES: ClassVar = (
        ("backbone.conv1", "backbone.bn1"),
        *((f"backbone.layer{number}",) for number in range(1, 5)),
        ("backbone.fc",),
    )

    def __init__(
        self, depth: int = 18, stem: str = "3x3", dropout: float = 0.0, weights: str | Path | None = None
    ) -> None:
        super().__init__()
        if depth not in _BUILDERS:
            raise ValueError(f"model.depth={depth} is not a depth we have: choose one of {sorted(_BUILDERS)}")
        if stem not in STEMS:
            raise ValueError(f"model.stem={stem!r} is not a stem we have: choose one of {list(STEMS)}")
        self.backbone = _BUILDERS[depth]()
        if weights is not None:
            if stem != "imagenet":
                raise PretrainedWeightsError(
                    f"model.weights={weights} needs model.stem=imagenet: its 7x7 first layer does not fit the 3x3 stem"
                )
            _load_backbone(self.backbone, Path(weights), depth)
        if stem == "3x3":
            self.backbone.conv1 = _conv3x3()
            self.backbone.maxpool = nn.Identity()
        self.backbone.fc = logit_head(self.backbone.fc.in_features, dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to float32 logits (B,)."""
        return self.backbone(images).squeeze(1)


def _conv3x3() -> nn.Conv2d:
    conv = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's other convolutions
    return conv


def _load_backbone(backbone: nn.Module, path: Path, depth: int) -> None:
    """Copy all but the last layer from a torchvision state dict."""
    if not path.is_file():
        raise PretrainedWeightsError(f"model.weights={path} is not a file: give a local torchvision state dict")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names half a dozen types for a file that is not a plain state dict
        raise PretrainedWeightsError(
            f"model.weights={path} cannot be read as a state dict of plain tensors ({type(error).__name__}): "
            "save it with torch.save(model.state_dict(), path)"
        ) from error
    expected, found = _shapes(backbone.state_dict()), _shapes(state)
    if expected != found:
        different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise PretrainedWeightsError(
            f"model.weights={path} does not hold a torchvision ResNet{depth}: {len(different)} tensors differ, "
            f"the first is {different[0]}; choose the model that the file was made with"
        )
    backbone.load_state_dict({name: state[name] for name in found}, strict=False)


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    """Shapes by name, without the last layer and without the step counters that older files lack."""
    return {
        name: tensor.shape
        for name, tensor in state.items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
