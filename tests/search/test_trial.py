"""A trial in this process, with a real training: how it ends is told apart."""

from pathlib import Path

import pytest

from dark_halo_scope.search.errors import SearchError
from dark_halo_scope.search.settings import read_settings
from dark_halo_scope.search.space import read_space
from dark_halo_scope.search.sweep import open_study
from dark_halo_scope.search.trial import run_trial
from tests.runs import TINY, composed


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def outcome(data: Path, folder: Path, *overrides: str) -> dict:
    run = ["experiment=lens_small_cnn", "logger=none", "debug=one_batch", f"paths.run_dir={folder}/run"]
    search = ["hparams_search=optuna", "search_space=none", "search.trial=0", "search.process=same", "search.name=s"]
    cfg = composed(*TINY, *run, *search, f"paths.data_dir={data}", f"paths.log_dir={folder}", *overrides)
    open_study(read_settings(cfg), cfg, read_space({"optimizer.lr": "1e-4,1e-3"}, []), []).ask()
    (folder / "run").mkdir()
    return run_trial(cfg)


def test_a_loss_that_is_not_a_number_is_a_trial_that_diverged(data: Path, tmp_path: Path):
    give = ["optimizer.lr=1e30", "trainer.limit_train_batches=3", "trainer.gradient_clip_val=null"]
    told = outcome(data, tmp_path, *give)
    assert told["state"] == "diverged"
    assert "the training loss became NaN" in told["error"]


def test_a_spent_budget_refuses_a_trial_and_does_not_fail_it(data: Path, tmp_path: Path):
    give = ["callbacks=[default,budget]", "callbacks.budget.max_hours=1e-6", "trainer.min_epochs=null"]
    told = outcome(data, tmp_path, *give)
    assert told["state"] == "refused"
    assert "leaves no room for another run" in told["error"]


def test_what_cannot_be_trained_is_a_trial_that_failed(data: Path, tmp_path: Path):
    told = outcome(data, tmp_path, "monitor.metric=val/nonsense")
    assert told == {"state": "failed", "values": [], "error": told["error"]}
    assert "monitor.metric=val/nonsense is not measured" in told["error"]


def test_a_wrong_word_for_the_process_is_refused(data: Path, tmp_path: Path):
    with pytest.raises(SearchError, match=r"search\.process=mine: choose auto, own or same"):
        outcome(data, tmp_path, "search.process=mine")
