"""The rows of a dataset by number: all that plan, stream and loaders know of it, whatever a row holds.

A row is known by its global row number, its position in the files sorted by name.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.jobs import stamps_bar
from dark_halo_scope.stamps.contract import SPLITS, plain_type
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.split_rows import SplitRows

Rows = NDArray[np.int64]
Counts = dict[str, dict[str, dict[str, int]]]  # reason -> split -> class -> rows
_METADATA_THREADS = 8  # which wait for the disk or the network
OUTSIDE_THE_PARTS = "outside_the_parts"


class PartsError(ValueError):
    """Rows that cannot be train, val and test of one view."""


@dataclass(frozen=True, kw_only=True)
class RowIndex:
    """Rows of a dataset by global row number.

    Attributes:
        sample_columns: Columns that hold the samples themselves, which `metadata` leaves out.
        exclusions: Why a whole row may be left out, by code - 1; `OUTSIDE_THE_PARTS` among them.
        files: The files, in the order of the row numbers.
        file_starts: First row of each file and, last, the number of rows; (F + 1,).
        group_starts: First row of each row group and, last, the number of rows; (G + 1,).
        file_groups: First row group of each file and, last, the number of row groups; (F + 1,).
        classes: Names of the classes, by label.
        label: Position in ``classes``; (N,).
        split: Position in `SPLITS`; (N,).
        exclusion: 0 for a row in use, else 1 + position in ``exclusions``; (N,).
        fingerprint: What identifies the dataset; it does not change when the dataset moves.
        id_columns: Columns that say which sample a row is, as far as the dataset has them.
    """

    sample_columns: ClassVar[tuple[str, ...]]
    exclusions: ClassVar[tuple[str, ...]]
    files: StampFiles
    file_starts: Rows
    group_starts: Rows
    file_groups: Rows
    classes: tuple[str, ...]
    label: NDArray[np.int8]
    split: NDArray[np.int8]
    exclusion: NDArray[np.int8]
    fingerprint: str
    id_columns: tuple[str, ...]

    @property
    def n_rows(self) -> int:
        """Rows of the dataset, in use or not."""
        return len(self.label)

    @property
    def faults_before(self) -> Mapping[str, Counts]:
        """Rows quarantined and repaired before this dataset was made of another, by action; empty for a raw one."""
        return {}

    def rows(self, split: str) -> Rows:
        """Global row numbers of the rows of a split that are in use, ascending."""
        return np.flatnonzero(self._in_use(split))

    def split_rows(self, split: str) -> SplitRows:
        """The same rows by their place among them."""
        return SplitRows(self._in_use(split), self.group_starts)

    def class_counts(self, split: str) -> dict[str, int]:
        """Rows in use by class, such as ``{"control": ..., "lens": ...}``."""
        counts = self._counts(self.exclusion == 0)[SPLITS.index(split)]
        return dict(zip(self.classes, counts.tolist(), strict=True))

    def excluded(self) -> Counts:
        """Rows left out before any sample was read, by reason, split and class; only what occurs."""
        table: Counts = {}
        for code, reason in enumerate(self.exclusions, start=1):
            counts = self._counts(self.exclusion == code)
            if counts.any():
                table[reason] = {
                    split: dict(zip(self.classes, counts[s].tolist(), strict=True)) for s, split in enumerate(SPLITS)
                }
        return table

    def with_parts(self, parts: Mapping[str, Rows]) -> Self:
        """The same dataset in which exactly these rows are train, val and test, and every other one is excluded.

        Args:
            parts: Global row numbers by split; a split that is not named is empty.

        Raises:
            PartsError: When a split is unknown, or a row is unknown, unusable or given twice.
        """
        outside = self.exclusions.index(OUTSIDE_THE_PARTS) + 1
        split = self.split.copy()
        exclusion = np.where(self.exclusion == 0, outside, self.exclusion).astype(np.int8)
        for name, rows in parts.items():
            if name not in SPLITS:
                raise PartsError(f"a part is named {name!r}; the parts are {', '.join(SPLITS)}")
            if len(rows) and (rows.min() < 0 or rows.max() >= self.n_rows):
                raise PartsError(f"part {name} holds a row outside 0 ... {self.n_rows - 1}, the rows of the dataset")
            self._check_part(name, rows, exclusion)
            split[rows], exclusion[rows] = SPLITS.index(name), 0
        return replace(self, split=split, exclusion=exclusion)

    def group_of(self, rows: Rows) -> Rows:
        """Row groups that hold ``rows``."""
        return np.searchsorted(self.group_starts, rows, "right") - 1

    def locate(self, row: int) -> tuple[str, int]:
        """Name of the file that holds a row, and the row's number in it."""
        number = int(np.searchsorted(self.file_starts, row, "right")) - 1
        return self.files.names[number], int(row - self.file_starts[number])

    def metadata(self, rows: Rows, columns: list[str] | None = None, *, progress: bool = False) -> pa.Table:
        """Metadata of ``rows`` in their order: ``columns``, or every column but the samples.

        Args:
            rows: Global row numbers.
            columns: Names of those that are wanted, as far as the dataset has them.
            progress: Show a bar with the rate and the time left.
        """
        order = np.argsort(rows, kind="stable")
        edges = np.searchsorted(rows, self.file_starts, sorter=order)
        files = np.flatnonzero(np.diff(edges)) if len(rows) else np.zeros(1, int)  # no rows: a table with the columns

        def read(number: int) -> pa.Table:
            return self._file_metadata(number, rows[order[edges[number] : edges[number + 1]]], columns)

        tables = []
        with (
            ThreadPoolExecutor(_METADATA_THREADS) as pool,
            stamps_bar("metadata", len(rows), show=progress, unit="rows") as advance,
        ):
            for table in pool.map(read, files.tolist()):
                tables.append(table)
                advance(len(table))
        table = pa.concat_tables(tables, promote_options="permissive")
        if (np.diff(order) == 1).all():  # as they lie in the files
            return table
        return table.take(np.argsort(order, kind="stable"))

    def _file_metadata(self, number: int, rows: Rows, columns: list[str] | None) -> pa.Table:
        file = self.files.parquet(number)
        names = [name for name in file.schema_arrow.names if name not in self.sample_columns]
        if columns is not None:
            names = [name for name in names if name in columns]
        group_of_row = self.group_of(rows)
        groups = np.unique(group_of_row)
        lengths = self.group_starts[groups + 1] - self.group_starts[groups]
        offset = (np.cumsum(lengths) - lengths)[np.searchsorted(groups, group_of_row)]
        table = file.read_row_groups((groups - self.file_groups[number]).tolist(), columns=names, use_threads=False)
        # files of one dataset may differ in what is encoded by a dictionary, which no concatenation takes
        table = table.cast(pa.schema([f.with_type(plain_type(f.type)) for f in table.schema]))
        return table.take(offset + rows - self.group_starts[group_of_row])

    def _check_part(self, name: str, rows: Rows, exclusion: NDArray[np.int8]) -> None:
        """Refuse rows that are in another part already (``exclusion`` 0), come twice in this one, or are unusable."""
        outside = self.exclusions.index(OUTSIDE_THE_PARTS) + 1
        taken = rows[exclusion[rows] == 0]
        if len(taken) or len(np.unique(rows)) < len(rows):
            which = f"row {taken[0]} lies in another part too" if len(taken) else "a row comes twice"
            raise PartsError(f"part {name}: {which}; give each row to one part, once")
        unusable = rows[exclusion[rows] != outside]
        if len(unusable):
            reason = self.exclusions[exclusion[unusable[0]] - 1]
            raise PartsError(f"part {name}: {len(unusable)} rows are unusable (row {unusable[0]}: {reason}); drop them")

    def _in_use(self, split: str) -> NDArray[np.bool_]:
        return (self.split == SPLITS.index(split)) & (self.exclusion == 0)

    def _counts(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows (splits, classes) among the ``chosen``."""
        n_classes = len(self.classes)
        cells = self.split[chosen].astype(np.int64) * n_classes + self.label[chosen]
        return np.bincount(cells, minlength=len(SPLITS) * n_classes).reshape(len(SPLITS), n_classes)


def starts(lengths: Iterable[int]) -> Rows:
    """First row of each file or row group of these lengths and, last, the number of rows."""
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))])
