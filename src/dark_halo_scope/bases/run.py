"""One fine-tuning by `train.py`: its base model fetched or trained, then itself, then a table of what it reached."""

import logging
import sys
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from dark_halo_scope.bases.base import Base
from dark_halo_scope.bases.job import Job, job_of, run_job
from dark_halo_scope.bases.modes import ModeError
from dark_halo_scope.bases.plan import Plan
from dark_halo_scope.bases.plan_table import show_plan

log = logging.getLogger(__name__)


def run(cfg: DictConfig, overrides: tuple[str, ...]) -> float | None:
    """Do what ``cfg`` describes; with ``plan=true``, only tell what that would be.

    Returns:
        The metric that ``bases.metric`` names, on the target's test part; None for a plan, or
        where it is no number.
    """
    job = job_of(cfg, tuple(word for word in overrides if word.lstrip("+").split("=")[0] != "plan"))
    console = Console(highlight=False)
    if cfg.plan:
        plan = Plan(job.place.bases, job.place.tunings, 1)
        plan.add(job.work(cfg.build))
        plan.write(Path(cfg.paths.run_dir))
        show_plan(plan, console)
        return None
    machine = replace(job.place.machine, progress=sys.stderr.isatty())
    job = replace(job, place=replace(job.place, machine=machine))
    was_there = job.place.tunings.where(job.key()) is not None
    done = run_job(job, cfg.build)
    console.print(result_table(job, done, was_there))
    console.print(f"kept in {done.folder}", markup=False, soft_wrap=True)
    if cfg.bases.metric not in done.metrics["test"]:
        known = ", ".join(done.metrics["test"])
        raise ModeError(f"bases.metric={cfg.bases.metric} is not measured in the test; choose one of {known}")
    value: float | None = done.metrics["test"][cfg.bases.metric]
    return value


def result_table(job: Job, done: Base, was_there: bool) -> Table:
    """What a fine-tuning reached on the target's test part, beside its base model as it was."""
    labels, metrics = job.labels, done.metrics
    n_labels = sum(metrics["budget"].values())
    title = f"{labels['mode']} to {labels['target']}" + (", found in the store" if was_there else "")
    base = f"base: {len(job.base.groups)} groups, {job.base.key()[:12]}" if job.base else "no base model"
    table = Table(title=title, caption=f"{base}; {n_labels:,} labels of the target; {done.key[:12]}")
    table.add_column("test metric")
    before = metrics.get("base")
    if before:
        table.add_column("base only", justify="right")
    table.add_column(str(labels["mode"]).replace("_", " "), justify="right")
    for name, value in metrics["test"].items():
        columns = [before[name], value] if before else [value]
        table.add_row(name, *("-" if number is None else f"{number:.4f}" for number in columns))
    return table
