"""The best trials, trained again with other seeds: the best of many is best by luck too.

The repeats are a study of their own, `<name>-repeats`, so that the total and the statistics of the search stay as they
are. A parameter `trial` says which trial is repeated.
"""

import statistics
from dataclasses import dataclass

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dark_halo_scope.search.settings import Settings
from dark_halo_scope.search.storage import open_storage, turn


@dataclass(frozen=True)
class Repeated:
    """A trial and what its settings reached with other seeds."""

    trial: int
    first: float  # what it was chosen by
    values: tuple[float, ...]  # with the other seeds: free of the luck it was chosen by

    @property
    def mean(self) -> float:
        """Over the other seeds."""
        return statistics.mean(self.values)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the other seeds; None for one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def repeats_name(name: str) -> str:
    """The study of a search's repeats."""
    return f"{name}-repeats"


def plan_repeats(settings: Settings, study: Study) -> Study:
    """Open the study of repeats; whoever is first puts in what is missing of trials and seeds."""
    with turn(settings.storage):
        repeats = optuna.create_study(
            study_name=repeats_name(settings.name),
            storage=open_storage(settings.storage, settings.heartbeat_s, settings.grace_s),
            directions=settings.directions,
            pruner=optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        if repeats.metric_names is None:
            repeats.set_metric_names([metric for metric, _ in settings.objectives])
        for trial in best(study, settings.repeat_best):
            for seed in range(settings.base_seed + 1, settings.base_seed + 1 + settings.repeat_seeds):
                repeats.enqueue_trial({"trial": trial.number, "seed": seed}, skip_if_exists=True)
    return repeats


def best(study: Study, n: int) -> list[FrozenTrial]:
    """The best `n` complete trials of a study with one objective, best first."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    is_max = study.direction == optuna.study.StudyDirection.MAXIMIZE
    return sorted(complete, key=lambda trial: trial.value or 0.0, reverse=is_max)[:n]


def repeated(study: Study, repeats: Study) -> list[Repeated]:
    """What the repeats say, best mean first."""
    values: dict[int, list[float]] = {}
    for trial in repeats.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        values.setdefault(trial.params["trial"], []).append(float(trial.value or 0.0))
    trials = study.get_trials(deepcopy=False)
    found = [Repeated(number, float(trials[number].value or 0.0), tuple(of)) for number, of in values.items()]
    is_max = study.direction == optuna.study.StudyDirection.MAXIMIZE
    return sorted(found, key=lambda r: r.mean, reverse=is_max)
