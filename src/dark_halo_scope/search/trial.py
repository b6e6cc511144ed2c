"""A trial, where it runs: the job that a worker's launcher started."""

import json
import logging
import os
import signal
import traceback
from pathlib import Path
from typing import Any

import optuna
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from dark_halo_scope import processes
from dark_halo_scope.files import write_json
from dark_halo_scope.search.errors import SearchError
from dark_halo_scope.search.outcome import Outcome

log = logging.getLogger(__name__)


def run_trial(cfg: DictConfig) -> dict[str, Any]:
    """Train, and say in plain values what became of it.

    Also leaves it in the run folder as ``outcome.json``, which is how a trial in a process of its own answers.
    """
    folder = Path(cfg.paths.run_dir)
    if _wants_own_process(cfg):
        return _in_own_process(folder).to_dict()
    outcome = _refused(cfg) or _train(cfg)
    if _is_first_rank():
        write_json(folder / "outcome.json", outcome.to_dict())
    return outcome.to_dict()


def _refused(cfg: DictConfig) -> Outcome | None:
    """Whether a budget has no room for the trial, found before anything is loaded for it."""
    if not cfg.callbacks.get("budget") or not _is_first_rank():
        return None
    from dark_halo_scope.callbacks.meter import BudgetSpentError

    try:
        instantiate(cfg.callbacks.budget).open_early()
    except BudgetSpentError as error:
        return Outcome("refused", error=str(error))
    return None


def _train(cfg: DictConfig) -> Outcome:
    from dark_halo_scope.callbacks.meter import BudgetSpentError
    from dark_halo_scope.run import run
    from dark_halo_scope.tasks.base import DivergedError

    try:
        value = run(cfg)
        return Outcome("complete", [_value(cfg, objective.metric, value) for objective in cfg.search.objectives])
    except optuna.TrialPruned:
        return Outcome("pruned")
    except DivergedError as error:
        return Outcome("diverged", error=str(error))
    except BudgetSpentError as error:
        return Outcome("refused", error=str(error))
    except Exception as error:  # whatever it is, the search records it and goes on
        if not _is_first_rank():
            raise  # rank 0 learns of it by the exit code
        log.exception("the trial failed")
        return Outcome("failed", error="".join(traceback.format_exception_only(error)).strip())


def _value(cfg: DictConfig, metric: str, monitored: float) -> float:
    """A metric of the checkpoint that was kept: of the epoch in which the monitored one was best."""
    if metric == cfg.monitor.metric:
        return monitored
    history = json.loads((Path(cfg.paths.run_dir) / "history.json").read_text())["metrics"]
    if metric not in history:
        raise SearchError(f"the objective {metric} is not logged; choose one of {', '.join(sorted(history))}")
    epoch = history[cfg.monitor.metric]["best_epoch"]
    (value,) = [value for at, _, value in history[metric]["values"] if at == epoch][-1:]
    return float(value)


def _wants_own_process(cfg: DictConfig) -> bool:
    """By default where memory leaks cost most and ranks must come and go: on a GPU, and over several devices."""
    if cfg.search.process not in ("auto", "own", "same"):
        raise SearchError(f"search.process={cfg.search.process}: choose auto, own or same")
    if cfg.search.process != "auto":
        return bool(cfg.search.process == "own")
    from dark_halo_scope import hardware

    machine = hardware.resolve(cfg.hardware)
    return machine.accelerator == "gpu" or machine.world_size > 1


def _in_own_process(folder: Path) -> Outcome:
    answer = folder / "outcome.json"
    answer.unlink(missing_ok=True)
    line = HydraConfig.get().job_logging["formatters"]["simple"]
    look = [f"++hydra.job_logging.formatters.simple.{key}='{line[key]}'" for key in ("format", "datefmt")]
    config = folder / ".hydra" / "config.yaml"
    command = processes.job_command(config, folder, "search.process=same", "hydra.job.name=run", *look)
    child = processes.start(command)
    code = child.wait()
    if answer.exists():
        return Outcome(**json.loads(answer.read_text()))
    end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return Outcome("failed", error=f"the process of the trial {end} and left no outcome: see {folder}/run.log")


def _is_first_rank() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("RANK", "0") == "0"
