"""Long work on many samples: one process at a time, its threads sharing it; a bar of the rate and the time left."""

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Advance = Callable[[int], None]


class _RateColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.0f} {self._unit}/s")


@contextmanager
def only_process(lock: Path) -> Iterator[None]:
    """Wait for and hold an exclusive lock, which the system lifts when the process ends in whatever way."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def stamps_bar(what: str, total: int, *, show: bool, unit: str = "stamps") -> Iterator[Advance]:
    """A bar of ``total`` stamps, or whatever the unit is; gives the function that moves it on."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), _RateColumn(unit), TimeRemainingColumn())
    with Progress(*columns, disable=not show) as bar:
        task = bar.add_task("", total=total)
        yield lambda number: bar.advance(task, number)


def on_all_cores(work: Callable[[int], None], jobs: Iterable[int]) -> Iterator[int]:
    """Do every job, one thread a core, and give each as it is finished; the first error ends it all.

    Inflating, measuring, hashing and writing release the GIL, so that processes would only add copies.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        futures = {pool.submit(work, job): job for job in jobs}
        try:
            for done in as_completed(futures):
                done.result()
                yield futures[done]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def in_turn(work: Callable[[int], None], jobs: Iterable[int], at_a_time: int) -> Iterator[int]:
    """Do every job, one thread each, and give each in its turn; the first error ends it all.

    A job begins only when fewer than ``at_a_time`` are begun and not yet given and dealt with by the caller, so that no
    more of them ever hold the room that each takes up to then.
    """
    begun: deque[tuple[int, Future[None]]] = deque()
    with ThreadPoolExecutor(at_a_time) as pool:
        for job in jobs:
            if len(begun) == at_a_time:
                yield _first(begun)
            begun.append((job, pool.submit(work, job)))
        while begun:
            yield _first(begun)


def _first(begun: deque[tuple[int, Future[None]]]) -> int:
    job, done = begun.popleft()
    done.result()
    return job
