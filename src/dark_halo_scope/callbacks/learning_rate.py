"""The learning rate, for loggers and history alike."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class LearningRate(Callback):
    """Logs ``lr`` of the first parameter group, as often as other step metrics and once an epoch.

    Unlike Lightning's LearningRateMonitor it also works in a run without loggers. It talks to the loggers directly:
    ``LightningModule.log`` would copy the number to the device, and wait for it, at every step.
    """

    def on_train_batch_start(self, trainer: Any, pl_module: LightningModule, *_: Any) -> None:
        """Tell the loggers, every ``trainer.log_every_n_steps`` steps."""
        if trainer.global_step % trainer.log_every_n_steps == 0:
            for logger in trainer.loggers:
                logger.log_metrics({"lr": _learning_rate(trainer)}, step=trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make it one of the epoch's metrics."""
        pl_module.log("lr", _learning_rate(trainer))


def _learning_rate(trainer: Trainer) -> float:
    return float(trainer.optimizers[0].param_groups[0]["lr"])
