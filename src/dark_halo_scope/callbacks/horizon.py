"""How far a training goes, in optimiser steps."""

import math
from typing import Any


def total_steps(trainer: Any) -> int:
    """Steps that the configured epochs have, early stopping left out; call it when training has begun."""
    return int(trainer.estimated_stepping_batches)


def steps_per_validation(trainer: Any) -> int:
    """Steps between two validations; call it when training has begun."""
    if trainer.check_val_every_n_epoch is None or trainer.val_check_batch < trainer.num_training_batches:
        return max(1, int(trainer.val_check_batch) // trainer.accumulate_grad_batches)
    steps_per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    return steps_per_epoch * int(trainer.check_val_every_n_epoch)
