from pathlib import Path

import pytest

from tests.callbacks.tiny_run import TinyRun
from tests.stamps.datasets import write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """48 training, 24 validation and 24 test stamps."""
    return write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def run(dataset, tmp_path) -> TinyRun:
    return TinyRun(dataset, tmp_path / "run")


@pytest.fixture(scope="session")
def finished(dataset, tmp_path_factory) -> TinyRun:
    """A run of four epochs that nothing interrupted; not to be changed."""
    run = TinyRun(dataset, tmp_path_factory.mktemp("finished"))
    run.fit(run.standard_callbacks())
    return run
