"""A search on terminals of several sizes."""

import io
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from dark_halo_scope.search.progress import elided, headline, short
from dark_halo_scope.search.repeats import repeats_name
from dark_halo_scope.search.screen import screen
from dark_halo_scope.search.settings import read_settings
from tests.search.searches import job_config

MODELS = CategoricalDistribution(["small_cnn", "resnet18_imagenet_stem"])
SPACE = {"optimizer.lr": FloatDistribution(1e-5, 1e-1, log=True), "model": MODELS}
SPACE |= {"scheduler.warmup_epochs": FloatDistribution(0, 2), "task.label_smoothing": FloatDistribution(0, 0.1)}
PARAMETERS = {"optimizer.lr": 8.464e-5, "model": "resnet18_imagenet_stem"}
PARAMETERS |= {"scheduler.warmup_epochs": 0.5, "task.label_smoothing": 0.05}


def trial(state: TrialState, epoch: int, value: float | None, **attributes: str) -> FrozenTrial:
    made = optuna.create_trial(
        state=state,
        value=value,
        params=PARAMETERS,
        distributions=SPACE,
        user_attrs={"epoch": epoch, "max_epochs": 12, **attributes},
        intermediate_values={k: 0.5 + k / 100 for k in range(1, epoch + 1)},
    )
    made.datetime_start = datetime.now() - timedelta(minutes=5)
    return made


@pytest.fixture
def study() -> optuna.Study:
    study = optuna.create_study(study_name="s", direction="maximize")
    study.set_metric_names(["val/auroc"])
    for k in range(20):
        study.add_trial(trial(TrialState.COMPLETE, 12, 0.9 - abs(k - 3) / 100))
    study.add_trial(trial(TrialState.PRUNED, 4, 0.6, outcome="pruned"))
    study.add_trial(trial(TrialState.FAIL, 1, None, outcome="failed", error="CUDA out of memory [GPU 0]\nmore"))
    study.add_trial(trial(TrialState.RUNNING, 5, None))
    return study


def shown(study: optuna.Study, folder: Path, width: int, height: int | None, *more: optuna.Study) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    settings = read_settings(job_config(folder, "search.n_trials=30"))
    console.print(screen(settings, [study, *more], width, height))
    return console.file.getvalue().splitlines()


def trials_of(lines: list[str]) -> list[str]:
    """The lines of the table that are a trial each."""
    return [line for line in lines if line.startswith(" ") and line.strip(" *")[:1].isdigit()]


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_table_fits_its_window_and_cuts_no_number(study: optuna.Study, tmp_path: Path, width: int):
    lines = shown(study, tmp_path, width, None)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "21 of 30" in text
    assert "1 pruned (5%), 1 failed, 1 running" in text
    assert "best 0.90000 (trial 3): lr=8.46e-5 model=resnet18_imagenet_stem" in " ".join(text.split())
    assert "trial 21 failed: CUDA out of memory [GPU 0]" in text
    rows = trials_of(lines)
    assert len(rows) == 23
    assert [line.strip(" *").split()[1] for line in rows] == ["complete"] * 20 + ["pruned", "failed", "running"]
    assert all("0.8" in line or "0.9" in line for line in rows[:10])
    assert all("8.46e-5" in line for line in rows)
    left_out = [name for name in ("model", "warmup_epochs", "label_smoothing") if f"shows {name}" in text]
    assert bool(left_out) == (width < 100)


def test_what_runs_and_the_best_stay_where_there_is_little_room(study: optuna.Study, tmp_path: Path):
    lines = shown(study, tmp_path, 100, 14)
    assert len(lines) <= 14
    rows = trials_of(lines)
    assert rows[0].startswith("   * 3")
    assert "running" in rows[-1]
    assert "min" in rows[-1]  # to its last epoch


def test_a_search_that_goes_on_after_its_repeats_shows_its_own_trials_again(study: optuna.Study, tmp_path: Path):
    repeats = optuna.create_study(study_name=repeats_name("s"), direction="maximize")
    repeats.add_trial(optuna.create_trial(value=0.9))
    assert len(trials_of(shown(study, tmp_path, 100, None, repeats))) == 24
    assert "running" in trials_of(shown(study, tmp_path, 100, 16, repeats))[-1]
    study.tell(22, 0.8)
    (row,) = trials_of(shown(study, tmp_path, 100, 16, repeats))
    assert "complete" in row


def test_a_search_is_shown_before_its_first_draw(tmp_path: Path):
    begun = optuna.create_study(study_name="s")
    begun.enqueue_trial({"optimizer.lr": 1e-3})
    (row,) = trials_of(shown(begun, tmp_path, 80, 24))
    assert "waiting" in row


def test_the_repeats_have_a_total_of_their_own(tmp_path: Path):
    settings = read_settings(job_config(tmp_path))
    repeats = optuna.create_study(study_name=repeats_name("s"), direction="maximize")
    for seed in range(4):
        repeats.enqueue_trial({"trial": 3, "seed": seed})
    repeats.tell(repeats.ask({"trial": FloatDistribution(0, 9), "seed": FloatDistribution(0, 9)}), 0.5)
    assert headline(settings, repeats) == "1 of 4 trials, 0 pruned (0%), 3 waiting, best 0.50000 (trial 0)"


def test_numbers_and_names_are_short():
    assert [short(value) for value in (3e-05, 0.000379, 0.0099, 0.1, 256, "d4", 0.0, -2e-4)] == [
        *("3e-5", "3.79e-4", "9.9e-3", "0.1", "256", "d4", "0", "-2e-4")
    ]
    assert elided("resnet18_imagenet_stem") == "resnet1…t_stem"
