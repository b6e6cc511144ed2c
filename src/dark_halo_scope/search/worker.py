"""One of the workers on a study: takes trials one by one until all of them are done, whoever did them."""

import contextlib
import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import BaseSampler, QMCSampler
from optuna.storages._heartbeat import BaseHeartbeat, get_heartbeat_thread
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from dark_halo_scope.search.errors import SearchError
from dark_halo_scope.search.outcome import Outcome
from dark_halo_scope.search.settings import Settings
from dark_halo_scope.search.storage import queue_again, retry, turn
from dark_halo_scope.search.tally import ERROR, OUTCOME, READY, Tally, retried, state_of, tally

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0  # while others run the last trials: one of them may die
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,  # samplers learn from it where not to look
    "failed": TrialState.FAIL,
}
Launch = Callable[[int, list[str]], Outcome]  # trial number, overrides -> what became of it


class Worker:
    """Works on one study.

    Args:
        settings: of the search.
        study: opened with a heartbeat.
        overrides: draws a trial's parameters, returns the overrides to launch it with.
        launch: runs a trial.
        make_sampler: seed -> sampler; none where every trial is planned.
        n_trials: total over all workers.
    """

    def __init__(
        self,
        settings: Settings,
        study: Study,
        overrides: Callable[[Trial], list[str]],
        launch: Launch,
        make_sampler: Callable[[int], BaseSampler] | None,
        n_trials: int,
    ) -> None:
        self.settings = settings
        self.study = study
        self.overrides = overrides
        self.launch = launch
        self.make_sampler = make_sampler
        self.n_trials = n_trials
        self._turn = contextlib.ExitStack()

    def work(self) -> None:
        """Return when the total is reached.

        Raises:
            SearchError: more trials failed than the search allows, or no money is left for another one.
        """
        while True:
            with self._turn:
                self._turn.enter_context(turn(self.settings.storage))
                counts = self._count()
                if self._is_over(counts):
                    return
                if self._is_open(counts):
                    self._take_one()
                    continue
            time.sleep(LOOK_EVERY_S)

    def _count(self) -> Tally:
        """Count what there is, after giving up what nobody works on. Holds the turn."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if READY not in trial.user_attrs:  # its worker died on its turn, else this would not be ours
                self.study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                retry(self.study, trial)
                log.warning("trial %d was given up: its worker died before it began", trial.number)
        trials = self.study.get_trials(deepcopy=False)
        counts = tally(trials)
        if counts.failed > self.settings.max_failures:
            raise SearchError(_too_many_failures(trials, counts.failed, self.settings.max_failures))
        return counts

    def _is_over(self, counts: Tally) -> bool:
        if self.make_sampler is None:
            return counts.running == counts.waiting == 0
        return counts.finished >= self.n_trials

    def _is_open(self, counts: Tally) -> bool:
        """Whether a trial is left to take: what runs elsewhere is counted as if it would succeed."""
        if self.make_sampler is None:
            return counts.waiting > 0
        return counts.finished + counts.running < self.n_trials

    def _take_one(self) -> None:
        """Run one trial, with a heartbeat for as long as it takes."""
        if self.make_sampler is not None:
            self.study.sampler = self.make_sampler(len(self.study.get_trials(deepcopy=False)))
        trial = self.study.ask()
        try:
            with get_heartbeat_thread(trial._trial_id, self.study._storage):
                self._tell(trial, self._run(trial))
        except UpdateFinishedTrialError:
            log.warning("another worker took this one for dead and tries trial %d again: dropped", trial.number)
        except (KeyboardInterrupt, SystemExit) as stop:  # Lightning makes the one of the other
            self._set_aside(trial, "interrupted")
            raise KeyboardInterrupt from stop
        except Exception:
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise

    def _run(self, trial: Trial) -> Outcome:
        """Draw the trial's parameters, give the turn to the next worker, and launch the trial.

        Raises:
            SearchError: no money is left for it.
        """
        overrides = self.overrides(trial)
        if isinstance(self.study._storage, BaseHeartbeat):
            self.study._storage.record_heartbeat(trial._trial_id)  # a trial without a beat is never found to be dead
        trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
        trial.set_user_attr(READY, overrides)
        self._turn.close()
        outcome = self.launch(trial.number, overrides)
        if outcome.state == "refused":
            self._set_aside(trial, outcome.state, outcome.error)
            raise SearchError(self._why_unfinished(outcome.error))
        return outcome

    def _set_aside(self, trial: Trial, why: str, error: str = "") -> None:
        """Leave a trial for later: it neither counts nor fails."""
        attempt = self.study._storage.get_trial(trial._trial_id)
        if not attempt.state.is_finished():
            trial.set_user_attr(OUTCOME, why)
            if error:
                trial.set_user_attr(ERROR, error)
            queue_again(self.study, attempt)
            self.study.tell(trial, state=TrialState.FAIL)

    def _why_unfinished(self, reason: str) -> str:
        done = tally(self.study.get_trials(deepcopy=False)).finished
        return (
            f"the search {self.study.study_name} stops with {done} of {self.n_trials} trials done: {reason}; "
            f"so changed, the same command goes on, or python sweep.py --resume {self.settings.folder} KEY=VALUE"
        )

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        trial.set_user_attr(OUTCOME, outcome.state)
        if outcome.error:
            trial.set_user_attr(ERROR, outcome.error)
        self.study.tell(trial, outcome.values or None, STATES[outcome.state], skip_if_finished=True)
        told = [f"{value:.5f}" for value in outcome.values] or outcome.error.splitlines()[:1]
        log.info("trial %d %s", trial.number, ": ".join([outcome.state, *told]))


def seeded(make: Callable[..., BaseSampler], seed: int) -> Callable[[int], BaseSampler]:
    """A sampler for each trial, seeded by its number.

    With one seed for all, several workers would draw the same points; with none, a search could not be repeated.
    A quasi-random sequence counts its points in the storage and must be the same one for all.
    """
    is_sequence = getattr(make, "func", make) is QMCSampler
    return lambda number: make(seed=seed if is_sequence else seed + number)


def _too_many_failures(trials: Sequence[FrozenTrial], n_failed: int, allowed: int) -> str:
    again = retried(trials)
    last = max((t for t in trials if state_of(t, t.number in again) == "failed"), key=lambda t: t.number)
    error: Any = last.user_attrs.get(ERROR, "its worker died, twice")
    return (
        f"{n_failed} trials failed, and search.max_failures={allowed}; the last, trial {last.number}, with: {error}\n"
        "Find the cause, then allow more to go on."
    )
