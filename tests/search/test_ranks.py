"""Two ranks on a CPU inside a sweep: the same trials and values as one process."""

import json
import re
from pathlib import Path

import pytest
import train
from torch import Tensor, nn

from dark_halo_scope.configuration import CONFIGS
from dark_halo_scope.run import run
from tests.runs import TINY, composed
from tests.search.searches import Forked, trials

SHORT = ["experiment=lens_small_cnn", "trainer.max_epochs=1", "data.batch_size=16", "logger=none"]
SHORT += ["trainer.limit_train_batches=4", "transforms/augment=none", f"model._target_={__name__}.WithoutBatchNorm"]
RATES = (1e-3, 3e-2)
BY_ROUNDING = 1e-5  # gradients are added up in another order


class WithoutBatchNorm(nn.Module):
    """Batch norm sees the stamps of its rank only; to this network it is all one where a stamp is."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, kernel_size=8, stride=8)
        self.head = nn.Linear(8, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to logits (B,)."""
        return self.head(self.features(images).relu().mean(dim=(2, 3))).squeeze(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def alone(folder: Path) -> list[float]:
    """The validation loss that one process, this one, reaches with each of two learning rates."""
    losses = []
    for rate in RATES:
        run_dir = folder / f"alone-{rate}"
        run_dir.mkdir()
        paths = [f"paths.data_dir={folder}/data", f"paths.run_dir={run_dir}"]
        run(composed(*TINY, *paths, *SHORT, f"optimizer.lr={rate}"))
        losses.append(loss(run_dir))
    assert abs(losses[1] - losses[0]) > 100 * BY_ROUNDING
    return losses


def loss(run_dir: Path) -> float:
    (value,) = json.loads((run_dir / "history.json").read_text())["metrics"]["val/loss"]["values"]
    return value[2]


def swept(folder: Path, *overrides: str) -> None:
    paths = [f"paths.data_dir={folder}/data", f"paths.log_dir={folder}/logs"]
    words = ["-m", f"--config-path={CONFIGS}", *TINY, *paths, *SHORT, "hardware.devices=2", *overrides]
    code, said = Forked(train.main, words, folder / "sweep.log").end()
    assert code == 0, said


@pytest.mark.slow
def test_a_plain_sweep_over_ranks(folder: Path, alone: list[float]):
    swept(folder, f"hydra.sweep.dir={folder}/ranks", f"optimizer.lr={','.join(map(str, RATES))}")
    assert [loss(folder / "ranks" / name) for name in ("0", "1")] == pytest.approx(alone, abs=BY_ROUNDING)
    assert not [*folder.glob("ranks/*/multirun*")]  # no rank began a sweep of its own


@pytest.mark.slow
def test_a_search_over_ranks_gives_its_trial_a_process_of_its_own(folder: Path, alone: list[float]):
    search = ["hparams_search=optuna", "hparams_search/sampler=grid", "search_space=none", "search.name=ranks"]
    search += ["search.repeat.best=0", "monitor.metric=val/loss", "monitor.mode=min", "hparams_search/pruner=none"]
    swept(folder, *search, f"optimizer.lr=choice({','.join(map(str, RATES))})")
    kept = folder / "logs" / "search" / "ranks"
    found = trials(f"sqlite:///{kept}/study.db", "ranks")
    assert [trial.state.name for trial in found] == ["COMPLETE", "COMPLETE"]
    assert [trial.params["optimizer.lr"] for trial in found] == list(RATES)
    assert [trial.value for trial in found] == pytest.approx(alone, abs=BY_ROUNDING)
    assert json.loads((kept / "trial-0" / "outcome.json").read_text())["state"] == "complete"
    assert re.match(r"\d\d:\d\d:\d\d INFO", (kept / "trial-0" / "run.log").read_text())
