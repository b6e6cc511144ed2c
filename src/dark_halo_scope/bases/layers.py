"""Parts of a network by name: which of them learn, and how fast."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import dark_halo_scope.torchvision_ops  # noqa: F401

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from dark_halo_scope.bases.modes import ModeError, Part


def stages(network: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of each stage, from the input to the head; every parameter is in one of them.

    Raises:
        ModeError: Nobody has named the stages of this network.
    """
    named: Iterable[Iterable[str]] | None = getattr(network, "STAGES", None)
    if named is None:
        raise ModeError(
            f"the stages of {type(network).__name__} have no names, so its head cannot be told from the rest: give it "
            "a class attribute STAGES, as the networks in networks/ have, or choose a mode that trains all of it, with "
            "finetune.layer_decay=1"
        )
    found = [[p for name in stage for p in network.get_submodule(name).parameters()] for stage in named]
    assert sum(map(len, found)) == len(list(network.parameters())), "a parameter belongs to no stage, or to two"
    return found


def let_learn(network: nn.Module, part: Part, batch_norm: str) -> None:
    """Let a part of a network learn, and nothing else.

    A batch norm that stands still keeps the statistics that it has gathered, in training too: those of a few labelled
    samples are worse than those of the base (``frozen``). Where the head alone learns, all of them do.

    Args:
        network: Its parameters and modules are set in place.
        part: ``head``, or ``all``.
        batch_norm: ``frozen``, or ``adapt``: to the batches of the training.
    """
    network.train()
    for parameter in network.parameters():
        parameter.requires_grad_(part == "all")
    if part == "head":
        for parameter in stages(network)[-1]:
            parameter.requires_grad_(True)
    if part == "head" or batch_norm == "frozen":
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()  # Lightning leaves a module in the mode that it was given in


def layerwise(partial: Callable[..., Optimizer], network: nn.Module, decay: float) -> Callable[..., Optimizer]:
    """An optimiser whose learning rate falls by a factor from each stage to the one before it, the head's being whole.

    Howard & Ruder 2018, section 3.2 ("discriminative fine-tuning").

    Args:
        partial: Takes parameter groups, returns an optimiser.
        network: Whose stages they are.
        decay: The factor; 1: the same rate for all.
    """
    if decay == 1:
        return partial
    depth_of = {id(p): depth for depth, stage in enumerate(reversed(stages(network))) for p in stage}

    @wraps(partial)
    def optimizer(groups: Sequence[dict[str, Any]], **options: Any) -> Optimizer:
        whole = partial(groups, **options)
        lr = whole.defaults["lr"]
        split = [
            group | {"name": f"{group['name']}_{depth}", "params": members, "lr": lr * decay**depth}
            for group in groups
            for depth in range(max(depth_of.values()) + 1)
            if (members := [p for p in group["params"] if depth_of[id(p)] == depth])
        ]
        return partial(split, **options)

    return optimizer
