"""Bad rows: each is counted once and written down, and too many of them, or unequal between the classes, stop the run.

Nothing is skipped silently, and no single bad row ends a long run. Faults that meet one class more often than the other
take away a part of that class which may be like no other, and change the rates that are measured on the rest.
"""

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from dark_halo_scope.stamps.contract import SPLITS
from dark_halo_scope.stamps.decoder import QUARANTINED, REPAIRED, Fault
from dark_halo_scope.stamps.row_index import Counts, RowIndex

_CLASS_DIFFERENCE_P = 1e-4  # a run makes some tens of passes, so that chance alone stops hardly one run in hundreds
_CLASS_DIFFERENCE = 1e-4  # of a class: the smallest false-positive rate that is asked for; of less, nothing follows
_FILE_NAME = "rank{}.jsonl"

Record = dict[str, Any]


class QuarantineLimitError(ValueError):
    """More bad rows than a result can be built on."""


class Quarantine:
    """The bad rows that one rank of a run has met.

    They are kept in ``<folder>/rank<k>.jsonl``, one JSON object a line, which a resumed run reads again. A row comes
    again only if it met another action than before, as when a run is resumed with other limits; the last one holds.

    Args:
        index: The dataset.
        folder: Where the file is written.
        rank: Rank of this process.
        world: Number of ranks. Rank 0 speaks for those that an interrupted run had beyond it.
        limit: Largest fraction of the stamps of one pass over a split that may be bad; a single one always may.
    """

    def __init__(self, index: RowIndex, folder: Path, *, rank: int = 0, world: int = 1, limit: float = 0.001) -> None:
        self._index = index
        self.path = folder / _FILE_NAME.format(rank)
        self.limit = limit
        self._records = {record["row"]: record for record in _read_records(self.path)}
        self._of_ranks_gone = _records_from_rank(world, folder) if rank == 0 else []
        self._counts: dict[str, NDArray[np.int64]] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self._index.classes

    @property
    def records(self) -> list[Record]:
        """What was written down: of rank 0, first by the ranks that are gone; then one a row, as they were found."""
        return [*self._of_ranks_gone, *self._records.values()]

    def counts(self) -> dict[str, list[list[int]]]:
        """Rows that the last pass over each split has found bad and has seen so far, by class; for `add_counts`."""
        return {split: counts.tolist() for split, counts in self._counts.items()}

    def add_counts(self, counts: dict[str, list[list[int]]]) -> None:
        """Let a pass that goes on begin with these."""
        for split, of_split in counts.items():
            self.counts_of(split, goes_on=True)[...] += of_split

    def counts_of(self, split: str, *, goes_on: bool) -> NDArray[np.int64]:
        """Bad and seen rows of a pass by class, (2, classes), to be counted up; zero unless an earlier one goes on."""
        if not goes_on or split not in self._counts:
            self._counts[split] = np.zeros((2, len(self.classes)), np.int64)
        return self._counts[split]

    def describe(self, fault: Fault) -> Record:
        """The record of a fault: where the row lies, what it is, what was wrong. May be called from any thread."""
        if known := self._known(fault.row, fault.action):
            return known
        file, row_in_file = self._index.locate(fault.row)
        ids = self._index.metadata(np.array([fault.row]), list(self._index.id_columns)).to_pylist()[0]
        return {
            "row": fault.row,
            "file": file,
            "row_in_file": row_in_file,
            "split": SPLITS[self._index.split[fault.row]],
            "class": self._index.classes[self._index.label[fault.row]],
            "action": fault.action,
            "reason": fault.reason,
            "message": fault.message,
            **ids,
        }

    def write(self, records: Iterable[Record]) -> None:
        """Write down those of ``records`` whose row is not known yet, or by another action."""
        new = [record for record in records if self._known(record["row"], record["action"]) is None]
        if not new:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in new)
        self._records.update((record["row"], record) for record in new)

    def summary(self, records: Iterable[Record] | None = None) -> dict[str, Any]:
        """Counts for the report: what was quarantined, repaired and excluded, by reason, split and class.

        Of a training store, what was so when it was made counts too.

        Args:
            records: The records of all ranks together, where there are several. A row counts once, as quarantined if
                the ranks differ: which of them met it last is not known.
        """
        by_weight = sorted(self.records if records is None else records, key=lambda r: r["action"] == QUARANTINED)
        distinct = {record["row"]: record for record in by_weight}
        return {
            QUARANTINED: self._count(distinct.values(), QUARANTINED),
            REPAIRED: self._count(distinct.values(), REPAIRED),
            "excluded": self._index.excluded(),
            "rows": {split: self._index.class_counts(split) for split in SPLITS},
            "limit": self.limit,
        }

    def _known(self, row: int, action: str) -> Record | None:
        record = self._records.get(row)
        return record if record and record["action"] == action else None

    def _count(self, records: Iterable[Record], action: str) -> Counts:
        table = copy.deepcopy(self._index.faults_before.get(action, {}))
        for record in records:
            if record["action"] == action:
                by_split = table.setdefault(record["reason"], {s: dict.fromkeys(self.classes, 0) for s in SPLITS})
                by_split[record["split"]][record["class"]] += 1
        return table


class QuarantinePass:
    """One pass of one rank over its share of a split, which decides whether the run may go on.

    Args:
        quarantine: Where bad rows are written down.
        split: Name of the split.
        n_rows: Rows that this rank reads in the pass.
        goes_on: Whether it began before, in a run that was interrupted.
    """

    def __init__(self, quarantine: Quarantine, split: str, n_rows: int, *, goes_on: bool = False) -> None:
        self._quarantine = quarantine
        self._split = split
        self._n_rows = n_rows
        self._classes = quarantine.classes
        self._n_bad, self._n_seen = quarantine.counts_of(split, goes_on=goes_on)

    def add(self, label: NDArray[np.int8], records: list[Record]) -> None:
        """Count a batch: the labels (b,) of all its rows and the records of the faulty ones.

        Raises:
            QuarantineLimitError: When more of the pass is bad than the limit allows, or the whole batch is.
        """
        self._quarantine.write(records)
        bad = [self._classes.index(r["class"]) for r in records if r["action"] == QUARANTINED]
        self._n_seen += np.bincount(label, minlength=len(self._classes))
        self._n_bad += np.bincount(bad, minlength=len(self._classes))
        limit = self._quarantine.limit
        if self._n_bad.sum() > max(1, limit * self._n_rows):
            raise QuarantineLimitError(
                f"split {self._split}: {self._n_bad.sum()} of the {self._n_rows} stamps of this pass are unusable, "
                f"more than data.quarantine_limit={limit:g} allows; see {self._quarantine.path} for each, and repair "
                "the dataset or raise the limit"
            )
        if len(bad) == len(label):
            raise QuarantineLimitError(
                f"split {self._split}: not one of the {len(label)} stamps of a batch is usable; see "
                f"{self._quarantine.path} for each, and repair the dataset or use larger batches"
            )

    def close(self) -> None:
        """Compare the classes at the end of the pass.

        Raises:
            QuarantineLimitError: When bad rows meet one class more often than another: by a difference of their shares
                that matters and that chance does not make (Fisher's exact test).
        """
        shares = self._n_bad / np.maximum(self._n_seen, 1)
        if shares.max() - shares.min() < _CLASS_DIFFERENCE:
            return
        p = fisher_exact(np.stack([self._n_bad, self._n_seen - self._n_bad])).pvalue
        if p < _CLASS_DIFFERENCE_P:
            told = ", ".join(
                f"{bad} of {seen} stamps of class {name}"
                for name, bad, seen in zip(self._classes, self._n_bad, self._n_seen, strict=True)
            )
            raise QuarantineLimitError(
                f"split {self._split}: {told} are unusable, a difference that chance does not make (p = {p:.1g}); a "
                f"network would learn it: see {self._quarantine.path} and repair the dataset"
            )


def _records_from_rank(first: int, folder: Path) -> list[Record]:
    """What the ranks from ``first`` on have left in ``folder``, in their order."""
    found = {int(path.stem.removeprefix("rank")): path for path in folder.glob(_FILE_NAME.format("*"))}
    return [record for rank in sorted(found) if rank >= first for record in _read_records(found[rank])]


def _read_records(path: Path) -> list[Record]:
    """The whole lines of a quarantine file; half a line, left by a killed run, is cut off."""
    if not path.exists():
        return []
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]
