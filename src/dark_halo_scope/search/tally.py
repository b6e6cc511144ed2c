"""Counting trials: what is done, what runs, what failed."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

READY = "overrides"  # attribute of a trial whose parameters are all drawn
OUTCOME = "outcome"  # attribute: complete, pruned, diverged, failed, refused, interrupted
ERROR = "error"  # attribute: what a trial failed with


@dataclass(frozen=True)
class Tally:
    """Trials by what became of them.

    A pruned or diverged trial has done its part: it told where not to look. A failed one has not, and another takes its
    place. An attempt that is tried again (its worker died or was interrupted, or no money was left) is none of these.
    """

    complete: int = 0
    pruned: int = 0
    diverged: int = 0
    failed: int = 0
    retried: int = 0
    running: int = 0
    waiting: int = 0

    @property
    def finished(self) -> int:
        """Trials that count towards the total."""
        return self.complete + self.pruned + self.diverged


def tally(trials: Sequence[FrozenTrial]) -> Tally:
    """Count the trials of a study."""
    again = retried(trials)
    counts = dict.fromkeys(Tally.__dataclass_fields__, 0)
    for trial in trials:
        counts[state_of(trial, trial.number in again)] += 1
    return Tally(**counts)


def retried(trials: Sequence[FrozenTrial]) -> set[int]:
    """The numbers of the attempts that were queued again."""
    return {n for trial in trials for n in RetryHeartbeatStaleTrialCallback.retry_history(trial)}


def state_of(trial: FrozenTrial, was_retried: bool) -> str:
    """Name a trial's state as `Tally` does."""
    if trial.state == TrialState.FAIL:
        return "retried" if was_retried else "failed"
    if trial.state == TrialState.PRUNED and trial.user_attrs.get(OUTCOME) == "diverged":
        return "diverged"
    return trial.state.name.lower()
