"""The end of a search: the command that trains its best settings, tried by composing it."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.study import Study
from optuna.trial import FrozenTrial

from dark_halo_scope.search.errors import SearchError
from dark_halo_scope.search.repeats import Repeated, best, repeated, repeats_name
from dark_halo_scope.search.space import belongs
from dark_halo_scope.search.tally import READY

OF_THE_SEARCH = ("search", "search_space", "hparams_search")
Compose = Callable[[Sequence[str]], DictConfig]


@dataclass(frozen=True)
class Recommendation:
    """What to train with, and why."""

    trial: int
    metrics: tuple[str, ...]
    values: tuple[float, ...]  # of the trial
    launched: tuple[str, ...]  # overrides that the trial ran with
    seeds: Repeated | None = None

    @property
    def words(self) -> list[str]:
        """The trial's overrides without those of the search."""
        return [word for word in self.launched if not belongs(word, OF_THE_SEARCH)]

    @property
    def command(self) -> str:
        """To paste into a shell."""
        return shlex.join(["python", "train.py", *self.words])

    def __str__(self) -> str:
        reached = ", ".join(f"{m} {v:.5f}" for m, v in zip(self.metrics, self.values, strict=True))
        if self.seeds is not None:
            spread = "" if self.seeds.spread is None else f" +- {self.seeds.spread:.5f}"
            seeds = "one other seed" if self.seeds.spread is None else f"{len(self.seeds.values)} other seeds"
            reached += f"; with {seeds} {self.seeds.mean:.5f}{spread}"
        return f"recommended (trial {self.trial}: {reached}):\n  {self.command}"

    def verify(self, compose: Compose) -> None:
        """Compose the command and the trial it comes from.

        Raises:
            SearchError: they are not the same training.
        """
        ours, theirs = (_training(compose(words)) for words in (self.words, self.launched))
        if ours != theirs:
            differing = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
            raise SearchError(
                f"{self.command} composes to another training than trial {self.trial} was, in "
                f"{', '.join(sorted(map(str, differing)))}: the configs were changed since"
            )


def recommend(study: Study) -> list[Recommendation]:
    """The settings with the best mean over the repeated seeds, or the best trial; with several objectives the front."""
    if len(study.directions) > 1:
        return [_from(study, trial, None) for trial in study.best_trials]
    if repeats := repeats_of(study):
        winner = repeats[0]
        return [_from(study, study.get_trials(deepcopy=False)[winner.trial], winner)]
    return [_from(study, trial, None) for trial in best(study, 1)]


def repeats_of(study: Study) -> list[Repeated]:
    """What the repeats of a study say so far, best mean first; empty where there are none."""
    names = {summary.study_name for summary in study._storage.get_all_studies()}
    name = repeats_name(study.study_name)
    if name not in names:
        return []
    return repeated(study, optuna.load_study(study_name=name, storage=study._storage))


def _from(study: Study, trial: FrozenTrial, seeds: Repeated | None) -> Recommendation:
    metrics = study.metric_names or [f"objective {k}" for k in range(len(study.directions))]
    return Recommendation(trial.number, tuple(metrics), tuple(trial.values), tuple(trial.user_attrs[READY]), seeds)


def _training(config: DictConfig) -> dict[Any, Any]:
    """A composed config without what only a search has."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    plain["callbacks"].pop("pruning", None)
    return {key: value for key, value in plain.items() if key not in ("search", "hydra")}
