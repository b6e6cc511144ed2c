"""Shared by all tests: one thread for tiny models, torchvision beside any torch, nothing that leaves the machine."""

import os
import resource
import signal
from collections.abc import Iterator

import dark_halo_scope.torchvision_ops  # noqa: F401

import pytest
import torch

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell that starts the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # processes that tests start are interrupted by it

LONGEST = ("test_train.py", "test_workers.py", "test_configs.py", "test_sweep.py", "test_review.py", "test_score.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no core idles at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Draw the same weights for fixtures, whatever ran before."""
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Draw the same weights in a test, alone or after others."""
    torch.manual_seed(0)


@pytest.fixture
def files_end_at_one_mebibyte() -> Iterator[None]:
    """The kernel refuses to let a file grow on, as a full disk does."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)
