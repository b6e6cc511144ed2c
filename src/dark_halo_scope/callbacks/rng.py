"""The random state of a process, in a form that ``torch.load(weights_only=True)`` reads back."""

import random
from typing import Any

import numpy as np
import torch
from torch import distributed


def rng_state() -> dict[str, Any]:
    """State of the generators of Python, NumPy, torch and this process's GPU (None without one)."""
    version, internal, gauss = random.getstate()
    legacy = dict(np.random.get_state(legacy=False))  # noqa: NPY002  the global generator that libraries use
    twister = dict(legacy["state"])
    return {
        "python": [version, list(internal), gauss],
        "numpy": legacy | {"state": twister | {"key": torch.from_numpy(twister["key"].astype(np.int64))}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Inverse of `rng_state`; a GPU's state is left out where there is no GPU."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    twister = state["numpy"]["state"]
    key = twister["key"].numpy().astype(np.uint32)
    np.random.set_state(state["numpy"] | {"state": twister | {"key": key}})  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def gather_over_ranks(value: Any) -> list[Any]:
    """``value`` of every rank, in the order of ranks; every rank must call it."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values
