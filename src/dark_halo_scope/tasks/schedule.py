"""The learning rate over a training: linear warmup, then a cosine down to a floor (Loshchilov & Hutter 2017, eq. 5)."""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class ScheduleError(ValueError):
    """A schedule that does not fit into the training it is meant for."""


def warmup_cosine(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    warmup_epochs: float = 1.0,
    warmup_steps: int | None = None,
    floor_lr: float = 1e-6,
) -> LambdaLR:
    """Build a scheduler that is stepped after every optimiser step.

    Args:
        optimizer: its parameter groups keep their own peak learning rates; all end at the same floor.
        total_steps: optimiser steps of the whole training.
        steps_per_epoch: optimiser steps of one epoch.
        warmup_epochs: length of the warmup, may be a fraction.
        warmup_steps: length of the warmup in optimiser steps; takes the place of `warmup_epochs`.
        floor_lr: learning rate at the end.

    Raises:
        ScheduleError: when the warmup is longer than the training, or the floor above a peak.
    """
    warmup = round(warmup_epochs * steps_per_epoch) if warmup_steps is None else warmup_steps
    if not 0 <= warmup <= total_steps:
        raise ScheduleError(
            f"a warmup of {warmup} optimiser steps does not fit into a training of {total_steps}: lower "
            "scheduler.warmup_epochs or scheduler.warmup_steps, or raise trainer.max_epochs"
        )
    peaks = [group["lr"] for group in optimizer.param_groups]
    if floor_lr > min(peaks):
        raise ScheduleError(
            f"scheduler.floor_lr={floor_lr:g} is above optimizer.lr={min(peaks):g}: lower the floor or raise the rate"
        )
    return LambdaLR(optimizer, [_factor(total_steps, warmup, floor_lr / peak) for peak in peaks])


def _factor(total_steps: int, warmup: int, floor: float) -> Callable[[int], float]:
    """The learning rate over its peak, as a function of the number of steps done."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, total_steps - warmup)
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return factor
