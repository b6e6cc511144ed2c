"""The index of a dataset: which rows there are, in which file and row group, of which split and class.

Built from footers and a handful of metadata columns, without a pixel, and kept for the next run by `index_cache`. A row
is known by its global row number, its position in the files sorted by name. The index keeps three bytes a row, plus a
little a row group.
"""

import hashlib
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.stamps import contract, leaks
from dark_halo_scope.stamps.condition import Condition
from dark_halo_scope.stamps.contract import CLASSES, PIXEL_COLUMNS, SPLITS, ContractError
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.leave_out import leave_out
from dark_halo_scope.stamps.scan import FileScan, scan_file
from dark_halo_scope.stamps.split_rows import SplitRows
from dark_halo_scope.stamps.store.manifest import StoreManifest

log = logging.getLogger(__name__)

# why a whole row is left out, by code - 1
EXCLUSIONS = ("cutout_not_ok", "region_in_two_splits", "host_in_two_splits", "left_out_on_request")
LEAK_POLICIES = ("stop", "drop")
_SCAN_THREADS = 8

Counts = dict[str, dict[str, dict[str, int]]]  # reason -> split -> class -> rows


@dataclass(frozen=True)
class LeakChecks:
    """What must not lie in two splits, what is done if it does, and what is left out: see `StampIndex.build`."""

    region_column: str = "region_id"
    host_column: str = "host_id"
    on_split_leak: str = "stop"
    leave_out: str | None = None

    def __post_init__(self) -> None:
        if self.on_split_leak not in LEAK_POLICIES:
            raise ValueError(f"data.on_split_leak={self.on_split_leak!r} is unknown; use {' or '.join(LEAK_POLICIES)}")


@dataclass(frozen=True)
class StampIndex:
    """Rows of a dataset by global row number.

    Attributes:
        files: The files, in the order of the row numbers.
        file_starts: First row of each file and, last, the number of rows; (F + 1,).
        group_starts: First row of each row group and, last, the number of rows; (G + 1,).
        file_groups: First row group of each file and, last, the number of row groups; (F + 1,).
        label: 0 control, 1 lens; (N,).
        split: Position in `SPLITS`; (N,).
        exclusion: 0 for a row in use, else 1 + position in `EXCLUSIONS`; (N,).
        fingerprint: sha256 of the files' relative names, sizes and footers and of the columns above. It does not
            change when the dataset moves; a change of pixels shows by the sizes in the footers.
        id_columns: Columns that say which stamp, region and host a row is, as far as the dataset has them.
        store: The manifest, where the dataset is a training store; None for a raw dataset.
        notes: What a user should know of the dataset, for the log.
    """

    files: StampFiles
    file_starts: NDArray[np.int64]
    group_starts: NDArray[np.int64]
    file_groups: NDArray[np.int64]
    label: NDArray[np.int8]
    split: NDArray[np.int8]
    exclusion: NDArray[np.int8]
    fingerprint: str
    id_columns: tuple[str, ...]
    store: StoreManifest | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def build(
        cls,
        root: str,
        *,
        region_column: str = "region_id",
        host_column: str = "host_id",
        on_split_leak: str = "stop",
        leave_out: str | None = None,
    ) -> "StampIndex":
        """Read the footers and metadata of the dataset at ``root`` and hold it to the contract.

        Args:
            root: A folder, a file or a URI: see `StampFiles.find`.
            region_column: Column that names the sky region; required in every file.
            host_column: Column that names the host galaxy; hosts go unchecked where a file lacks it, with a warning.
            on_split_leak: ``stop`` refuses a region or host that lies in two splits; ``drop`` keeps its rows in the
                first of train, val, test that holds it and leaves the others out.
            leave_out: A `Condition`; rows of train and val for which it holds are not used.

        Raises:
            ContractError: At the first breach of contract.
            ConditionError: When the condition cannot be read, or does not fit the columns.
        """
        files = StampFiles.find(root)
        checks = LeakChecks(region_column, host_column, on_split_leak, leave_out)
        index = cls.scan(files, StoreManifest.find(files), checks)
        index.log_notes()
        return index

    @classmethod
    def scan(cls, files: StampFiles, store: StoreManifest | None, checks: "LeakChecks") -> "StampIndex":
        """As `build`, of files that are listed already; nothing is logged."""
        condition = Condition.parse(checks.leave_out) if checks.leave_out is not None else None
        columns = (checks.region_column, checks.host_column)

        def scan(number: int) -> FileScan:
            return scan_file(files, number, *columns, condition, of_store=store is not None)

        with ThreadPoolExecutor(_SCAN_THREADS) as pool:
            scans = list(pool.map(scan, range(len(files.names))))
        label = np.concatenate([s.label for s in scans])
        split = np.concatenate([s.split for s in scans])
        exclusion = np.where(np.concatenate([s.ok for s in scans]), 0, 1).astype(np.int8)
        root, policy = files.root, checks.on_split_leak
        notes = [_exclude_leaks(root, checks.region_column, [s.region for s in scans], split, exclusion, 2, policy)]
        hosts = [s.host for s in scans if s.host is not None]
        if len(hosts) == len(scans):
            notes.append(_exclude_leaks(root, checks.host_column, hosts, split, exclusion, 3, policy))
        else:
            notes.append(f"{root}: no column {checks.host_column} in every file: hosts in two splits would go unseen")
        if condition:
            meets = np.concatenate([s.meets for s in scans if s.meets is not None])
            notes.append(leave_out(root, condition.text, meets, label, split, exclusion, 4))
        contract.metadata_schema({s.schema for s in scans}, root)  # rows of any files must fit into one table
        digest = hashlib.sha256(b"".join(s.digest for s in scans) + exclusion.tobytes())
        index = cls(
            files=files,
            file_starts=_starts(len(s.label) for s in scans),
            group_starts=_starts(n for s in scans for n in s.group_rows),
            file_groups=_starts(len(s.group_rows) for s in scans),
            label=label,
            split=split,
            exclusion=exclusion,
            fingerprint=digest.hexdigest(),
            id_columns=_id_columns(files, checks.region_column, checks.host_column),
            store=store,
            notes=tuple(filter(None, notes)),
        )
        contract.check_classes(index._counts(exclusion == 0), root)
        return index

    def log_notes(self) -> None:
        """Say what a user should know."""
        for note in self.notes:
            log.warning("%s", note)

    @property
    def n_rows(self) -> int:
        """Rows of the dataset, in use or not."""
        return len(self.label)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Global row numbers of the rows of a split that are in use, ascending."""
        return np.flatnonzero(self._in_use(split))

    def split_rows(self, split: str) -> SplitRows:
        """The same rows by their place among them."""
        return SplitRows(self._in_use(split), self.group_starts)

    def class_counts(self, split: str) -> dict[str, int]:
        """Rows in use by class, ``{"control": ..., "lens": ...}``."""
        counts = self._counts(self.exclusion == 0)[SPLITS.index(split)]
        return dict(zip(CLASSES, counts.tolist(), strict=True))

    def excluded(self) -> Counts:
        """Rows left out before any pixel was read, by reason, split and class; only what occurs.

        For a training store, these are the rows that were left out of it.
        """
        table: Counts = dict(self.store.faults["excluded"]) if self.store else {}
        for code, reason in enumerate(EXCLUSIONS, start=1):
            counts = self._counts(self.exclusion == code)
            if counts.any():
                table[reason] = {
                    split: dict(zip(CLASSES, counts[s].tolist(), strict=True)) for s, split in enumerate(SPLITS)
                }
        return table

    def group_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row groups that hold ``rows``."""
        return np.searchsorted(self.group_starts, rows, "right") - 1

    def locate(self, row: int) -> tuple[str, int]:
        """Name of the file that holds a row, and the row's number in it."""
        number = int(np.searchsorted(self.file_starts, row, "right")) - 1
        return self.files.names[number], int(row - self.file_starts[number])

    def metadata(self, rows: NDArray[np.int64], columns: list[str] | None = None) -> pa.Table:
        """Metadata of ``rows`` in their order: ``columns``, or every column but the pixels."""
        order = np.argsort(rows, kind="stable")
        wanted = rows[order]
        file_of_row = np.searchsorted(self.file_starts, wanted, "right") - 1
        files = np.unique(file_of_row) if len(rows) else [0]  # no rows: an empty table with the columns
        tables = [self._file_metadata(int(k), wanted[file_of_row == k], columns) for k in files]
        table = pa.concat_tables(tables, promote_options="permissive")
        return table.take(np.argsort(order, kind="stable"))

    def _file_metadata(self, number: int, rows: NDArray[np.int64], columns: list[str] | None) -> pa.Table:
        file = self.files.parquet(number)
        names = [name for name in file.schema_arrow.names if name not in PIXEL_COLUMNS]
        if columns is not None:
            names = [name for name in names if name in columns]
        group_of_row = self.group_of(rows)
        groups = np.unique(group_of_row)
        lengths = self.group_starts[groups + 1] - self.group_starts[groups]
        offset = (np.cumsum(lengths) - lengths)[np.searchsorted(groups, group_of_row)]
        table = file.read_row_groups((groups - self.file_groups[number]).tolist(), columns=names)
        # files of one dataset may differ in what is encoded by a dictionary, which no concatenation takes
        table = table.cast(pa.schema([f.with_type(contract.plain_type(f.type)) for f in table.schema]))
        return table.take(offset + rows - self.group_starts[group_of_row])

    def _in_use(self, split: str) -> NDArray[np.bool_]:
        return (self.split == SPLITS.index(split)) & (self.exclusion == 0)

    def _counts(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows (splits, classes) among the ``chosen``."""
        cells = self.split[chosen].astype(np.int64) * len(CLASSES) + self.label[chosen]
        return np.bincount(cells, minlength=len(SPLITS) * len(CLASSES)).reshape(len(SPLITS), len(CLASSES))


def _exclude_leaks(
    root: str,
    column: str,
    keys: list[pa.Array],
    split: NDArray[np.int8],
    exclusion: NDArray[np.int8],
    code: int,
    policy: str,
) -> str | None:
    """Mark in ``exclusion`` the rows whose region or host lies in an earlier split too, and say so; or refuse them."""
    if len({array.type for array in keys}) > 1:
        raise ContractError(
            f"{root}: column {column} is an integer in some files and a string in others; write it alike"
        )
    used = exclusion == 0
    misplaced = leaks.misplaced_rows(keys, split, used)
    if not misplaced.any():
        return None
    what = leaks.describe(keys, split, used, misplaced)
    if policy == "stop":
        raise ContractError(
            f"{root}: the same {column} lies in two splits ({what}; {np.count_nonzero(misplaced)} rows), so that a "
            "test would measure memory; give each to one split, or set data.on_split_leak=drop to keep it in the "
            "first of train, val, test and leave the other rows out"
        )
    exclusion[misplaced] = code
    return f"{root}: left out {misplaced.sum()} rows whose {column} lies in an earlier split too ({what})"


def _id_columns(files: StampFiles, region_column: str, host_column: str) -> tuple[str, ...]:
    present = files.parquet(0).schema_arrow.names
    return tuple(name for name in ("stamp_id", region_column, host_column, "brickname", "ra", "dec") if name in present)


def _starts(lengths: Iterable[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))])
