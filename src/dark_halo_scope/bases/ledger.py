"""What became of each job of a sweep: ``jobs.jsonl`` and ``failures.json`` in its folder."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from dark_halo_scope.bases.failures import Failure, write_failures
from dark_halo_scope.bases.work import Label, Refusal, Work
from dark_halo_scope.files import write_atomically

JOBS = "jobs.jsonl"
State = Literal["done", "hit", "failed", "blocked"]
_EVERY_S = 10.0
_SHARE = 0.02  # of the time that may go into writing, where there are very many jobs


@dataclass(frozen=True)
class Record:
    """A line of ``jobs.jsonl``.

    Attributes:
        key: Of the fine-tuning; None where no job could be made of the command line.
        base: Key of its base model; None where it has none.
        overrides: The command line that makes it.
        labels: What it is called in tables.
        state: ``done`` in this sweep, a ``hit`` where it was there before, ``failed``, or ``blocked`` by a base model
            that failed or is missing.
    """

    key: str | None
    base: str | None
    overrides: tuple[str, ...]
    labels: Mapping[str, Label]
    state: State


class Ledger:
    """Keeps a line for each command line, and the files up to date.

    Args:
        folder: Of the sweep.
        command: The command that goes on with it.
    """

    def __init__(self, folder: Path, command: str) -> None:
        self.folder = folder
        self.command = command
        self.records: list[Record] = []
        self.failures: list[Failure] = []
        self.count: Counter[str] = Counter()  # jobs by state
        self._n_written = -1
        self._next = 0.0

    def note(self, work: Work, state: State, error: str = "", trace: str = "") -> None:
        """Note how a job ended."""
        labels = dict(work.labels)
        self._add(Record(work.key, work.base_key, work.overrides, labels, state))
        if error:
            what: Literal["job", "blocked"] = "blocked" if state == "blocked" else "job"
            self.failures.append(Failure(what, work.key, work.base_key, labels, work.overrides, error, trace))

    def refuse(self, refusal: Refusal) -> None:
        """Note a command line that no job can be made of."""
        self._add(Record(None, None, refusal.overrides, {}, "failed"))
        self.failures.append(Failure("config", None, None, {}, refusal.overrides, refusal.error, refusal.trace))

    def fail_base(self, first: Work, error: str, trace: str) -> None:
        """Note a base model that could not be made; the jobs it blocks are noted one by one."""
        labels, key = dict(first.labels), first.base_key
        self.failures.append(Failure("base", key, key, labels, first.overrides, error, trace))

    def keep_up(self) -> None:
        """Write the files if they are out of date and that was not done just now."""
        if time.monotonic() >= self._next and len(self.records) != self._n_written:
            self.write()

    def write(self) -> None:
        """Write the files."""
        began = time.monotonic()
        lines = "".join(json.dumps(asdict(record)) + "\n" for record in self.records)
        write_atomically(self.folder / JOBS, lines.encode())
        write_failures(self.failures, self.command, self.folder)
        ended = time.monotonic()
        self._n_written, self._next = len(self.records), ended + max(_EVERY_S, (ended - began) / _SHARE)

    def _add(self, record: Record) -> None:
        self.records.append(record)
        self.count[record.state] += 1
