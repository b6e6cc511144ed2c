"""Memory for batches, used again and again."""

import math
import weakref
from collections import defaultdict, deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class BatchMemory:
    """Lends memory to batches, and again once no tensor or array refers to it any more.

    Fresh memory would cost a page fault for every 4 kB, a fifth of the time in which a batch is gathered from a mapped
    store. Page-locked memory comes from torch's caching allocator, which also waits for the copies to a GPU that were
    started from it; those from any other memory are over when they return.

    Args:
        pin: Whether to lend page-locked memory, from which a GPU copies without waiting.
    """

    def __init__(self, *, pin: bool) -> None:
        self._pin = pin
        self._free: defaultdict[str, deque[NDArray[np.uint8]]] = defaultdict(deque)

    def empty(self, field: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        """A tensor of undefined content for a field of a batch."""
        if self._pin:
            return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype, pin_memory=True)
        n_bytes = math.prod(shape) * dtype.itemsize
        free = self._free[field]
        memory = free.popleft() if free else None
        if memory is None or memory.nbytes < n_bytes:
            memory = torch.empty(n_bytes, dtype=torch.uint8).numpy()
        lent = memory[:n_bytes].view(dtype).reshape(shape)
        # Torch keeps `lent` as long as there is a tensor of its memory, which must not keep what else is free.
        weakref.finalize(lent, _give_back, memory, weakref.ref(free))
        return torch.from_numpy(lent)


def _give_back(memory: NDArray[np.uint8], free: weakref.ref[deque[NDArray[np.uint8]]]) -> None:
    """Put memory with what is free, if that is still lent from."""
    if (lender := free()) is not None:
        lender.append(memory)
