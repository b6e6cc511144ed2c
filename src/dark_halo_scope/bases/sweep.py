"""A sweep of fine-tunings, from the command lines that Hydra's sweeper hands over to the last of them ended."""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.utils import get_object
from omegaconf import DictConfig, open_dict
from rich.console import Console
from rich.progress import track

from dark_halo_scope.bases.engine import Engine, Executor
from dark_halo_scope.bases.failures import show_failures
from dark_halo_scope.bases.ledger import JOBS, Ledger
from dark_halo_scope.bases.plan import PLAN, Plan
from dark_halo_scope.bases.plan_table import show_plan
from dark_halo_scope.bases.progress import jobs_bar
from dark_halo_scope.bases.work import Refusal, Work, Workshop, sentence, trace

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
EXIT_UNFINISHED = 1
EXIT_INTERRUPTED = 130
Commands = Sequence[Sequence[str]]


class LaunchError(ValueError):
    """Jobs that are not handed over as a whole, so that they cannot share what they need."""


def sweep(
    config: DictConfig, loader: ConfigLoader, commands: Commands, workshop: str, executor: Callable[[], Executor]
) -> None:
    """Run what is not done yet, or with ``plan=true`` tell what that would be.

    Args:
        config: That of the sweep, with its node `hydra`.
        loader: Composes the config of a job.
        commands: Overrides of each job.
        workshop: Path of what makes a `Workshop` of a config.
        executor: Makes what runs the tasks.

    Raises:
        LaunchError: The sweeper hands jobs over one by one, or in batches.
        SystemExit: A job failed or is blocked, or the sweep was interrupted.
    """
    _refuse_parts(config)
    shop: Workshop = get_object(workshop)(config)
    folder = Path(config.hydra.sweep.dir)
    plan = Plan(shop.bases, shop.tunings, len(commands))
    items = plan.watch(works(config, loader, commands, shop))
    console = Console(highlight=False)
    if config.get("plan"):
        for _ in track(items, "planning", len(commands), console=Console(stderr=True), disable=not sys.stderr.isatty()):
            pass
        plan.write(folder)
        show_plan(plan, console)
        console.print(f"all of it: {folder / PLAN}", markup=False, soft_wrap=True)
        if not plan.is_sound:
            raise SystemExit(EXIT_UNFINISHED)
        return
    ledger = Ledger(folder, _command(config))
    try:
        with executor() as entered, jobs_bar(len(commands)) as watch:
            Engine(shop.bases, shop.tunings, entered, ledger).run(items, watch)
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    finally:
        ledger.write()
        plan.write(folder)
        _tell(ledger, len(commands), console)
    if ledger.failures:
        raise SystemExit(EXIT_UNFINISHED)


def works(config: DictConfig, loader: ConfigLoader, commands: Commands, shop: Workshop) -> Iterator[Work | Refusal]:
    """The work of each command line, composed when it is asked for."""
    for words in commands:
        overrides = tuple(word for word in words if word.lstrip("+").split("=")[0] != "plan")
        item: Work | Refusal
        try:
            cfg = loader.load_sweep_config(config, list(overrides))
            with open_dict(cfg):
                del cfg["hydra"]
            item = shop.work(cfg, overrides)
        except Exception as error:  # whatever it is, it is told of this job, and the others go on
            item = Refusal(overrides, sentence(error), trace(error))
        yield item


def _refuse_parts(config: DictConfig) -> None:
    sweeper = config.hydra.sweeper
    if sweeper._target_ != BASIC_SWEEPER or sweeper.max_batch_size is not None:
        launcher = config.hydra.runtime.choices["hydra/launcher"]
        raise LaunchError(
            f"hydra/launcher={launcher} needs all jobs at once, to train each base model once: leave out "
            "hydra.sweeper.max_batch_size, and use another launcher for a search"
        )


def _command(config: DictConfig) -> str:
    """The one that goes on with the sweep: the same again."""
    of_hydra = [word for word in config.hydra.overrides.hydra if not word.startswith("hydra.mode=")]
    return shlex.join(["python", "train.py", "-m", *config.hydra.overrides.task, *of_hydra])


def _tell(ledger: Ledger, total: int, console: Console) -> None:
    told = [f"{n:,} {state}" for state in ("done", "hit", "failed", "blocked") if (n := ledger.count[state])]
    left = total - ledger.count.total()
    console.print(", ".join([f"{total:,} jobs", *told, *([f"{left:,} not done"] if left else [])]))
    if ledger.failures:
        show_failures(ledger.failures, ledger.folder, console)
    if left or ledger.failures:
        console.print(f"to go on with what is not done: {ledger.command}", markup=False, soft_wrap=True)
    console.print(f"what became of each: {ledger.folder / JOBS}", markup=False, soft_wrap=True)
