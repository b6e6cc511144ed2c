"""A study to look at while it runs: a table on a terminal, a line for each news elsewhere."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.table import Table

from dark_halo_scope.search.settings import Settings
from dark_halo_scope.search.tally import ERROR, Tally, state_of, tally

STYLES = {
    "complete": "green",
    "running": "bold",
    "pruned": "yellow",
    "diverged": "magenta",
    "failed": "red",
    "retried": "red",
    "waiting": "dim",
}


def headline(settings: Settings, study: Study) -> str:
    """One line on the whole search."""
    trials = study.get_trials(deepcopy=False)
    counts = tally(trials)
    parts = [f"{counts.finished} of {settings.n_trials} trials"]
    if counts.finished:
        parts.append(f"{counts.pruned} pruned ({counts.pruned / counts.finished:.0%})")
    parts += [f"{n} {name}" for name in ("diverged", "failed", "retried", "running") if (n := getattr(counts, name))]
    if len(study.directions) == 1 and counts.complete:
        parts.append(f"best {study.best_value:.5f} (trial {study.best_trial.number})")
    if (left := time_left(trials, counts, settings.n_trials)) is not None:
        parts.append(f"about {words(left)} left")
    return ", ".join(parts)


def table(study: Study, height: int | None, title: str | None = None) -> Table:
    """The trials, newest last; those that run, and the best, are always among them.

    Args:
        study: to show.
        height: number of trials that there is room for; None for all of them.
        title: above the table.
    """
    trials = study.get_trials(deepcopy=False)
    retried = _retried(trials)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    shown = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("trial", "state"):
        shown.add_column(column)
    for name in names:
        shown.add_column(name.removeprefix("+").split(".")[-1], overflow="fold")
    for column in (*(study.metric_names or ["value"]), "epoch", "left"):
        shown.add_column(column, justify="right")
    best = {trial.number for trial in study.best_trials}
    for trial in trials if height is None else _fitting(trials, best, height):
        state = state_of(trial, trial.number in retried)
        parameters = [short(trial.params[name]) if name in trial.params else "" for name in names]
        left = "" if (rest := trial_left(trial)) is None else words(rest)
        mark = " *" if trial.number in best else ""
        values = _values(trial, len(study.directions))
        style = STYLES[state]
        shown.add_row(f"{trial.number}{mark}", f"[{style}]{state}[/]", *parameters, *values, _epoch(trial), left)
    return shown


class News:
    """Remembers what was told, so that each change of a trial is told once."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int], str] = {}

    def of(self, study: Study) -> Iterator[str]:
        """A line for each trial that began or ended since the last call."""
        trials = study.get_trials(deepcopy=False)
        retried = _retried(trials)
        for trial in trials:
            state, key = state_of(trial, trial.number in retried), (study.study_name, trial.number)
            if state == "waiting" or self._told.get(key) == state or (state == "running" and not trial.params):
                continue
            self._told[key] = state
            value = " ".join(_values(trial, len(study.directions))).strip()
            parameters = " ".join(f"{name}={short(value)}" for name, value in trial.params.items())
            error = str(trial.user_attrs.get(ERROR, "")).splitlines()[-1:]
            yield "  ".join(
                filter(None, [f"{study.study_name} trial {trial.number} {state}", value, parameters, *error])
            )


def time_left(trials: list[FrozenTrial], counts: Tally, n_trials: int) -> timedelta | None:
    """How long the rest takes if it goes on as it did; None before the first trial has ended or when nothing runs."""
    took = [t.duration for t in trials if t.duration and t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    if not took or not counts.running:
        return None
    return sum(took, timedelta()) / len(took) * max(n_trials - counts.finished, 1) / counts.running


def trial_left(trial: FrozenTrial) -> timedelta | None:
    """How long a running trial takes to its last epoch, unless it is stopped."""
    epoch, of = trial.user_attrs.get("epoch"), trial.user_attrs.get("max_epochs")
    if trial.state != TrialState.RUNNING or not epoch or not of or trial.datetime_start is None:
        return None
    return (datetime.now(trial.datetime_start.tzinfo) - trial.datetime_start) / epoch * (of - epoch)


def words(time: timedelta) -> str:
    """A time with the precision that a guess has."""
    seconds = max(0.0, time.total_seconds())
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def short(value: object) -> str:
    """A parameter's value with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _values(trial: FrozenTrial, n: int) -> list[str]:
    """The values of a finished trial, or the last that a running one reported."""
    values = trial.values
    if values is None and trial.last_step is not None:
        values = [trial.intermediate_values[trial.last_step]]
    return [f"{value:.5f}" for value in values] if values else [""] * n


def _epoch(trial: FrozenTrial) -> str:
    epoch = trial.user_attrs.get("epoch")
    return "" if epoch is None else f"{epoch}/{trial.user_attrs.get('max_epochs', '?')}"


def _retried(trials: list[FrozenTrial]) -> set[int]:
    return {n for trial in trials for n in RetryHeartbeatStaleTrialCallback.retry_history(trial)}


def _fitting(trials: list[FrozenTrial], best: set[int], height: int) -> list[FrozenTrial]:
    always = [t for t in trials if t.state == TrialState.RUNNING or t.number in best]
    others = [t for t in trials if t not in always]
    room = max(0, height - len(always))
    return sorted(always + (others[-room:] if room else []), key=lambda trial: trial.number)
