"""Train what is missing of the matrix, one process after the other; each dies with this one."""

import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dark_halo_scope import processes
from dark_halo_scope.generalisation.runs import MatrixRun

_LOOK_EVERY_S = 0.5
_PATIENCE_S = 60.0  # for a run that was told to stop


@dataclass(frozen=True)
class Failure:
    """A run that did not come to its end."""

    arm: str
    seed: int
    exit_code: int
    log: str
    last_line: str


def train_missing(runs: Sequence[MatrixRun], overrides: list[str], *, show: bool) -> list[Failure]:
    """Train the runs that are not finished; one that fails is noted, and the others go on.

    Args:
        runs: In the order in which they are trained.
        overrides: Of the config, for all of them.
        show: A bar with the time left.
    """
    failures = []
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), disable=not show) as bar:
        missing = [run for run in runs if not run.is_finished()]
        task = bar.add_task("", total=len(missing))
        for position, run in enumerate(missing):
            bar.update(task, description=f"{run.name} ({position + 1} of {len(missing)})")

            def look(run: MatrixRun = run, done: int = position) -> None:
                bar.update(task, completed=done + run.fraction_done())

            code = _train(run, overrides, look)
            if code or not run.is_finished():
                failures.append(Failure(run.arm.name, run.seed, code, str(run.log), _last_line(run)))
                bar.console.print(f"{run.name} failed with exit code {code}: {run.log}", soft_wrap=True)
            bar.update(task, completed=position + 1)
    return failures


def _train(run: MatrixRun, overrides: list[str], look: Callable[[], None]) -> int:
    """Run one to its end; an interruption is passed on, and waited for."""
    run.log.parent.mkdir(parents=True, exist_ok=True)
    with run.log.open("ab") as log:
        # A session of its own: Ctrl-C reaches it from here only, and once.
        child = processes.start(run.command(overrides), output=log, own_session=True)
    try:
        while True:
            try:
                return child.wait(_LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                look()
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise
    finally:
        assert child.stdin is not None
        child.stdin.close()


def _last_line(run: MatrixRun) -> str:
    lines = run.log.read_text(errors="replace").split("\n")
    refused = [line for line in lines if line.startswith("refused: ")]
    return (refused or [line for line in lines if line.strip()] or ["it printed nothing"])[-1].strip()
