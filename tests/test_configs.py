"""Every shipped config composes, and every experiment and debug config runs."""

import json
from pathlib import Path

import pytest

from dark_halo_scope.configuration import CONFIGS, choose_recipe
from dark_halo_scope.run import run
from tests.runs import TINY, composed

GROUPS = sorted(folder.name for folder in CONFIGS.iterdir() if folder.is_dir())
OPTIONS = [
    (group, file.stem) for group in GROUPS for file in sorted((CONFIGS / group).glob("*.yaml")) if group != "experiment"
]
EXPERIMENTS = [file.stem for file in sorted((CONFIGS / "experiment").glob("*.yaml"))]
FINDERS = [name for name in EXPERIMENTS if not name.endswith("_finetune")]  # those are run by tests/bases
SHORT = [*TINY, "data.batch_size=8", "data.eval_batch_size=16", "trainer.max_epochs=1"]
SHORT += [f"trainer.limit_{stage}_batches=1" for stage in ("train", "val", "test")]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny survey is simulated once for all runs."""
    return tmp_path_factory.mktemp("data")


def run_here(data_dir: Path, run_dir: Path, *overrides: str) -> dict:
    run_dir.mkdir()
    run(composed(f"paths.data_dir={data_dir}", f"paths.run_dir={run_dir}", *overrides))
    return json.loads((run_dir / "metrics.json").read_text())


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group: str, option: str):
    composed(f"{group}={option}")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_says_how_to_run_it(experiment: str):
    text = (CONFIGS / "experiment" / f"{experiment}.yaml").read_text()
    assert f"python train.py experiment={experiment}" in text


@pytest.mark.parametrize("experiment", FINDERS)
def test_every_experiment_of_a_finder_runs(experiment: str, data_dir: Path, tmp_path: Path):
    metrics = run_here(data_dir, tmp_path / "run", f"experiment={experiment}", *SHORT)
    assert metrics["samples"]["test"]["n_lenses"] > 0
    assert 0 < metrics["test"]["auroc"] < 1
    assert (tmp_path / "run" / "report.html").exists()


def test_debug_one_batch(data_dir: Path, tmp_path: Path):
    metrics = run_here(data_dir, tmp_path / "run", *TINY, "experiment=lens_small_cnn", "debug=one_batch")
    assert metrics["samples"]["val"]["n_lenses"] > 0


def test_debug_overfit_learns_two_batches_by_heart(data_dir: Path, tmp_path: Path):
    run_here(data_dir, tmp_path / "run", *TINY, "experiment=lens_small_cnn", "debug=overfit")
    history = json.loads((tmp_path / "run" / "history.json").read_text())["metrics"]
    assert history["train/loss"]["values"][0][2] > 0.5
    assert history["train/loss"]["values"][-1][2] < 0.1


def test_debug_profiler_leaves_a_table_and_a_trace(data_dir: Path, tmp_path: Path):
    run_here(data_dir, tmp_path / "run", *TINY, "experiment=lens_small_cnn", "debug=profiler")
    names = [file.name for file in (tmp_path / "run").iterdir()]
    assert any(name.startswith("fit-profile") and name.endswith(".txt") for name in names), names
    assert any(name.endswith(".pt.trace.json") for name in names), names


@pytest.mark.parametrize(("n_train", "recipe"), [(49_999, "minutes"), (50_000, "survey")])
def test_the_number_of_stamps_decides_the_recipe(n_train: int, recipe: str):
    cfg = composed("recipe.lr=0.5")
    choose_recipe(cfg, n_train)
    assert cfg.recipe.name == recipe
    assert cfg.recipe.lr == 0.5  # what was asked for stays
    assert cfg.data.batch_size == composed(f"recipe={recipe}").data.batch_size


def test_a_recipe_chosen_by_hand_stays():
    cfg = composed("recipe=survey")
    choose_recipe(cfg, 100)
    assert cfg.recipe.name == "survey"
