"""Weights & Biases that never asks, never hangs and never fails a run.

Online where a key is configured (``WANDB_API_KEY``, ``wandb login``), else offline: ``wandb sync`` uploads such a run
later. ``WANDB_MODE`` decides if it is set. Whatever W&B runs into, training goes on: an init that fails or takes too
long becomes an offline run, and a run that breaks later is given up, with one warning.
"""

import logging
import netrc
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from dark_halo_scope.files import write_atomically
from dark_halo_scope.loggers.identity import display_name, tags

log = logging.getLogger(__name__)


class RunWandbLogger(WandbLogger):
    """Lightning's logger on a run that exists already; stops logging, and says so, when W&B breaks."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers, charts, tables; ``step`` is the optimiser step."""
        self._attempt(lambda: WandbLogger.log_metrics(self, metrics, step))

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Update the run's config."""
        self._attempt(lambda: WandbLogger.log_hyperparams(self, params))

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # as in `_start`
            _warn(error, "goes on without it; what it has so far is in the run folder's wandb/")
            _end_session()
            self._experiment = _no_run()


def wandb_logger(
    run_dir: str,
    project: str,
    group: str | None = None,
    best: Mapping[str, str] | None = None,
    init_timeout_s: float = 30,
    finish_timeout_s: float = 300,
) -> RunWandbLogger:
    """Start this run's W&B run, or go on with it when the run is resumed, and log to it.

    Only rank 0 starts one.

    Args:
        run_dir: the run folder; keeps the run id (``wandb_run_id``, written before the run starts) and ``wandb/``, and
            tells the run's name and tags (see `loggers.identity`).
        project: W&B project.
        group: runs of one group are shown together.
        best: metric -> ``max`` or ``min``: which value the summary keeps beside the last one.
        init_timeout_s: how long to wait for the server before going on offline.
        finish_timeout_s: how long `finish_wandb` waits for uploads.
    """
    folder = Path(run_dir)
    settings: dict[str, Any] = {"dir": str(folder), "project": project, "group": group, "name": display_name(folder)}
    run = _start(
        folder, settings, wandb.Settings(init_timeout=init_timeout_s, finish_timeout=finish_timeout_s, quiet=True)
    )
    if run is None:
        return RunWandbLogger(save_dir=folder, project=project)
    run.tags = tuple(dict.fromkeys([*run.tags, *tags(folder)]))  # given to `init` they would replace a user's own
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    for metric, direction in (best or {}).items():
        run.define_metric(metric, step_metric="trainer/global_step", summary=f"{direction},last")
    return RunWandbLogger(save_dir=folder, project=project, experiment=run)


@contextmanager
def wandb_finished() -> Iterator[None]:
    """End the process's W&B run with the block: as failed if the block fails."""
    try:
        yield
    except BaseException:
        finish_wandb(exit_code=1)
        raise
    finish_wandb()


def finish_wandb(exit_code: int = 0) -> None:
    """End the process's W&B run, if there is one: within its time limit, and without failing the training run."""
    try:
        wandb.finish(exit_code=exit_code)
    except Exception as error:  # as in `_start`
        _warn(error, "could not close its run; upload it with `wandb sync`")
        _end_session()


def mode_by_key() -> str:
    """``WANDB_MODE`` if it is set, else ``online`` where a key is configured for the server, else ``offline``."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    settings = wandb.setup().settings
    has_key = settings.api_key or settings.identity_token_file or _netrc_has(urlsplit(settings.base_url).netloc)
    return "online" if has_key else "offline"


@rank_zero_only
def _start(folder: Path, settings: dict[str, Any], limits: wandb.Settings) -> Any:
    """Start or continue the run on rank 0; None elsewhere."""
    # the images of tables wait here for their upload, when offline for `wandb sync`; by default it is the home folder
    os.environ["WANDB_DATA_DIR"] = str(folder.resolve() / "wandb")
    settings = settings | {"id": _run_id(folder), "resume": "allow", "settings": limits}
    try:
        return wandb.init(**(settings | {"mode": mode_by_key()}))
    except Exception as error:  # also below: a dashboard is not worth a training run, whatever its trouble is
        _warn(error, "did not start; the run goes on offline")
    try:
        _end_session()  # it still holds the run id
        return wandb.init(**(settings | {"mode": "offline"}))
    except Exception as error:
        _warn(error, "did not start offline either; the run goes on without it")
    return _no_run()


def _end_session() -> None:
    """Stop W&B's background process, so that the next run of this process gets a new one."""
    try:
        wandb.teardown()
    except Exception as error:  # it is dead already
        log.debug("W&B's background process did not stop by itself: %s", error)


def _no_run() -> Any:
    """A run that takes everything and keeps nothing."""
    return wandb.init(mode="disabled", reinit="create_new")


def _run_id(folder: Path) -> str:
    path = folder / "wandb_run_id"
    if not path.exists():
        write_atomically(path, secrets.token_hex(4).encode())
    return path.read_text().strip()


def _netrc_has(host: str) -> bool:
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except FileNotFoundError:
        return False
    except (netrc.NetrcParseError, OSError) as error:
        log.warning("%s cannot be read (%s): W&B goes on offline", path, error)
        return False


def _warn(error: Exception, consequence: str) -> None:
    log.warning("Weights & Biases %s (%s: %s)", consequence, type(error).__name__, error)
