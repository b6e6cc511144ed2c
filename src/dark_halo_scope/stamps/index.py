"""The index of a dataset: which rows there are, in which file and row group, of which split and class.

Built from footers and a handful of metadata columns, without a pixel, and kept for the next run by `index_cache`. It
keeps three bytes a row, plus a little a row group.
"""

import hashlib
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.stamps import contract, leaks
from dark_halo_scope.stamps.condition import Condition
from dark_halo_scope.stamps.contract import CLASSES, PIXEL_COLUMNS, ContractError
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.leave_out import leave_out
from dark_halo_scope.stamps.row_index import OUTSIDE_THE_PARTS, Counts, RowIndex, starts
from dark_halo_scope.stamps.scan import FileScan, scan_file
from dark_halo_scope.stamps.store.manifest import StoreManifest

log = logging.getLogger(__name__)

# why a whole row is left out, by code - 1
EXCLUSIONS = (
    "cutout_not_ok",
    "region_in_two_splits",
    "host_in_two_splits",
    "left_out_on_request",
    OUTSIDE_THE_PARTS,
)
LEAK_POLICIES = ("stop", "drop")
_SCAN_THREADS = 8


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


@dataclass(frozen=True, kw_only=True)
class StampIndex(RowIndex):
    """Rows of a dataset of stamps: label 0 is a control, 1 a lens.

    Attributes:
        fingerprint: sha256 of the files' relative names, sizes and footers and of label, split and exclusion as they
            were found. It does not change when the dataset moves; a change of pixels shows by the sizes in the footers.
        store: The manifest, where the dataset is a training store; None for a raw dataset.
        notes: What a user should know of the dataset, for the log.
    """

    sample_columns = PIXEL_COLUMNS
    exclusions = EXCLUSIONS
    classes: tuple[str, ...] = CLASSES
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
            unseen = "so that hosts in two splits would go unseen"
            notes.append(f"{root}: no column {checks.host_column} in every file, {unseen}")
        if condition:
            meets = np.concatenate([s.meets for s in scans if s.meets is not None])
            notes.append(leave_out(root, condition.text, meets, label, split, exclusion, 4))
        contract.metadata_schema({s.schema for s in scans}, root)  # rows of any files must fit into one table
        digest = hashlib.sha256(b"".join(s.digest for s in scans) + exclusion.tobytes())
        index = cls(
            files=files,
            file_starts=starts(len(s.label) for s in scans),
            group_starts=starts(n for s in scans for n in s.group_rows),
            file_groups=starts(len(s.group_rows) for s in scans),
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
    def faults_before(self) -> Mapping[str, Counts]:
        """What was quarantined and repaired when a training store was made."""
        return self.store.faults if self.store else {}

    def excluded(self) -> Counts:
        """As `RowIndex.excluded`; for a training store, what was left out of it counts too."""
        table: Counts = dict(self.store.faults["excluded"]) if self.store else {}
        return table | super().excluded()


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
