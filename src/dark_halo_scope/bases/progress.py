"""How far a sweep is: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dark_halo_scope.bases.engine import Status

log = logging.getLogger(__name__)

_TELL_EVERY_S = 60.0
_DRAW_EVERY_S = 0.2


@contextmanager
def jobs_bar(total: int) -> Iterator[Callable[[Status], None]]:
    """A bar of ``total`` jobs; gives the function that is told how far they are."""
    began = time.monotonic()
    on_terminal = sys.stderr.isatty()
    every_s, due = (_DRAW_EVERY_S, began) if on_terminal else (_TELL_EVERY_S, began + _TELL_EVERY_S)
    columns = (TextColumn("jobs"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), disable=not on_terminal) as bar:
        task = bar.add_task("", total=total)

        def tell(status: Status) -> None:
            nonlocal due
            now = time.monotonic()
            if now < due and (status.n_ended < total or bar.tasks[task].completed == total):
                return
            due = now + every_s
            told = words(status, total, now - began)
            bar.update(task, completed=status.n_ended, description=told)
            if not on_terminal:
                log.info("%d of %d jobs, %s", status.n_ended, total, told)

        yield tell


def words(status: Status, total: int, seconds: float) -> str:
    """What became of the jobs, the rate, and the time left if it goes on like this; hits take no time."""
    parts = [f"{status.n_bases_there} of {status.n_bases} bases"]
    parts += [f"{n} {name}" for name in ("failed", "blocked") if (n := getattr(status, f"n_{name}"))]
    run = status.n_ended - status.n_hits - status.n_blocked
    if run and seconds:
        a_minute = 60 * run / seconds
        parts.append(f"{a_minute:.1f} jobs/min" if a_minute < 100 else f"{a_minute / 60:.1f} jobs/s")
        left_min = (total - status.n_ended) / a_minute
        parts.append(f"about {left_min:.0f} min left" if left_min < 90 else f"about {left_min / 60:.1f} h left")
    return ", ".join(parts)
