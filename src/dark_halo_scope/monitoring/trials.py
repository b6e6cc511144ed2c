"""A study's trials for the monitor."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import make_url

from dark_halo_scope.monitoring.run_state import MonitorError
from dark_halo_scope.search.storage import check_url, file_of, open_storage, turn


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
        url: as in `search.storage`.

    Raises:
        MonitorError: it cannot be read, or holds no study.
        SearchError: it is no URL of a storage, or that of a server that cannot be reached.
    """
    check_url(url)
    file = file_of(url)
    if file is not None and not file.exists():
        raise MonitorError(f"{url}: there is no such file")
    try:
        with turn(url):  # as whoever opens a study that is perhaps being made
            storage = open_storage(url)
            names = optuna.get_all_study_names(storage)
    except StorageInternalError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        shown = make_url(url).render_as_string(hide_password=True)
        raise MonitorError(f"{shown} cannot be read: {reason}") from error
    if not names:
        raise MonitorError(f"{url} holds no study")
    return tuple(_summary(optuna.load_study(study_name=name, storage=storage)) for name in names)


def _summary(study: optuna.Study) -> StudySummary:
    trials = study.get_trials(deepcopy=False)
    has_best = any(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials)
    best = study.best_trials if has_best else []
    return StudySummary(
        name=study.study_name,
        trials=dict(Counter(trial.state.name.lower() for trial in trials)),
        best=[{"number": trial.number, "values": trial.values, "params": trial.params} for trial in best],
    )
