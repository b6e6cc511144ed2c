"""How much of a device's arithmetic a training step uses: counted operations against a measured matrix product."""

import copy
import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dark_halo_scope.stamps.contract import STAMP_SHAPE

MATMUL_DTYPE = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16, "32-true": torch.float32}
_MATMUL_SIZE = {"cuda": 8192, "cpu": 1024}
_MATMUL_ROUNDS = 10
_BATCH = 2  # the least that batch norm takes; operations grow in proportion


def flop_per_stamp(network: nn.Module) -> float:
    """Floating-point operations of a forward and backward pass, counted operator by operator.

    A multiplication and an addition are two. The gradient with respect to the pixels is not computed, nor counted.
    """
    trained = copy.deepcopy(network).train()
    with FlopCounterMode(display=False) as counter:
        trained(torch.zeros(_BATCH, *STAMP_SHAPE)).sum().backward()
    return counter.get_total_flops() / _BATCH


def matmul_flop_per_s(device: torch.device, precision: str) -> float:
    """Measured rate of a large square matrix product in the precision that convolutions run in; median of ten."""
    size = _MATMUL_SIZE[device.type]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32  # else float32 means another thing there
    a, b = (torch.randn(size, size, device=device, dtype=MATMUL_DTYPE[precision]) for _ in range(2))
    seconds = []
    for _ in range(_MATMUL_ROUNDS + 1):
        start = now(device)
        a @ b
        seconds.append(now(device) - start)
    return 2 * size**3 / statistics.median(seconds[1:])


def now(device: torch.device) -> float:
    """Seconds, when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
