"""From `python train.py -m hparams_search=...` to a finished study: the search itself, then its best trials again."""

import logging
from collections.abc import Sequence
from pathlib import Path

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.study import Study
from optuna.trial import Trial

from dark_halo_scope.files import write_atomically
from dark_halo_scope.search.errors import SearchError
from dark_halo_scope.search.outcome import Outcome, outcome_of
from dark_halo_scope.search.recommend import recommend
from dark_halo_scope.search.repeats import plan_repeats, repeats_name
from dark_halo_scope.search.settings import Settings, check_space, read_settings
from dark_halo_scope.search.space import Space, belongs, first_point, key_of, read_space
from dark_halo_scope.search.storage import open_storage, turn
from dark_halo_scope.search.tally import READY
from dark_halo_scope.search.worker import Launch, Worker, seeded

log = logging.getLogger(__name__)

# keys that may differ between the workers of one search, or from one day to the next
OF_THE_MACHINE = ("paths", "hardware", "logger", "search", "hparams_search/sampler", "hydra", "callbacks.budget")


def sweep(config: DictConfig, loader: ConfigLoader, launcher: Launcher, command_line: Sequence[str]) -> None:
    """Work on the search that `config` describes until it is finished; then say what to train with.

    Several processes may do so at once; the same command given again goes on with what is left, or finds nothing to do.

    Args:
        config: the composed config with its node `hydra`.
        loader: composes a trial's config, to try it.
        launcher: Hydra's; runs a trial.
        command_line: the overrides of the user.
    """
    optuna.logging.disable_default_handler()  # the workers tell the same in fewer words
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def compose(words: Sequence[str]) -> DictConfig:
        return loader.load_configuration(str(config.hydra.job.config_name), list(words), RunMode.RUN)

    settings = read_settings(config)
    space = read_space(config.search.get("space") or {}, command_line)
    check_space(settings, space)
    names = {parameter.name for parameter in space.parameters}
    fixed = [word for word in command_line if key_of(word) not in names]
    first = [*fixed, *space.overrides(settings.tied(first_point(space)))]
    compose(first)  # an unknown key is refused here, not in every trial
    keep_command(settings.folder, [*command_line, *_of_hydra(config)])

    study = open_study(settings, config, space, fixed)
    _search(settings, config, study, space, launcher, fixed)
    if settings.repeat_best:
        _repeat(settings, study, launcher)
    for recommendation in recommend(study):
        recommendation.verify(compose)
        log.info("%s", recommendation)


def open_study(settings: Settings, config: DictConfig, space: Space, fixed: Sequence[str]) -> Study:
    """Open the study, or create it with what makes it this search and no other.

    Raises:
        SearchError: the name belongs to another search.
    """
    meant = {
        "space": {p.name: p.text for p in space.parameters},
        "conditions": {p.name: {key: list(values) for key, values in p.when.items()} for p in space.parameters},
        "objectives": [list(objective) for objective in settings.objectives],
        "overrides": sorted(word for word in fixed if not belongs(word, OF_THE_MACHINE)),
        "lr_scaling": [settings.lr_rule, settings.lr_at_batch_size],
    }
    with turn(settings.storage):
        study = optuna.create_study(
            study_name=settings.name,
            storage=open_storage(settings.storage, settings.heartbeat_s, settings.grace_s),
            directions=settings.directions,
            pruner=instantiate(config.search.pruner) or optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        if "search" not in study.user_attrs:
            study.set_user_attr("search", meant)
            study.set_metric_names([metric for metric, _ in settings.objectives])
    if changed := [key for key, value in meant.items() if study.user_attrs["search"].get(key) != value]:
        was, now = (of[changed[0]] for of in (study.user_attrs["search"], meant))
        raise SearchError(
            f"the study {settings.name} was begun with other {', '.join(changed)} ({was}, now {now}): go on with the "
            "command it was begun with, or begin another with search.name="
        )
    return study


def _of_hydra(config: DictConfig) -> list[str]:
    """The overrides of the user that Hydra keeps for itself: a launcher and its settings, for example."""
    return [word for word in config.hydra.overrides.hydra if key_of(word) != "hydra.mode"]


def keep_command(folder: Path, command_line: Sequence[str]) -> None:
    """Leave the overrides in the search's folder, so that `sweep.py --resume FOLDER` needs nothing else."""
    write_atomically(folder / "search.yaml", OmegaConf.to_yaml({"overrides": list(command_line)}).encode())


def _search(
    settings: Settings, config: DictConfig, study: Study, space: Space, launcher: Launcher, fixed: Sequence[str]
) -> None:
    make_sampler, n_trials = None, settings.n_trials
    if settings.is_grid:
        n_trials = _plan_grid(settings, study, space)
    else:
        make_sampler = seeded(instantiate(config.search.sampler, _partial_=True), settings.seed)

    def overrides(trial: Trial) -> list[str]:
        return [*fixed, *space.overrides(settings.tied(space.draw(trial)))]

    worker = Worker(settings, study, overrides, _launch(launcher, []), make_sampler, n_trials)
    log.info("search %s: %d trials in %s", settings.name, n_trials, settings.folder)
    worker.work()


def _plan_grid(settings: Settings, study: Study, space: Space) -> int:
    """Put every point of the grid into the study, once."""
    points = space.grid()
    if len(points) > settings.n_trials:
        raise SearchError(
            f"the grid has {len(points)} points: set search.n_trials={len(points)}, or give fewer choices"
        )
    with turn(settings.storage):
        if not study.get_trials(deepcopy=False):
            for point in points:
                study.enqueue_trial(point)
    return len(points)


def _repeat(settings: Settings, study: Study, launcher: Launcher) -> None:
    """Train the best trials again with other seeds, in a study of their own."""
    repeats = plan_repeats(settings, study)

    def overrides(trial: Trial) -> list[str]:
        number, seed = (trial.suggest_int(name, 0, 2**31 - 1) for name in ("trial", "seed"))
        return [*study.trials[number].user_attrs[READY], f"seed={seed}"]

    aside = [f"search.study={repeats_name(settings.name)}", "search.pruner=null"]
    planned = len(repeats.get_trials(deepcopy=False))
    log.info("repeats of the best of %s: %d trainings with other seeds", settings.name, planned)
    launch = _launch(launcher, [*aside, "hydra.sweep.subdir=repeat-${hydra.job.num}"])
    Worker(settings, repeats, overrides, launch, None, planned).work()


def _launch(launcher: Launcher, aside: Sequence[str]) -> Launch:
    """One call of Hydra's launcher a trial: whatever runs it, its end comes back as the job's return value."""

    def launch(number: int, overrides: list[str]) -> Outcome:
        (job,) = launcher.launch([[*overrides, f"search.trial={number}", *aside]], initial_job_idx=number)
        return outcome_of(job)

    return launch
