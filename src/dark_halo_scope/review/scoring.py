"""What the network of a checkpoint does with some stamps: again, in other orientations, in other precision."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from dark_halo_scope.review.case import Stamps
from dark_halo_scope.scoring.ensemble import orientations
from dark_halo_scope.tasks.lens_detection import LensDetectionTask

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

Logits = NDArray[np.float32]


@torch.inference_mode()
def logits(task: LensDetectionTask, stamps: Stamps, precision: str) -> Logits:
    """Float32 logits (n,) in a precision of the configs, on the CPU."""
    dtype = AUTOCAST.get(precision)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        scored: Logits = task(torch.from_numpy(stamps.images)).float().numpy()
    return scored


@torch.inference_mode()
def oriented_logits(task: LensDetectionTask, stamps: Stamps, precision: str) -> Logits:
    """Logits (8, n) in the eight orientations of a square."""
    dtype = AUTOCAST.get(precision)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        views = orientations({"image": torch.from_numpy(stamps.images)})
        return np.stack([task(view).float().numpy() for view in views])


@dataclass(frozen=True)
class MixedPrecision:
    """A step in mixed precision beside the same step in float32.

    Attributes:
        n: Stamps.
        largest: Largest difference of a logit.
        typical: Median difference of a logit.
        rank_correlation: Spearman's, of the logits.
        gradient_cosine: Cosine of the angle between the gradients of the loss.
        finite: Whether logits and gradient are finite.
    """

    n: int
    largest: float
    typical: float
    rank_correlation: float
    gradient_cosine: float
    finite: bool


def compare_precision(task: LensDetectionTask, stamps: Stamps, precision: str) -> MixedPrecision:
    """A forward and backward pass in both; batch normalisation as in evaluation, so that only precision differs."""
    full, gradient = _step(task, stamps, None)
    mixed, mixed_gradient = _step(task, stamps, AUTOCAST[precision])
    difference = (full - mixed).abs()
    return MixedPrecision(
        n=len(stamps.rows),
        largest=float(difference.max()),
        typical=float(difference.median()),
        rank_correlation=float(np.nan_to_num(spearmanr(full.numpy(), mixed.numpy()).statistic)),
        gradient_cosine=float(nn.functional.cosine_similarity(gradient, mixed_gradient, dim=0)),
        finite=bool(torch.isfinite(mixed).all() and torch.isfinite(mixed_gradient).all()),
    )


def _step(task: LensDetectionTask, stamps: Stamps, dtype: torch.dtype | None) -> tuple[Tensor, Tensor]:
    """Logits (n,) and the gradient of the loss as one vector."""
    task.zero_grad()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        scored = task(torch.from_numpy(stamps.images))
    task.criterion(scored, torch.from_numpy(stamps.labels.astype(np.int64))).backward()
    gradient = torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None])
    task.zero_grad()
    return scored.detach().float(), gradient.double()  # eleven million float32 squares do not add up


@torch.inference_mode()
def feature_sizes(network: nn.Module, size_px: int) -> tuple[int, int]:
    """Sides of the maps that the first and the last convolution of a network give for a stamp of `size_px`."""
    sides: list[int] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: sides.append(int(output.shape[-1])))
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    network(torch.zeros(1, 3, size_px, size_px))
    for hook in hooks:
        hook.remove()
    return sides[0], sides[-1]
