"""A sweep as it stands on disk: what was asked for, what each fine-tuning reached, and what there is not."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dark_halo_scope.bases.ledger import JOBS
from dark_halo_scope.bases.manifest import DamagedError, Manifest
from dark_halo_scope.bases.plan import PLAN
from dark_halo_scope.bases.report.arms import ARMS
from dark_halo_scope.bases.roots import TUNINGS

SCORES = "scores.parquet"
ENDED_WELL = ("done", "hit")  # trained in this sweep; found in the store
NOT_STORED, NOT_RUN = "not in the store", "not run"
ALL = "all"  # the budget that a sweep calls null
LABELS = ("mode", "target", "n_base", "replicate", "fold", "budget", "seed")
TOLD = f"{', '.join(LABELS[:-1])} and {LABELS[-1]}"


class SweepError(ValueError):
    """A sweep that cannot be reported."""


@dataclass(frozen=True)
class Asked:
    """A job of the sweep: a line of its ledger, or of its plan where it was not come to.

    Attributes:
        key: Of the fine-tuning; None where its configuration was refused.
        base: Key of the base model it starts from, if any.
        state: ``done``, ``hit``, or why there is nothing.
        labels: What it is called in tables: `LABELS`; empty where its configuration was refused.
        overrides: The command line that makes it.
    """

    key: str | None
    base: str | None
    state: str
    labels: Mapping[str, Any]
    overrides: tuple[str, ...]

    @property
    def budget(self) -> str | int | float:
        """Of labels, as the sweep calls it."""
        return ALL if self.labels["budget"] is None else self.labels["budget"]

    @property
    def name(self) -> str:
        """In words, for messages."""
        told = [f"{name} {value}" for name, value in self.labels.items() if value is not None]
        return ", ".join(told) or " ".join(self.overrides)


@dataclass(frozen=True)
class Reached:
    """What a stored fine-tuning says of itself.

    Attributes:
        n_labels: Of the target, all that count in its budget.
        metrics: On the target's test part; None where that gave no number.
        base_metrics: Those of its base model as it was; empty where it has none.
        scores_sha256: Of its score file, as its manifest states.
        test_rows: Hash of the rows it was tested on.
    """

    n_labels: int
    metrics: Mapping[str, float | None]
    base_metrics: Mapping[str, float | None]
    scores_sha256: str
    test_rows: str


@dataclass(frozen=True)
class Tuning:
    """A job that has its fine-tuning."""

    asked: Asked
    reached: Reached

    @property
    def mode(self) -> str:
        """Which arm it belongs to."""
        return str(self.asked.labels["mode"])

    @property
    def target(self) -> str:
        """The group it was made for."""
        return str(self.asked.labels["target"])


@dataclass(frozen=True)
class Sweep:
    """Everything that was asked for: `tunings` and `missing` together, and what was not even composed.

    Attributes:
        not_come_to: Command lines that an interrupted sweep had not looked at yet.
    """

    folder: Path
    asked: list[Asked]
    tunings: list[Tuning]
    missing: list[Asked]
    not_come_to: int

    @property
    def states(self) -> dict[str, int]:
        """How many jobs ended how."""
        return dict(Counter(job.state for job in (*(tuning.asked for tuning in self.tunings), *self.missing)))

    @property
    def tested_differently(self) -> list[str]:
        """Targets whose fine-tunings were not all tested on the same rows."""
        rows: dict[str, set[str]] = {}
        for tuning in self.tunings:
            rows.setdefault(tuning.target, set()).add(tuning.reached.test_rows)
        return sorted(target for target, of in rows.items() if len(of) > 1)


def read_sweep(folder: Path, store: Path) -> Sweep:
    """A sweep and the fine-tunings it names.

    Args:
        folder: Holds ``jobs.jsonl``.
        store: Root of the store that the sweep used.

    Raises:
        SweepError: There is no sweep, it is damaged, or jobs of the same labels differ in something else.
        ManifestError: A fine-tuning was stored by another version.
    """
    asked = _read_jobs(folder / JOBS)
    plan: dict[str, Any] = json.loads((folder / PLAN).read_bytes()) if (folder / PLAN).exists() else {}
    known = {job.key for job in asked}
    asked += [_asked(job | {"state": NOT_RUN}) for job in plan.get("jobs", []) if job["key"] not in known]
    _refuse_unlike_repeats(asked)
    tunings, missing = [], []
    reached: dict[str, Reached] = {}  # several jobs may be one fine-tuning
    for job in asked:
        if job.key is None or job.state not in ENDED_WELL:
            missing.append(job)
        elif not (path := store / TUNINGS / job.key).is_dir():
            missing.append(replace(job, state=NOT_STORED))
        else:
            if job.key not in reached:
                reached[job.key] = _read_reached(path)
            tunings.append(Tuning(job, reached[job.key]))
    if not tunings:
        raise SweepError(
            f"none of the {len(asked)} jobs of {folder} has a stored fine-tuning in {store}: run the sweep's command "
            "again, or name the store it used"
        )
    return Sweep(folder, asked, tunings, missing, plan["counts"]["not_come_to"] if plan else 0)


def _read_jobs(path: Path) -> list[Asked]:
    """The last line of each job, in the order in which they were first asked for."""
    if not path.is_file():
        raise SweepError(f"there is no {path}: give the folder of a sweep of fine-tunings")
    jobs: dict[tuple[str, ...], Asked] = {}
    for number, text in enumerate(path.read_text().splitlines(), 1):
        try:
            job = _asked(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise SweepError(
                f"line {number} of {path} is not that of a job ({error!r}): run the sweep's command again, which "
                "writes the file anew"
            ) from error
        if job.labels and job.labels["mode"] not in ARMS:
            raise SweepError(
                f"line {number} of {path}: there is no mode {job.labels['mode']}; known: {', '.join(ARMS)}"
            )
        jobs[job.overrides] = job
    return list(jobs.values())


def _asked(line: Mapping[str, Any]) -> Asked:
    labels = {name: line["labels"][name] for name in LABELS} if line["labels"] else {}
    return Asked(line["key"], line["base"], line["state"], labels, tuple(line["overrides"]))


def _refuse_unlike_repeats(asked: Iterable[Asked]) -> None:
    """Jobs that no label, or only a label of other meaning, tells apart would be averaged as if they were repeats."""
    first: dict[tuple[Any, ...], Asked] = {}
    for job in asked:
        if job.key is None:
            continue
        other = first.setdefault(tuple(job.labels[name] for name in LABELS), job)
        if other.key != job.key:
            differing = sorted(set(job.overrides) ^ set(other.overrides))
            raise SweepError(
                f"two jobs are both {job.name}, but differ in {', '.join(differing)}: other settings than {TOLD} "
                "cannot be averaged; run one sweep for each of them, and report each"
            )


def _read_reached(folder: Path) -> Reached:
    try:
        manifest = Manifest.read(folder)
        n_labels, metrics = sum(manifest.metrics["budget"].values()), manifest.metrics["test"]
        base_metrics, sha256 = manifest.metrics.get("base", {}), manifest.files[SCORES]["sha256"]
    except (DamagedError, KeyError) as error:
        raise SweepError(
            f"{folder} is no fine-tuning ({error}): remove it, and give the sweep's command again"
        ) from error
    rows = pq.read_table(folder / SCORES, columns=["row"], use_threads=False)["row"].to_numpy()
    return Reached(n_labels, metrics, base_metrics, sha256, hashlib.sha256(np.sort(rows).tobytes()).hexdigest())
