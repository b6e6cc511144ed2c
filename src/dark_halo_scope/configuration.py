"""The edge of the program: where configs lie, how a run folder gets its name, and how an error is told.

Light on purpose (no torch): it is imported before anything is composed.
"""

import difflib
import fcntl
import functools
import logging
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs"
EXIT_REFUSED = 2

log = logging.getLogger(__name__)


class ConfigError(ValueError):
    """A config that cannot be run, found before anything is loaded."""


def register_resolvers() -> None:
    """Make ``${repository:}`` and ``${run_dir:...}`` known to OmegaConf."""
    OmegaConf.register_new_resolver("repository", lambda: str(REPOSITORY), replace=True)
    OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)


@functools.cache  # one process, one folder: the time in the name is taken once
def _run_dir(log_dir: str, experiment: str, run_name: str | None, resume: str | None) -> str:
    """Folder of this run: the one to go on with if ``resume`` asks for it, else a new one."""
    runs = Path(log_dir).resolve() / experiment
    if resume is not None and resume != "auto":
        folder = Path(resume).resolve()
        if not folder.is_dir():
            raise ConfigError(
                f"resume={resume}: there is no such run folder; give a folder below {runs} or resume=auto"
            )
        return str(folder)
    if run_name is not None:
        return str(runs / run_name)
    if resume == "auto" and (unfinished := newest_unfinished(runs)) is not None:
        return str(unfinished)
    if "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        raise ConfigError(
            "torchrun and srun start every rank by itself, each with another clock: name the run, run_name="
        )
    return str(runs / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")


def newest_unfinished(runs: Path) -> Path | None:
    """The newest folder below ``runs`` with a checkpoint to go on from, no report yet, and no process at work in it."""
    checkpoints = [c for c in runs.glob("*/checkpoints/last.ckpt") if not (c.parents[1] / "report.html").exists()]
    newest_first = sorted(checkpoints, key=lambda c: c.stat().st_mtime, reverse=True)
    return next((c.parents[1] for c in newest_first if not in_use(c.parents[1])), None)


def in_use(run_dir: Path) -> bool:
    """Whether a living process of this machine has claimed the run folder."""
    try:
        with claimed(run_dir):
            return False
    except ConfigError:
        return True


@contextmanager
def claimed(run_dir: Path) -> Iterator[None]:
    """Keep a run folder to this process; the claim ends with the block, and with the process however it dies.

    Raises:
        ConfigError: When another process has claimed it.
    """
    with (run_dir / ".claim").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another process is at work in {run_dir}: wait for it, or name another run_name"
            ) from None
        yield


def choose_recipe(cfg: DictConfig, n_train: int) -> None:
    """Replace ``recipe=auto`` by the recipe that fits ``n_train`` training stamps, in place."""
    if cfg.recipe.name != "auto":
        return
    name = "minutes" if n_train < cfg.recipe.small_below_stamps else "survey"
    chosen = OmegaConf.load(CONFIGS / "recipe" / f"{name}.yaml")
    for key, value in chosen.items():
        if key == "name" or OmegaConf.is_missing(cfg.recipe, key):  # what the command line set stays
            cfg.recipe[key] = value
    log.info(
        "recipe %s for %s training stamps (recipe=minutes or recipe=survey to decide yourself)", name, f"{n_train:,}"
    )


def warn_of_changes(cfg: DictConfig, saved: Path) -> None:
    """When a run is resumed, say which settings differ from those it was started with."""
    before = _flat(OmegaConf.to_container(OmegaConf.load(saved)))
    now = _flat(OmegaConf.to_container(cfg, resolve=True))
    changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k) and k != "resume")
    if changed:
        log.warning("resuming with other settings than the run was started with: %s", ", ".join(changed))


def _flat(node: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(node, dict):
        return {prefix: node}
    return {
        k: v for key, child in node.items() for k, v in _flat(child, f"{prefix}.{key}" if prefix else str(key)).items()
    }


@contextmanager
def plain_errors() -> Iterator[None]:
    """Tell errors of ours and of Hydra in a sentence; leave every other one its traceback.

    With ``HALO_TRACEBACK=1`` all of them keep it.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on instead of printing them its own way
    try:
        yield
    except Exception as error:
        if "HALO_TRACEBACK" in os.environ or (sentence := _sentence(error)) is None:
            raise
        sys.stderr.write(f"\nrefused: {sentence}\n")
        raise SystemExit(EXIT_REFUSED) from None


def _sentence(error: BaseException | None) -> str | None:
    """The message of the first error of ours in a chain of causes, or of Hydra; None for anything else."""
    told_by_hydra = None
    while error is not None:
        if isinstance(error, ValueError) and type(error).__module__.startswith("dark_halo_scope"):
            return str(error)
        composing = isinstance(error, HydraException) and not isinstance(error, InstantiationException)
        if told_by_hydra is None and (composing or isinstance(error, OmegaConfBaseException)):
            told_by_hydra = _say_plainly(str(error))
        error = error.__cause__
    return told_by_hydra


def _say_plainly(message: str) -> str:
    """Hydra's message in one line, with the key or the option that was probably meant."""
    if key := re.search(r"Could not override '(?:\+)?([^']+)'", message):
        known = list(_flat(OmegaConf.to_container(_root_config())))
        return f"there is no key {key[1]}; {_closest(key[1], known)}--cfg job shows all of them"
    if option := re.search(r"Could not find '([^']+)'\s+Available options in '([^']+)':\s+((?:\t\S+\n)+)", message):
        name, group, options = option[1].split("/")[-1], option[2], option[3].split()
        return f"there is no {group}={name}; {_closest(name, options)}choose one of {', '.join(options)}"
    if resolving := re.search(r"raised while resolving interpolation: (.*?)\s+full_key: ", message, re.DOTALL):
        return resolving[1]
    return " ".join(message.split())


def _closest(name: str, known: list[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {matches[0]}? " if matches else ""


def _root_config() -> DictConfig:
    """The config with no override."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train")
