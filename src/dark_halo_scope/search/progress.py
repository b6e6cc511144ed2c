"""How far a search is, in words: its totals, the time it still takes, a line for each news."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dark_halo_scope.search.repeats import repeats_name
from dark_halo_scope.search.settings import Settings
from dark_halo_scope.search.tally import ERROR, OUTCOME, Tally, retried, state_of, tally

LONGEST_WORD = 14  # where room is dear


def total(settings: Settings, study: Study) -> int:
    """How many trials a search, or the repeats of its best, will have when it is finished."""
    if not settings.is_grid and study.study_name != repeats_name(settings.name):
        return settings.n_trials
    counts = tally(study.get_trials(deepcopy=False))
    return counts.finished + counts.failed + counts.running + counts.waiting  # all are planned from the start


def headline(settings: Settings, study: Study) -> str:
    """One line on the whole search."""
    counts, of = tally(study.get_trials(deepcopy=False)), total(settings, study)
    parts = [f"{counts.finished} of {of} trials", *told(counts), *best_value(study)]
    if (left := time_left(study, of)) is not None:
        parts.append(f"about {words(left)} left")
    return ", ".join(parts)


def told(counts: Tally) -> list[str]:
    """What became of the trials, as far as it is worth a word."""
    said = [f"{counts.pruned} pruned ({counts.pruned / counts.finished:.0%})"] if counts.finished else []
    return said + [
        f"{n} {name}"
        for name in ("diverged", "failed", "retried", "waiting", "running")
        if (n := getattr(counts, name))
    ]


def best_value(study: Study) -> list[str]:
    """The best value so far; nothing before the first, or for several objectives."""
    if len(study.directions) > 1 or not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return []
    return [f"best {study.best_value:.5f} (trial {study.best_trial.number})"]


class News:
    """Remembers what was told, so that each change of a trial is told once."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int], str] = {}

    def of(self, study: Study) -> Iterator[str]:
        """A line for each trial that began or ended since the last call."""
        trials = study.get_trials(deepcopy=False)
        again = retried(trials)
        for trial in trials:
            state, key = state_of(trial, trial.number in again), (study.study_name, trial.number)
            if state == "waiting" or self._told.get(key) == state or (state == "running" and not trial.params):
                continue
            self._told[key] = state
            value = " ".join(values(trial, len(study.directions))).strip()
            parameters = " ".join(f"{name}={short(value)}" for name, value in trial.params.items())
            error = str(trial.user_attrs.get(ERROR, "")).splitlines()[:1] if state != "running" else []
            what = f"{study.study_name} trial {trial.number} {word(trial, state)}"
            yield "  ".join(filter(None, [what, value, parameters, *error]))


def time_left(study: Study, n_trials: int) -> timedelta | None:
    """How long the rest takes if it goes on as it did; None before the first trial has ended or when nothing runs."""
    trials = study.get_trials(deepcopy=False)
    counts = tally(trials)
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
    """A parameter's value with three digits, a small one with its power of ten: 8.46e-5."""
    if not isinstance(value, float):
        return str(value)
    if 0 < abs(value) < 1e-2:
        digits, power = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.3g}"


def elided(word: str) -> str:
    """A long word without its middle: what tells the names of models apart stands at both ends."""
    if len(word) <= LONGEST_WORD:
        return word
    return f"{word[: LONGEST_WORD // 2]}…{word[-(LONGEST_WORD // 2 - 1) :]}"


def word(trial: FrozenTrial, state: str) -> str:
    """What is said of a trial's state; of an attempt that is tried again, why."""
    return str(trial.user_attrs.get(OUTCOME, state)) if state == "retried" else state


def values(trial: FrozenTrial, n: int) -> list[str]:
    """The `n` values of a finished trial, or the last that a running one reported."""
    found = trial.values
    if found is None and trial.last_step is not None:
        found = [trial.intermediate_values[trial.last_step]]
    return [f"{value:.5f}" for value in found] if found else [""] * n
