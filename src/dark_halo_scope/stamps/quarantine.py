"""Bad rows: each is counted and written down once, and too many of them, or unequal between the classes, stop the run.

Nothing is skipped silently, and no single bad row ends a long run. Faults that meet one class more often than the other
would teach the network the fault instead of the lens, however rare they are.
"""

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from dark_halo_scope.stamps.contract import CLASSES, SPLITS
from dark_halo_scope.stamps.decoder import QUARANTINED, REPAIRED, Fault
from dark_halo_scope.stamps.index import Counts, StampIndex

_CLASS_DIFFERENCE_P = 1e-4  # a run makes some tens of passes, so that chance alone stops hardly one run in hundreds

Record = dict[str, Any]


class QuarantineLimitError(ValueError):
    """More bad rows than a result can be built on."""


class Quarantine:
    """The bad rows that one rank of a run has met.

    They are kept in ``<folder>/rank<k>.jsonl``, one JSON object a row, which a resumed run reads again.

    Args:
        index: The dataset.
        folder: Where the file is written.
        rank: Rank of this process.
        limit: Largest fraction of the stamps of one pass over a split that may be bad; a single one always may.
    """

    def __init__(self, index: StampIndex, folder: Path, *, rank: int = 0, limit: float = 0.001) -> None:
        self._index = index
        self.path = folder / f"rank{rank}.jsonl"
        self.limit = limit
        self._records = {record["row"]: record for record in _read_records(self.path)}

    @property
    def records(self) -> list[Record]:
        """What was written down, one record a row, in the order of discovery."""
        return list(self._records.values())

    def describe(self, fault: Fault) -> Record:
        """The record of a fault: where the row lies, what it is, what was wrong. May be called from any thread."""
        known = self._records.get(fault.row)
        if known is not None:
            return known
        file, row_in_file = self._index.locate(fault.row)
        ids = self._index.metadata(np.array([fault.row]), list(self._index.id_columns)).to_pylist()[0]
        return {
            "row": fault.row,
            "file": file,
            "row_in_file": row_in_file,
            "split": SPLITS[self._index.split[fault.row]],
            "class": CLASSES[self._index.label[fault.row]],
            "action": fault.action,
            "reason": fault.reason,
            "message": fault.message,
            **ids,
        }

    def write(self, records: Iterable[Record]) -> None:
        """Write down those of ``records`` whose row is not known yet."""
        new = [record for record in records if record["row"] not in self._records]
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
            records: The records of all ranks together, where there are several; a row counts once.
        """
        distinct = {record["row"]: record for record in (self.records if records is None else records)}
        before = self._index.store.faults if self._index.store else {QUARANTINED: {}, REPAIRED: {}}
        return {
            QUARANTINED: _count(distinct.values(), QUARANTINED, before),
            REPAIRED: _count(distinct.values(), REPAIRED, before),
            "excluded": self._index.excluded(),
            "rows": {split: self._index.class_counts(split) for split in SPLITS},
            "limit": self.limit,
        }


class QuarantinePass:
    """One pass of one rank over its share of a split, which decides whether the run may go on.

    Args:
        quarantine: Where bad rows are written down.
        split: Name of the split.
        n_rows: Rows that this rank reads in the pass.
    """

    def __init__(self, quarantine: Quarantine, split: str, n_rows: int) -> None:
        self._quarantine = quarantine
        self._split = split
        self._n_rows = n_rows
        self._n_bad = np.zeros(len(CLASSES), np.int64)
        self._n_seen = np.zeros(len(CLASSES), np.int64)

    def add(self, label: NDArray[np.int8], records: list[Record]) -> None:
        """Count a batch: the labels (b,) of all its rows and the records of the faulty ones.

        Raises:
            QuarantineLimitError: When more of the pass is bad than the limit allows, or the whole batch is.
        """
        self._quarantine.write(records)
        bad = [CLASSES.index(r["class"]) for r in records if r["action"] == QUARANTINED]
        self._n_seen += np.bincount(label, minlength=len(CLASSES))
        self._n_bad += np.bincount(bad, minlength=len(CLASSES))
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
            QuarantineLimitError: When bad rows meet one class more often than the other (Fisher's exact test).
        """
        if not self._n_bad.any():
            return
        p = fisher_exact(np.stack([self._n_bad, self._n_seen - self._n_bad])).pvalue
        if p < _CLASS_DIFFERENCE_P:
            shares = ", ".join(
                f"{bad} of {seen} stamps of class {name}"
                for name, bad, seen in zip(CLASSES, self._n_bad, self._n_seen, strict=True)
            )
            raise QuarantineLimitError(
                f"split {self._split}: {shares} are unusable, a difference that chance does not make (p = {p:.1g}); a "
                f"network would learn it: see {self._quarantine.path} and repair the dataset"
            )


def _read_records(path: Path) -> list[Record]:
    """The whole lines of a quarantine file; half a line, left by a killed run, is cut off."""
    if not path.exists():
        return []
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


def _count(records: Iterable[Record], action: str, before: dict[str, Counts]) -> Counts:
    table = copy.deepcopy(before[action])
    for record in records:
        if record["action"] == action:
            by_split = table.setdefault(record["reason"], {s: dict.fromkeys(CLASSES, 0) for s in SPLITS})
            by_split[record["split"]][record["class"]] += 1
    return table
