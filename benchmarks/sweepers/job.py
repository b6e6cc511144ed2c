"""The job of every sweeper: `python -m benchmarks.sweepers.job -m ...`, in the environment of either.

JOB says what it does: ``moment`` (a formula), ``two`` (two objectives), ``network`` (see `network.py`).
JOB_ENDS, JSON by job number, makes some end otherwise: ``raise``, ``nan``, ``prune`` or ``hang``.
JOB_JOURNAL is a file that gets a line for each job: when it began and ended, what it reached in how many epochs.
"""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import optuna
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from benchmarks.sweepers.network import train
from dark_halo_scope.configuration import CONFIGS, register_resolvers

register_resolvers()


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")
def main(cfg: DictConfig) -> float | list[float]:
    """Do what JOB says, and write down how it went."""
    record: dict[str, Any] = {"job": HydraConfig.get().job.num, "began": time.time(), "value": None, "epochs": 0}
    try:
        value = _value(cfg, record)
        record["value"] = value
        return value
    finally:
        record["ended"] = time.time()
        with Path(os.environ["JOB_JOURNAL"]).open("a") as journal:
            journal.write(json.dumps(record) + "\n")


def _value(cfg: DictConfig, record: dict[str, Any]) -> float | list[float]:
    match json.loads(os.environ.get("JOB_ENDS", "{}")).get(str(record["job"])):
        case "raise":
            raise RuntimeError("no such file: stamps.parquet")
        case "prune":
            raise optuna.TrialPruned
        case "nan":
            return math.nan
        case "hang":
            time.sleep(600)
    if os.environ["JOB"] == "network":
        return _network(cfg, record)
    formula = 1.0 - abs(math.log10(cfg.optimizer.lr) + 3) / 10
    return [formula, -formula] if os.environ["JOB"] == "two" else formula


def _network(cfg: DictConfig, record: dict[str, Any]) -> float:
    """Train, and report each epoch to whoever listens; the best epoch counts."""
    report, best = _reporter(cfg), 0.0
    settings = {"lr": cfg.optimizer.lr, "weight_decay": cfg.optimizer.weight_decay}
    for auroc in train(**settings, dropout=cfg.model.dropout, batch_size=cfg.data.batch_size):
        record["epochs"] += 1
        best = max(best, auroc)
        report(record["epochs"], auroc)
    return best


def _reporter(cfg: DictConfig) -> Callable[[int, float], None]:
    """Tells a search of this project each epoch's value, and raises where it says so; under others, nothing listens."""
    if cfg.search.trial is None:
        return lambda epoch, value: None
    from hydra.utils import instantiate

    from dark_halo_scope.search.storage import load_study

    study = load_study(cfg.search.storage, cfg.search.study, instantiate(cfg.search.pruner))
    trial = optuna.Trial(study, study.get_trials(deepcopy=False)[cfg.search.trial]._trial_id)

    def report(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    return report


if __name__ == "__main__":
    main()
