"""Build the optimiser of a network from the partial that the configuration gives."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

FUSED_DEVICES = ("cpu", "cuda")


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Split the parameters into those that decay and those that do not.

    Decay belongs to the kernels of convolutions and linear layers; norms and biases are few, cannot overfit, and
    are better left alone (He et al. 2019, "Bag of Tricks", section 3.1).
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"name": "weights", "params": [p for p in parameters if p.ndim > 1]},
        {"name": "norms_and_biases", "params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(
    partial: Callable[..., Optimizer], network: nn.Module, device: torch.device, gradients_are_scaled: bool
) -> Optimizer:
    """Finish the partial with the network's parameters; take its fused kernels where they can be used.

    A fused optimiser undoes the gradient scaling of fp16 inside its step. Nobody outside could then clip or log
    the true gradient (Lightning refuses to), so under fp16 the choice is left to torch, which updates many tensors
    in one kernel on a GPU; told that `fused` is False, it would launch kernels for each tensor alone.
    """
    options: dict[str, Any] = {}
    has_fused_kernels = "fused" in inspect.signature(partial).parameters and device.type in FUSED_DEVICES
    if has_fused_kernels and not gradients_are_scaled:
        options["fused"] = True
    return partial(parameter_groups(network), **options)
