"""A trial of a search, seen from inside its run: report each validation, stop in good order when the study says so."""

import logging
from typing import Any

import optuna
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from dark_halo_scope.search.storage import load_study

log = logging.getLogger(__name__)


class Pruning(Callback):
    """Reports the monitored metric to an Optuna study and stops the training of a trial that is behind.

    The run ends as one that early stopping ends: checkpoints and loggers are closed, nothing is raised inside the fit.
    Whoever started the run then calls `raise_if_pruned`. Optuna takes no reports of a trial with several objectives.
    Rank 0 talks to the study; all ranks stop together.

    Args:
        storage: URL, as in `search.storage`.
        study: its name.
        trial: number of the trial that this run is; None outside a search, where nothing happens.
        monitor: the metric to report.
        pruner: decides; None lets every trial run to its end.
    """

    def __init__(
        self, storage: str, study: str, trial: int | None, monitor: str, pruner: optuna.pruners.BasePruner | None
    ) -> None:
        self.storage = storage
        self.study = study
        self.number = trial
        self.monitor = monitor
        self.pruner = pruner
        self.pruned = False
        self._trial: optuna.Trial | None = None
        self._validations = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the trial in the study."""
        if self.number is None or not trainer.is_global_zero:
            return
        study = load_study(self.storage, self.study, self.pruner)
        frozen = study.get_trials(deepcopy=False)[self.number]
        self._trial = optuna.Trial(study, frozen._trial_id)
        self._trial.set_user_attr("max_epochs", trainer.max_epochs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report, and ask whether to go on."""
        if self.number is None or self.pruned or trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        behind = trainer.is_global_zero and self._is_behind(trainer)
        self.pruned = trainer.strategy.broadcast(behind)
        if self.pruned:
            trainer.should_stop = True

    def raise_if_pruned(self) -> None:
        """Tell a run that was stopped from one that came to its end.

        Raises:
            optuna.TrialPruned: it was stopped.
        """
        if self.pruned:
            raise optuna.TrialPruned(f"behind the other trials after validation {self._validations}")

    def _is_behind(self, trainer: Any) -> bool:
        assert self._trial is not None
        self._trial.set_user_attr("epoch", trainer.current_epoch + 1)
        if len(self._trial.study.directions) > 1:
            return False
        self._validations += 1
        value = float(trainer.callback_metrics[self.monitor])
        self._trial.report(value, self._validations)
        if not self._trial.should_prune():
            return False
        log.info(
            "trial %d is pruned after epoch %d: %s = %.5f", self.number, trainer.current_epoch, self.monitor, value
        )
        return True
