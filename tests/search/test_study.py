"""Workers on real studies, with objectives of a moment: samplers, pruners, failures, several objectives."""

import math
import threading
from pathlib import Path

import optuna
import pytest
from hydra.utils import instantiate

from dark_halo_scope.configuration import CONFIGS
from dark_halo_scope.search.errors import SearchError
from dark_halo_scope.search.outcome import Outcome
from dark_halo_scope.search.repeats import plan_repeats, repeated
from dark_halo_scope.search.settings import read_settings
from dark_halo_scope.search.space import read_space
from dark_halo_scope.search.storage import load_study
from dark_halo_scope.search.sweep import open_study
from dark_halo_scope.search.tally import Tally, tally
from dark_halo_scope.search.worker import Worker, seeded
from tests.search.searches import job_config, sqlite

SPACE = {"optimizer.lr": "tag(log, interval(1e-5, 1e-1))", "model.dropout": "interval(0, 0.5)"}
SAMPLERS = sorted(file.stem for file in (CONFIGS / "hparams_search" / "sampler").glob("*.yaml"))
PRUNERS = sorted(file.stem for file in (CONFIGS / "hparams_search" / "pruner").glob("*.yaml"))


def good(number: int, words: list[str]) -> Outcome:
    lr, dropout = (float(word.split("=")[1]) for word in words)
    return Outcome("complete", [1 - abs(math.log10(lr) + 3) / 10 - dropout])


def make_worker(folder: Path, *overrides: str, launch=good, n_trials: int = 6) -> Worker:
    cfg = job_config(folder, *overrides)
    settings, space = read_settings(cfg), read_space(SPACE, [])
    sampler = seeded(instantiate(cfg.search.sampler, _partial_=True), settings.seed) if cfg.search.sampler else None
    study = open_study(settings, cfg, space, [])
    return Worker(settings, study, lambda trial: space.overrides(space.draw(trial)), launch, sampler, n_trials)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "grid"])
def test_two_workers_draw_nothing_twice(sampler: str, tmp_path: Path):
    give = [
        f"hparams_search/sampler={sampler}",
        *(["search.sampler.n_startup_trials=3"] * (sampler in ("tpe", "gp", "cmaes"))),
    ]
    workers = [make_worker(tmp_path, *give) for _ in range(2)]
    threads = [threading.Thread(target=worker.work) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials = workers[0].study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    assert len({trial.params["optimizer.lr"] for trial in trials}) == 6


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe"])
def test_a_search_in_two_goes_draws_what_one_go_draws(sampler: str, tmp_path: Path):
    give = [f"hparams_search/sampler={sampler}"]
    make_worker(tmp_path / "once", *give).work()
    make_worker(tmp_path / "twice", *give, n_trials=2).work()
    make_worker(tmp_path / "twice", *give).work()
    once, twice = (load_study(sqlite(tmp_path / name), "s").trials for name in ("once", "twice"))
    assert [trial.params for trial in once] == [trial.params for trial in twice]


@pytest.mark.parametrize("pruner", PRUNERS)
def test_pruners(pruner: str, tmp_path: Path):
    """Trials of which one in two is hopeless: each pruner stops some of those and none of the others."""

    def course(number: int, words: list[str]) -> Outcome:
        level = 0.9 + number / 1000 if number % 2 == 0 else 0.5 - number / 1000
        trial = optuna.Trial(worker.study, worker.study.trials[number]._trial_id)
        for step in range(1, 8):
            trial.report(level - step / 1000, step)
            if trial.should_prune():
                return Outcome("pruned")
        return Outcome("complete", [level])

    worker = make_worker(tmp_path, f"hparams_search/pruner={pruner}", launch=course, n_trials=14)
    worker.study = optuna.create_study(direction="maximize", pruner=worker.study.pruner)  # in memory: faster
    worker.work()
    stopped = [trial.number for trial in worker.study.trials if trial.state.name == "PRUNED"]
    assert bool(stopped) == (pruner != "none")
    if pruner != "hyperband":  # which halves whatever is in a bracket
        assert all(number % 2 for number in stopped)


def test_failed_and_diverged_trials_are_told_apart_and_the_total_holds(tmp_path: Path):
    def launch(number: int, words: list[str]) -> Outcome:
        if number == 1:
            return Outcome("failed", error="CUDA out of memory")
        return Outcome("diverged", error="the loss is NaN") if number == 2 else good(number, words)

    worker = make_worker(tmp_path, launch=launch)
    worker.work()
    trials = worker.study.trials
    assert tally(trials) == Tally(complete=5, diverged=1, failed=1)
    assert trials[1].user_attrs["outcome"] == "failed"
    assert trials[1].user_attrs["error"] == "CUDA out of memory"
    assert trials[2].user_attrs["outcome"] == "diverged"
    assert trials[2].state.name == "PRUNED"  # so that the sampler stays away from there


def test_the_failure_budget_stops_the_search_and_stays_spent(tmp_path: Path):
    def launch(number: int, words: list[str]) -> Outcome:
        return Outcome("failed", error="no such file: stamps.parquet")

    for n_failed in (3, 3):
        with pytest.raises(SearchError, match=r"no such file: stamps.parquet"):
            make_worker(tmp_path, "search.max_failures=2", launch=launch).work()
        assert tally(load_study(sqlite(tmp_path), "s").trials).failed == n_failed
    make_worker(tmp_path, "search.max_failures=3").work()
    assert tally(load_study(sqlite(tmp_path), "s").trials) == Tally(complete=6, failed=3)


def test_a_spent_budget_ends_each_worker_in_a_sentence_and_fails_no_trial(tmp_path: Path):
    no_room = Outcome("refused", error="the budget of $1.00 leaves no room for another run; raise the cap")

    def launch(number: int, words: list[str]) -> Outcome:
        return good(number, words) if number < 2 else no_room

    sentence = r"s stops with 2 of 6 trials done: the budget .* raise the cap; so changed, the same command goes on"
    for n_refused in (1, 2):
        worker = make_worker(tmp_path, "search.max_failures=0", launch=launch)
        with pytest.raises(SearchError, match=sentence):
            worker.work()
        assert tally(worker.study.trials) == Tally(complete=2, retried=n_refused, waiting=1)
    worker = make_worker(tmp_path, "search.max_failures=0")
    worker.work()
    trials = worker.study.trials
    assert tally(trials) == Tally(complete=6, retried=2)
    assert trials[2].params == trials[3].params == trials[4].params
    assert [trial.user_attrs["outcome"] for trial in trials[2:5]] == ["refused", "refused", "complete"]


def test_several_objectives_and_a_trial_that_diverges(tmp_path: Path):
    def launch(number: int, words: list[str]) -> Outcome:
        if number == 3:
            return Outcome("diverged", error="the loss is NaN")
        return Outcome("complete", [number, -number])

    worker = make_worker(tmp_path, "hparams_search=two_objectives", launch=launch)
    worker.work()
    assert tally(worker.study.trials) == Tally(complete=5, diverged=1)
    assert len(worker.study.best_trials) == 5


def test_a_study_of_another_space_is_not_gone_on_with(tmp_path: Path):
    cfg = job_config(tmp_path)
    settings = read_settings(cfg)
    open_study(settings, cfg, read_space(SPACE, []), ["experiment=lens_resnet18", "hardware=cpu"])
    open_study(settings, cfg, read_space(SPACE, []), ["hardware=h100_bf16", "experiment=lens_resnet18"])
    for space, fixed in (
        (SPACE, ["experiment=lens_resnet34"]),
        ({"model.dropout": "0.1,0.2"}, ["experiment=lens_resnet18"]),
    ):
        with pytest.raises(SearchError, match="the study s was begun with other"):
            open_study(settings, cfg, read_space(space, []), fixed)


def test_the_best_are_repeated_with_other_seeds_and_the_mean_decides(tmp_path: Path):
    worker = make_worker(tmp_path, "search.repeat.best=2", "search.repeat.seeds=3")
    worker.work()
    ranked = sorted(worker.study.trials, key=lambda trial: trial.value, reverse=True)
    for _ in range(2):  # planned once, whoever asks
        repeats = plan_repeats(worker.settings, worker.study)
        planned = [trial.system_attrs["fixed_params"] for trial in repeats.trials]
        assert [plan["trial"] for plan in planned] == [ranked[0].number] * 3 + [ranked[1].number] * 3
        assert len({plan["seed"] for plan in planned}) == 3

    def overrides(trial: optuna.Trial) -> list[str]:
        return [str(trial.suggest_int("trial", 0, 2**31 - 1)), str(trial.suggest_int("seed", 0, 2**31 - 1))]

    def lucky_once(number: int, words: list[str]) -> Outcome:
        return Outcome("complete", [0.1 if int(words[0]) == ranked[0].number else 0.2])

    Worker(worker.settings, repeats, overrides, lucky_once, None, 6).work()
    first, second = repeated(worker.study, repeats)
    assert (first.trial, first.mean, first.spread) == (ranked[1].number, pytest.approx(0.2), pytest.approx(0))
    assert second.first == ranked[0].value


def test_a_server_that_cannot_be_reached_is_not_taken_for_a_study_that_has_not_begun(tmp_path: Path):
    cfg = job_config(tmp_path, "search.storage=postgresql://me:s3cret@127.0.0.1:1/lenses")
    settings = read_settings(cfg)
    sentence = r"me:\*\*\*@127.0.0.1:1/lenses cannot be reached: .*Connection refused"
    with pytest.raises(SearchError, match=sentence):
        load_study(settings.storage, "s")
    with pytest.raises(SearchError, match=sentence):
        open_study(settings, cfg, read_space(SPACE, []), [])


def test_a_study_that_is_loaded_without_a_pruner_prunes_nothing(tmp_path: Path):
    """Optuna's own default would be its median pruner."""
    cfg = job_config(tmp_path, "hparams_search/pruner=none")
    settings = read_settings(cfg)
    open_study(settings, cfg, read_space(SPACE, []), [])
    study = load_study(settings.storage, "s", instantiate(cfg.search.pruner))
    assert isinstance(study.pruner, optuna.pruners.NopPruner)


def test_a_grid_too_large_for_the_total_is_refused(tmp_path: Path):
    from dark_halo_scope.search.sweep import _plan_grid

    cfg = job_config(tmp_path, "search.n_trials=3")
    settings, space = read_settings(cfg), read_space({"optimizer.lr": "1e-4,1e-3", "seed": "1,2"}, [])
    with pytest.raises(SearchError, match=r"the grid has 4 points: set search.n_trials=4"):
        _plan_grid(settings, open_study(settings, cfg, space, []), space)
