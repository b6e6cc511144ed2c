"""A study's trials for the monitor, by Optuna's own means."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from sqlalchemy.exc import ArgumentError, OperationalError

from dark_halo_scope.monitoring.run_state import MonitorError


@dataclass(frozen=True)
class StudySummary:
    """A study in short; with several objectives ``best`` is the Pareto front."""

    name: str
    trials: dict[str, int]  # state -> number
    best: list[dict[str, Any]]  # number, values and parameters

    def to_record(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


def read_studies(url: str) -> tuple[StudySummary, ...]:
    """Every study in a storage.

    Args:
        url: ``sqlite:////FILE``, ``postgresql://...``: a database that Optuna opens.

    Raises:
        MonitorError: it cannot be opened, or holds no study.
    """
    try:
        names = optuna.get_all_study_names(url)
    except (ArgumentError, OperationalError, ImportError) as error:
        raise MonitorError(f"{url} cannot be opened: {str(error).splitlines()[0]}") from error
    if not names:
        raise MonitorError(f"{url} holds no study")
    return tuple(_summary(optuna.load_study(study_name=name, storage=url)) for name in names)


def _summary(study: optuna.Study) -> StudySummary:
    trials = study.get_trials(deepcopy=False)
    has_best = any(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials)
    best = study.best_trials if has_best else []
    return StudySummary(
        name=study.study_name,
        trials=dict(Counter(trial.state.name.lower() for trial in trials)),
        best=[{"number": trial.number, "values": trial.values, "params": trial.params} for trial in best],
    )
