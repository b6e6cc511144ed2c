"""Two ranks on a CPU inside a sweep: the same trials and values as one process."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.runs import train
from tests.search.searches import trials

SHORT = ["experiment=lens_small_cnn", "trainer.max_epochs=1", "data.batch_size=16", "logger=none"]
SHORT += ["trainer.limit_train_batches=4", "transforms/augment=none"]
LRS = "optimizer.lr=1e-4,3e-3"
BY_BATCH_NORM = 1e-3  # it sees the stamps of its rank only: half the batch


def values(folder: Path, pattern: str) -> dict[str, float]:
    """Validation loss of each job, by the name of its folder."""
    found = {}
    for history in sorted(folder.glob(pattern)):
        (value,) = json.loads(history.read_text())["metrics"]["val/loss"]["values"]
        found[history.parent.name] = value[2]
    return found


def swept(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    done = train(folder, *SHORT, *overrides, "-m")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, float]:
    """What one process makes of two learning rates."""
    swept(folder, f"hydra.sweep.dir={folder}/alone", LRS)
    found = values(folder, "alone/*/history.json")
    assert list(found) == ["0", "1"]
    assert found["1"] - found["0"] > 10 * BY_BATCH_NORM
    return found


def test_a_plain_sweep_over_ranks(folder: Path, alone: dict[str, float]):
    swept(folder, f"hydra.sweep.dir={folder}/ranks", LRS, "hardware.devices=2")
    assert values(folder, "ranks/*/history.json") == pytest.approx(alone, abs=BY_BATCH_NORM)
    assert not [*folder.glob("ranks/*/multirun*")]  # no rank began a sweep of its own


def test_a_search_over_ranks(folder: Path, alone: dict[str, float]):
    search = ["hparams_search=optuna", "hparams_search/sampler=grid", "search_space=none", LRS, "search.name=ranks"]
    search += ["search.repeat.best=0", "monitor.metric=val/loss", "monitor.mode=min", "hparams_search/pruner=none"]
    swept(folder, *search, "hardware.devices=2")
    found = trials(f"sqlite:///{folder}/logs/search/ranks/study.db", "ranks")
    assert [t.state.name for t in found] == ["COMPLETE"] * 2
    assert [t.params["optimizer.lr"] for t in found] == [1e-4, 3e-3]
    assert [t.value for t in found] == pytest.approx(list(alone.values()), abs=BY_BATCH_NORM)
