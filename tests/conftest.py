"""Shared by all tests: one thread for tiny models, torchvision beside any torch, nothing that leaves the machine."""

import os

import dark_halo_scope.torchvision_ops  # noqa: F401

import pytest
import torch

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
torch.set_num_threads(1)

LONGEST = ("test_train.py", "test_workers.py", "test_configs.py", "test_sweep.py", "test_review.py", "test_score.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no core idles at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
