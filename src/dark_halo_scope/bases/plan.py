"""What a sweep will do, told before it does it: jobs, the bases they share, what is there, what the rest takes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dark_halo_scope.bases.guess import BaseCosts, Cost, TuningCosts
from dark_halo_scope.bases.store import BaseStore
from dark_halo_scope.bases.work import Label, Refusal, Work
from dark_halo_scope.files import write_json

PLAN = "plan.json"
BaseState = Literal["stored", "remote", "to train", "not needed", "missing"]
JobState = Literal["hit", "to run", "blocked"]


@dataclass
class PlannedBase:
    """A base model of a plan.

    Attributes:
        where: See `BaseStore.where`.
        may_build: Whether a missing one may be trained.
        n_groups: That it is trained on; None where that was not told.
        cost: Of its training; None where nothing like it was ever timed.
        n_jobs: That start from it.
        n_open: Of these, not in the store.
    """

    where: Literal["here", "remote"] | None
    may_build: bool
    n_groups: int | None
    cost: Cost | None
    n_jobs: int = 0
    n_open: int = 0

    @property
    def state(self) -> BaseState:
        """What is to be done about it."""
        if self.where is not None:
            return "stored" if self.where == "here" else "remote"
        if not self.n_open:
            return "not needed"
        return "to train" if self.may_build else "missing"


@dataclass(frozen=True)
class PlannedJob:
    """A fine-tuning of a plan, by the first command line that asks for it."""

    base: str | None
    is_hit: bool
    labels: Mapping[str, Label]
    overrides: tuple[str, ...]


class Plan:
    """Is told of the works of a sweep one by one; writes nothing into the stores.

    Args:
        bases: Store of the base models.
        tunings: Store of the fine-tunings.
        n_command_lines: Of the sweep; it is told of fewer where that is interrupted.
    """

    def __init__(self, bases: BaseStore, tunings: BaseStore, n_command_lines: int) -> None:
        self.n_command_lines = n_command_lines
        self.n_added = 0
        self.jobs: dict[str, PlannedJob] = {}
        self.bases: dict[str, PlannedBase] = {}
        self.refused: list[Refusal] = []
        self._base_store = bases
        self._tuning_store = tunings
        self._base_costs = BaseCosts(bases)
        self._tuning_costs = TuningCosts(tunings)

    def watch(self, items: Iterable[Work | Refusal]) -> Iterator[Work | Refusal]:
        """Pass the items of a sweep on, each once it is counted."""
        for item in items:
            self.add(item)
            yield item

    def add(self, item: Work | Refusal) -> None:
        """Count an item; the same fine-tuning by another command line is no other job."""
        self.n_added += 1
        if isinstance(item, Refusal):
            self.refused.append(item)
        elif item.key not in self.jobs:
            self._add_job(item)

    def _add_job(self, work: Work) -> None:
        where = self._tuning_store.where(work.key)
        if where == "here":
            self._tuning_costs.learn(work.key, work.labels.get("mode"))
        self.jobs[work.key] = PlannedJob(work.base_key, where is not None, dict(work.labels), work.overrides)
        if work.base_key is None:
            return
        if work.base_key not in self.bases:
            spec = work.base_spec
            n_groups, cost = (len(spec.groups), self._base_costs.guess(spec)) if spec else (None, None)
            there = self._base_store.where(work.base_key)
            self.bases[work.base_key] = PlannedBase(there, work.build is not None, n_groups, cost)
        self.bases[work.base_key].n_jobs += 1
        self.bases[work.base_key].n_open += where is None

    def state(self, job: PlannedJob) -> JobState:
        """What is to be done about a job."""
        if job.is_hit:
            return "hit"
        return "blocked" if job.base is not None and self.bases[job.base].state == "missing" else "to run"

    def counts(self) -> dict[str, int]:
        """Of everything, by name."""
        jobs = Counter(self.state(job) for job in self.jobs.values())
        bases = Counter(base.state for base in self.bases.values())
        n_from_base = sum(base.n_jobs for base in self.bases.values())
        return {
            "command_lines": self.n_command_lines,
            "not_come_to": self.n_command_lines - self.n_added,
            "refused": len(self.refused),
            "jobs": len(self.jobs),
            "hits": jobs["hit"],
            "to_run": jobs["to run"],
            "blocked": jobs["blocked"],
            "without_base": len(self.jobs) - n_from_base,
            "bases": len(self.bases),
            "bases_stored": bases["stored"] + bases["remote"],
            "bases_to_train": bases["to train"],
            "trainings_saved": n_from_base - len(self.bases),
        }

    @property
    def is_sound(self) -> bool:
        """Whether every command line makes a job, and none is blocked."""
        return not self.refused and all(base.state != "missing" for base in self.bases.values())

    def takes(self) -> dict[str, Any]:
        """What is left to do takes: ``hours`` of one of ``devices``, ``bytes``; without those ``unknown``.

        Guessed from base models alike in network, schedule and data, and from the plan's fine-tunings of the same mode
        that are there.
        """
        open_bases = [base.cost for base in self.bases.values() if base.state == "to train"]
        open_jobs = [job for job in self.jobs.values() if self.state(job) == "to run"]
        tunings = [self._tuning_costs.guess(job.labels.get("mode")) for job in open_jobs]
        known = [cost for cost in (*open_bases, *tunings) if cost is not None]
        return {
            "hours": sum(cost.hours for cost in known) if known else None,
            "bytes": sum(cost.n_bytes for cost in known) if known else None,
            "devices": sorted({cost.device for cost in known}),
            "unknown": {"bases": open_bases.count(None), "jobs": tunings.count(None)},
        }

    def write(self, folder: Path) -> None:
        """Leave all of it in a sweep's folder."""
        bases = {
            key: {
                "state": base.state,
                "groups": base.n_groups,
                "jobs": base.n_jobs,
                "jobs_to_run": base.n_open,
                "hours": base.cost.hours if base.cost and base.state == "to train" else None,
            }
            for key, base in self.bases.items()
        }
        jobs = [
            {
                "key": key,
                "base": job.base,
                "state": self.state(job),
                "labels": dict(job.labels),
                "overrides": list(job.overrides),
            }
            for key, job in self.jobs.items()
        ]
        refused = [{"overrides": list(refusal.overrides), "error": refusal.error} for refusal in self.refused]
        content = {"counts": self.counts(), "takes": self.takes(), "bases": bases, "jobs": jobs, "refused": refused}
        write_json(folder / PLAN, content)
