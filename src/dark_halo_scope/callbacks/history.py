"""Every metric of every epoch, as ``history.csv`` and ``history.json`` in the run folder."""

import csv
import io
import math
import statistics
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from dark_halo_scope.files import write_atomically, write_json

SMALLER_IS_BETTER = ("loss", "nll", "brier", "ece")


class MetricHistory(Callback):
    """Keeps ``(epoch, step, value)`` of every logged metric and rewrites both files after each epoch.

    The values travel in the checkpoint: a resumed run goes on where its checkpoint was written and forgets what the
    interrupted run recorded after it. Metrics named ``val/...`` are taken after a validation, all others at the end of
    a training epoch. Must stand after the callbacks that log at the epoch's end, and a task must log from its steps:
    what it logs in its own ``on_train_epoch_end`` comes after this callback and would be an epoch late.

    Args:
        run_dir: the run folder.
    """

    def __init__(self, run_dir: str) -> None:
        self.run_dir = Path(run_dir)
        self.metrics: dict[str, list[list[float]]] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the validation."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._record(trainer, of_validation=True)

    def on_train_epoch_end(self, trainer: Any, pl_module: LightningModule) -> None:
        """Record the training epoch and write the files."""
        self._record(trainer, of_validation=False)
        if trainer.is_global_zero and not trainer.fast_dev_run:
            write_atomically(self.run_dir / "history.csv", history_csv(self.metrics).encode())
            write_json(self.run_dir / "history.json", {"metrics": summarise(self.metrics)})

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the values travel with the weights."""
        checkpoint["history"] = self.metrics

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on from the checkpoint's values when training goes on; testing it changes no history."""
        if trainer.state.fn == TrainerFn.FITTING:
            self.metrics = checkpoint["history"]

    def _record(self, trainer: Trainer, of_validation: bool) -> None:
        logged = trainer.callback_metrics
        for name, value in logged.items():
            # Lightning lists a metric logged by step and by epoch three times: name, name_step, name_epoch
            if name.removesuffix("_step").removesuffix("_epoch") in logged and name.endswith(("_step", "_epoch")):
                continue
            if name.startswith("val/") == of_validation:
                self.metrics.setdefault(name, []).append([trainer.current_epoch, trainer.global_step, float(value)])


def history_csv(metrics: dict[str, list[list[float]]]) -> str:
    """One line per (epoch, step), one column per metric; a field is empty where the metric was not logged then."""
    lines: dict[tuple[float, float], dict[str, float]] = {}
    for name, values in metrics.items():
        for epoch, step, value in values:
            lines.setdefault((epoch, step), {})[name] = value
    text = io.StringIO()
    table = csv.DictWriter(text, ["epoch", "step", *sorted(metrics)], lineterminator="\n")
    table.writeheader()
    table.writerows({"epoch": epoch, "step": step} | lines[epoch, step] for epoch, step in sorted(lines))
    return text.getvalue()


def summarise(metrics: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Values with mean, standard deviation, extremes, best value and its epoch, per metric, for JSON.

    Losses, NLL, Brier score and ECE are best where smallest, anything else where largest. Values that are not finite
    become null and count in no statistic; a metric without any finite value has null statistics.
    """
    return {name: _summary(name, metrics[name]) for name in sorted(metrics)}


def _summary(name: str, values: list[list[float]]) -> dict[str, Any]:
    finite = [(value, epoch) for epoch, _, value in values if math.isfinite(value)]
    summary: dict[str, Any] = dict.fromkeys(("mean", "std", "min", "max", "best", "best_epoch"))
    summary["values"] = [[epoch, step, value if math.isfinite(value) else None] for epoch, step, value in values]
    if not finite:
        return summary
    numbers = [value for value, _ in finite]
    smallest = any(word in name for word in SMALLER_IS_BETTER)
    best, best_epoch = (min if smallest else max)(finite, key=lambda pair: pair[0])
    return summary | {
        "mean": statistics.fmean(numbers),
        "std": statistics.pstdev(numbers),
        "min": min(numbers),
        "max": max(numbers),
        "best": best,
        "best_epoch": best_epoch,
    }
