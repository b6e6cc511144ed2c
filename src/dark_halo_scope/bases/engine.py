"""The graph of a sweep: each missing base model made once, each fine-tuning as soon as its own base model is there.

Nothing of what is done is kept here: it stands in the stores, so that the same command given again goes on after any
death of the driver. Who executes a task, and how often one is tried, is the matter of an `Executor`.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from dark_halo_scope.bases.ledger import Ledger, State
from dark_halo_scope.bases.store import BaseStore
from dark_halo_scope.bases.work import Refusal, Work, sentence, trace

N_ATTEMPTS = 3
PAUSE_S = 1.0  # before another attempt: what passes by does not do so in a millisecond
_LOOK_EVERY_S = 0.5


class Task(NamedTuple):
    """What an executor runs."""

    kind: Literal["base", "job"]
    key: str
    function: Callable[[], object]


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        error: Why it failed, in a sentence; empty where it is done.
        trace: Where in the code.
        passes: Whether another attempt may do better.
    """

    error: str = ""
    trace: str = ""
    passes: bool = False


class Executor(AbstractContextManager["Executor"], Protocol):
    """Runs tasks; at the end of its `with` block, nothing of it is left running.

    Attributes:
        ahead: How many tasks it wants to be known that could begin.
    """

    ahead: int

    @property
    def n_open(self) -> int:
        """Tasks that were submitted and have not ended."""

    def has_room(self) -> bool:
        """Whether it takes another task."""

    def submit(self, task: Task) -> None:
        """Take a task, to run it when it can."""

    def ended(self, wait_s: float) -> Iterable[tuple[Task, Outcome]]:
        """The tasks that have ended since the last call; waits for one at most so long."""


class SerialExecutor(AbstractContextManager["SerialExecutor"]):
    """One task at a time, in this process."""

    ahead = 1

    def __init__(self) -> None:
        self._task: Task | None = None

    def __exit__(self, *error: object) -> None:
        """Nothing is running."""

    @property
    def n_open(self) -> int:
        """See `Executor`."""
        return int(self._task is not None)

    def has_room(self) -> bool:
        """See `Executor`."""
        return self._task is None

    def submit(self, task: Task) -> None:
        """See `Executor`."""
        self._task = task

    def ended(self, wait_s: float) -> Iterable[tuple[Task, Outcome]]:
        """Runs the task, however long it takes."""
        if self._task is None:
            return []
        task, self._task = self._task, None
        outcome = attempt(task.function)
        for _ in range(N_ATTEMPTS - 1):
            if outcome.passes:
                time.sleep(PAUSE_S)
                outcome = attempt(task.function)
        return [(task, outcome)]


def attempt(function: Callable[[], object]) -> Outcome:
    """Run a task once. Its error is told in plain text: not every error can leave its process."""
    try:
        function()
    except Exception as error:  # whatever it is, it is that of this task, and the others go on
        return Outcome(sentence(error), trace(error), _passes(error))
    return Outcome()


def _passes(error: BaseException) -> bool:
    """A disk or a network that fails now and then, and a GPU whose memory others hold; anything else would recur."""
    return isinstance(error, OSError) or type(error).__name__ == "OutOfMemoryError"  # torch's, without importing it


class Status(NamedTuple):
    """How far a sweep is; base models as far as they are known."""

    n_ended: int
    n_hits: int
    n_failed: int
    n_blocked: int
    n_bases: int
    n_bases_there: int


class Engine:
    """Runs the works of one sweep.

    Args:
        bases: Store of the base models.
        tunings: Store of the fine-tunings.
        executor: Runs the tasks; entered by the caller.
        ledger: Told what becomes of each job.
    """

    def __init__(self, bases: BaseStore, tunings: BaseStore, executor: Executor, ledger: Ledger) -> None:
        self.bases = bases
        self.tunings = tunings
        self.executor = executor
        self.ledger = ledger
        self._builds: deque[Task] = deque()
        self._jobs: deque[Task] = deque()
        self._open: dict[
            str, list[Work]
        ] = {}  # jobs that have not ended: a work for each command line that asks for it
        self._waiting: dict[str, list[str]] = {}  # by base model in the making: jobs
        self._bases: dict[str, str] = {}  # by base model that is settled: why there is none; empty where it is there
        self._lost: dict[str, tuple[State, str]] = {}  # by job that failed or is blocked

    @property
    def status(self) -> Status:
        """How far it is."""
        count = self.ledger.count
        there = sum(not error for error in self._bases.values())
        known = len(self._bases) + len(self._waiting)
        return Status(count.total(), count["hit"], count["failed"], count["blocked"], known, there)

    def run(self, items: Iterable[Work | Refusal], watch: Callable[[Status], None]) -> None:
        """Return when all are done, failed or blocked. Takes the next item only when there is use for it."""
        left = iter(items)
        more = True
        while more or self._builds or self._jobs or self.executor.n_open:
            taking = more and len(self._builds) + len(self._jobs) < self.executor.ahead
            if taking and (item := next(left, None)) is not None:
                self._take(item)
            elif taking:
                more = False
            while (self._builds or self._jobs) and self.executor.has_room():
                self.executor.submit((self._builds or self._jobs).popleft())  # a base model holds others up
            for task, outcome in self.executor.ended(0.0 if taking else _LOOK_EVERY_S):
                self._end_task(task, outcome)
            self.ledger.keep_up()
            watch(self.status)

    def _take(self, item: Work | Refusal) -> None:
        if isinstance(item, Refusal):
            self.ledger.refuse(item)
        elif item.key in self._open:
            self._open[item.key].append(item)
        elif item.key in self._lost:
            self.ledger.note(item, *self._lost[item.key])
        elif self.tunings.get(item.key) is not None:
            self.ledger.note(item, "hit")
        else:
            self._open[item.key] = [item]
            self._queue(item)

    def _queue(self, work: Work) -> None:
        base = work.base_key
        if base is None or base in self._bases or self._is_there(base):
            self._queue_or_block(work)
        elif base in self._waiting:
            self._waiting[base].append(work.key)
        elif work.build is None:
            missing = (
                f"its base model {base[:12]} is not in the store {self.bases.root} and may not be trained here: allow "
                "it with build=true"
            )
            self._end_job(work.key, "blocked", missing)
        else:
            self._waiting[base] = [work.key]
            self._builds.append(Task("base", base, work.build))

    def _is_there(self, base: str) -> bool:
        """Whether a base model is here and sound, or can be copied by the job itself."""
        where = self.bases.where(base)
        if where == "remote" or (where == "here" and self.bases.get(base) is not None):
            self._bases[base] = ""
            return True
        return False

    def _queue_or_block(self, work: Work) -> None:
        error = self._bases[work.base_key] if work.base_key else ""
        if error:
            self._end_job(work.key, "blocked", error)
        else:
            self._jobs.append(Task("job", work.key, work.run))

    def _end_task(self, task: Task, outcome: Outcome) -> None:
        store = self.bases if task.kind == "base" else self.tunings
        if not outcome.error and store.where(task.key) is None:
            outcome = Outcome(f"it ended, but {task.key[:12]} is not in the store {store.root}")
        if task.kind == "job":
            self._end_job(task.key, "failed" if outcome.error else "done", outcome.error, outcome.trace)
            return
        children = [self._open[key][0] for key in self._waiting.pop(task.key)]
        self._bases[task.key] = f"its base model {task.key[:12]} failed: {outcome.error}" if outcome.error else ""
        if outcome.error:
            self.ledger.fail_base(children[0], outcome.error, outcome.trace)
        for work in children:
            self._queue_or_block(work)

    def _end_job(self, key: str, state: State, error: str = "", where: str = "") -> None:
        for work in self._open.pop(key):
            self.ledger.note(work, state, error, where)
        if error:
            self._lost[key] = (state, error)
