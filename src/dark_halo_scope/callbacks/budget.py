"""A price on the hour, and a cap that a run ends below."""

import logging
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from dark_halo_scope.callbacks.horizon import steps_per_validation, total_steps
from dark_halo_scope.callbacks.ledger import HOUR, Ledger, Total
from dark_halo_scope.callbacks.meter import BudgetError, BudgetSpentError, Caps, Meter, cost
from dark_halo_scope.monitoring.status import Status

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0  # at the ledger
BEAT_EVERY_S = 60.0  # outside of training, to show other hosts that the run lives
WARN_AT = (0.5, 0.8)  # of the cap
STEPS_TO_ESTIMATE = 50  # the first ones are slower


class Budget(Callback):
    """Counts what a run costs and stops its training in time for the rest: last validation, checkpoint, test, report.

    Every second or so rank 0 looks at the ledger. All ranks stop together as soon as what all runs of the ledger have
    spent, and what each of them needs to end, would reach the cap. What they need is measured: the longest validation
    and checkpoint so far, and what followed the training in earlier runs of the ledger; for the rest there is
    ``reserve_s``. A run that stops here goes on to its test and report. A resumed run adds to what its ledger has.

    Logs ``budget/cost_usd``, or ``budget/hours``, of all runs of the ledger, and warns at 50 and 80 % of the cap.

    Args:
        run_dir: the run folder.
        ledger: file that all runs share that the cap is for.
        usd_per_hour: price of a machine or of a GPU; None to count hours only.
        per: ``machine`` or ``gpu``: what the price and the hours are of.
        max_usd: cap; None for none.
        max_hours: cap on the hours of all machines or GPUs; None for none.
        reserve_s: seconds kept for what has not been measured yet.
        earlier_run: folder of a run with the same batch size on the same machine, for an estimate before the start.
    """

    def __init__(
        self,
        run_dir: str,
        ledger: str,
        usd_per_hour: float | None = None,
        per: str = "machine",
        max_usd: float | None = None,
        max_hours: float | None = None,
        reserve_s: float = 120.0,
        earlier_run: str | None = None,
    ) -> None:
        if per not in ("machine", "gpu"):
            raise BudgetError(f"callbacks.budget.per={per}: choose machine or gpu")
        if max_usd is not None and usd_per_hour is None:
            raise BudgetError("callbacks.budget.max_usd needs a price: set callbacks.budget.usd_per_hour")
        self.run_dir = run_dir
        self.ledger = Ledger(Path(ledger))
        self.usd_per_hour = usd_per_hour
        self.per = per
        self.caps = Caps(max_usd, max_hours)
        self.reserve_s = reserve_s
        self.earlier_run = earlier_run
        self.meter: Meter | None = None  # of rank 0
        self._tests_per_validation = 1.0
        self._batches = self._batches_at_look = self._next_look = 0  # of this process
        self._looked_at = 0.0
        self._longest_interval_s = LOOK_EVERY_S  # between two looks, validations left out
        self._validation_start = 0.0
        self._paused_at: float | None = None  # a checkpoint is being written
        self._timed_from: tuple[int, float] | None = None  # (step, time)
        self._estimated = False
        self._beat_at = 0.0
        self._warned = 0.0
        self._stopped = False

    def open_early(self) -> None:
        """Open the account of one more run of a ledger before anything is loaded for it, which takes its time too.

        Raises:
            BudgetSpentError: the ledger has no room for it.
        """
        with self.ledger.turn() as accounts:
            earlier = accounts[-1:]
        for like in earlier:
            Meter(self.ledger, self.caps, self.run_dir, like.units, like.usd_per_unit_hour, self.reserve_s)

    def setup(self, trainer: Any, pl_module: LightningModule, stage: str) -> None:
        """Open the account, if it is not open.

        Raises:
            BudgetError: the ledger has no room for one more run, or the trainer would not heed a stop.
        """
        if stage != "fit":
            return
        if trainer.fit_loop.min_epochs or trainer.fit_loop.epoch_loop.min_steps:
            raise BudgetError(
                "a budget cannot stop a training that has trainer.min_epochs or trainer.min_steps: set them to null"
            )
        if trainer.is_global_zero:
            units = trainer.num_nodes if self.per == "machine" else trainer.world_size
            self.meter = Meter.opened_for(self.run_dir) or Meter(
                self.ledger, self.caps, self.run_dir, units, self.usd_per_hour or 0.0, self.reserve_s
            )
            self.meter.account.units = units

    def on_train_start(self, trainer: Any, pl_module: LightningModule) -> None:
        """Say what the run will cost, as far as an earlier one tells; a resumed run may have no room to train."""
        self._tests_per_validation = len(trainer.datamodule.test_dataloader()) / sum(trainer.num_val_batches)
        if self.meter is not None and self.earlier_run is not None:
            earlier = Status.read(Path(self.earlier_run))
            if earlier.step_s is None:
                raise BudgetError(f"callbacks.budget.earlier_run={self.earlier_run} was too short to be measured")
            self._tell_estimate(trainer, earlier.step_s, earlier.validation_s or 0.0)
        self._look(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The checkpoint of the last epoch is written."""
        self._end_pause()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """The checkpoint of a validation inside an epoch is written."""
        self._end_pause()

    def on_train_batch_end(self, trainer: Any, pl_module: LightningModule, *args: Any) -> None:
        """Look now and then, and always before a validation, which takes its time."""
        self._batches += 1
        validates_next = trainer.is_last_batch or (args[-1] + 1) % trainer.val_check_batch == 0
        if self._batches >= self._next_look or validates_next:
            self._longest_interval_s = max(self._longest_interval_s, time.time() - self._looked_at)
            self._estimate_once(trainer)
            name, value = self._named(self._look(trainer))
            pl_module.log(name, value, on_step=False, on_epoch=True, reduce_fx="max", batch_size=1)  # same on all ranks

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure it."""
        self._validation_start = time.time()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """It may take hours."""
        self._beat()

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """It may take hours."""
        self._beat()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure it, and look whether there is room for more training."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if self.meter is not None:
            account = self.meter.account
            account.validation_s = max(account.validation_s, time.time() - self._validation_start)
        self._look(trainer)
        self._paused_at = time.time()

    def on_fit_end(self, trainer: Any, pl_module: LightningModule) -> None:
        """What is left is the end of the run.

        Raises:
            BudgetSpentError: the training was stopped before its first validation, so that there is nothing to test.
        """
        self._end_pause()
        if self.meter is not None:
            self.meter.end_training()
        if self._stopped and trainer.checkpoint_callback.best_model_score is None:
            raise BudgetSpentError(
                f"the budget of {self.caps} ended the training before its first validation: raise the cap"
            )

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the cost of all but the report."""
        if self.meter is not None:
            log.info("budget: %s spent of %s", self._told(self.meter.beat()), self.caps)

    def _look(self, trainer: Any) -> Total:
        """Stop all ranks, or let them go on up to the next look."""
        answer = None
        if self.meter is not None:
            goes_on, total = self.meter.may_go_on(self._longest_interval_s, self._tests_per_validation)
            answer = (goes_on, total, self._batches + self._batches_until_next_look())
        goes_on, total, self._next_look = trainer.strategy.broadcast(answer)
        self._looked_at, self._batches_at_look = time.time(), self._batches
        for logger in trainer.loggers:
            logger.log_metrics(dict([self._named(total)]), step=trainer.global_step)
        if self.meter is not None:
            self._warn(total)
        if not goes_on and not trainer.should_stop:
            log.info("budget: training stops here, what is left of %s is needed for the end of the run", self.caps)
            trainer.should_stop = self._stopped = True
        return total

    def _batches_until_next_look(self) -> int:
        batches = self._batches - self._batches_at_look
        per_batch_s = (time.time() - self._looked_at) / batches if batches else LOOK_EVERY_S
        return max(1, int(LOOK_EVERY_S / per_batch_s))

    def _named(self, total: Total) -> tuple[str, float]:
        return ("budget/hours", total.hours) if self.usd_per_hour is None else ("budget/cost_usd", total.usd)

    def _warn(self, total: Total) -> None:
        """Once for each level that is passed."""
        fraction = self.caps.fraction(total)
        passed = max((level for level in WARN_AT if fraction >= level), default=0.0)
        if passed > self._warned:
            self._warned = passed
            log.warning("budget: %.0f %% of %s is spent: %s", 100 * fraction, self.caps, self._told(total))

    def _told(self, total: Total) -> str:
        return f"{total.hours:.3f} h" if self.usd_per_hour is None else f"${total.usd:.2f}"

    def _estimate_once(self, trainer: Any) -> None:
        """After the first steps."""
        if self.meter is None or self._estimated:
            return
        if self._timed_from is None:
            self._timed_from = (trainer.global_step, time.time())
        step, since = self._timed_from
        if trainer.global_step - step >= STEPS_TO_ESTIMATE:
            self._tell_estimate(trainer, (time.time() - since) / (trainer.global_step - step))

    def _tell_estimate(self, trainer: Any, step_s: float, validation_s: float | None = None) -> None:
        """Log what the rest of the configured epochs takes and costs."""
        assert self.meter is not None
        self._estimated = True
        account = self.meter.account
        left = total_steps(trainer) - trainer.global_step
        validations = left / steps_per_validation(trainer)
        seconds = left * step_s + validations * (account.validation_s if validation_s is None else validation_s)
        priced = "" if self.usd_per_hour is None else f" and ${cost(seconds, account):.2f}"
        log.info(
            "budget: the %d steps left take about %.2f h%s, early stopping left out; %s spent of %s",
            left,
            seconds / HOUR,
            priced,
            self._told(self.meter.beat()),
            self.caps,
        )

    def _end_pause(self) -> None:
        if self._paused_at is not None and self.meter is not None:
            account = self.meter.account
            account.checkpoint_s = max(account.checkpoint_s, time.time() - self._paused_at)
        self._paused_at = None

    def _beat(self) -> None:
        if self.meter is not None and time.time() - self._beat_at > BEAT_EVERY_S:
            self._beat_at = time.time()
            self.meter.beat()
