"""Parquet files of stamps that need not be training data: of the contract's columns, only the pixels are required."""

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pat
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import PIXEL_COLUMN, STAMP_COLUMN, ContractError
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.known import KNOWN_COLUMNS, Known
from dark_halo_scope.stamps.reader import StampReader, stamp_reader
from dark_halo_scope.stamps.scan import footer
from dark_halo_scope.stamps.store.manifest import StoreManifest

_UNKNOWN = -1
_SCAN_THREADS = 8

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class ParquetStamps:
    """Stamps of parquet files or of a training store by row number: a `source.StampSource`.

    Attributes:
        index: Where the rows lie; its labels and splits are -1 where nothing is known of them.
        known: Labels and splits, where the files have them.
        fingerprint: That of `StampIndex.build`, if it would take the dataset and leaves no row out for a leak.
    """

    index: StampIndex
    known: Known

    @classmethod
    def find(cls, root: str) -> "ParquetStamps":
        """Read the footers of the files at ``root``, and labels and splits where all of them have some.

        Raises:
            ContractError: When a file has no stamps, or holds what the contract does not know.
        """
        files = StampFiles.find(root)
        store = StoreManifest.find(files)
        with ThreadPoolExecutor(_SCAN_THREADS) as pool:
            scans = list(pool.map(lambda k: _scan(files, k, of_store=store is not None), range(len(files.names))))
        known = Known(
            label=_joined([scan.known.label for scan in scans], files, "lens_model"),
            split=_joined([scan.known.split for scan in scans], files, "region_split"),
            usable=np.concatenate([scan.known.usable for scan in scans]),
        )
        unknown = np.full(len(known.usable), _UNKNOWN, np.int8)
        exclusion = np.where(known.usable, 0, 1).astype(np.int8)
        digest = hashlib.sha256(b"".join(scan.digest for scan in scans) + exclusion.tobytes())
        index = StampIndex(
            files=files,
            file_starts=_starts([sum(scan.group_rows) for scan in scans]),
            group_starts=_starts([n for scan in scans for n in scan.group_rows]),
            file_groups=_starts([len(scan.group_rows) for scan in scans]),
            label=unknown if known.label is None else known.label,
            split=unknown if known.split is None else known.split,
            exclusion=exclusion,
            fingerprint=digest.hexdigest(),
            id_columns=(),
            store=store,
        )
        return cls(index, known)

    @property
    def fingerprint(self) -> str:
        """What identifies the dataset."""
        return self.index.fingerprint

    @property
    def n_rows(self) -> int:
        """Rows, usable or not."""
        return self.index.n_rows

    def reader(self, rows_ahead: int, max_nonfinite_fraction: float) -> StampReader:
        """What reads their pixels in order, while ``rows_ahead`` rows are being decoded."""
        n_groups = len(self.index.group_starts) - 1
        ahead = math.ceil(rows_ahead * n_groups / max(1, self.n_rows)) + 2
        return stamp_reader(self.index, open_row_groups=ahead, max_nonfinite_fraction=max_nonfinite_fraction)

    def metadata(self, rows: Rows) -> pa.Table:
        """All columns but the pixels of some rows, in their order."""
        return self.index.metadata(rows)

    def locate(self, row: int) -> dict[str, Any]:
        """Where a row lies, for a message."""
        file, row_in_file = self.index.locate(row)
        return {"file": file, "row_in_file": row_in_file}


@dataclass(frozen=True)
class _Scan:
    group_rows: list[int]
    known: Known
    digest: bytes


def _scan(files: StampFiles, number: int, *, of_store: bool) -> _Scan:
    """What one file holds."""
    name = files.names[number]
    file = files.parquet(number)
    _check_pixels(file.schema_arrow, name, of_store=of_store)
    wanted = [column for column in KNOWN_COLUMNS if column in file.schema_arrow.names]
    try:
        table = file.read(columns=wanted, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(f"{name} cannot be read ({error}); it is damaged: copy it again from its source") from error
    known = Known.of(table, name)
    digest = hashlib.sha256(f"{name}\0{files.sizes[number]}\0".encode())
    digest.update(footer(files, number))
    for facts in (known.label, known.split, known.usable):
        digest.update(b"" if facts is None else facts.tobytes())
    groups = range(file.metadata.num_row_groups)
    return _Scan([file.metadata.row_group(k).num_rows for k in groups], known, digest.digest())


def _check_pixels(schema: pa.Schema, name: str, *, of_store: bool) -> None:
    column, fits = (PIXEL_COLUMN, pat.is_fixed_size_binary) if of_store else (STAMP_COLUMN, _is_binary)
    if column not in schema.names:
        raise ContractError(f"{name}: no column {column}, which holds the stamps, but {', '.join(schema.names)}")
    if not fits(schema.field(column).type):
        raise ContractError(f"{name}: column {column} has type {schema.field(column).type}, but binary is required")


def _is_binary(kind: pa.DataType) -> bool:
    return pat.is_binary(kind) or pat.is_large_binary(kind)


def _joined(of_files: list[NDArray[np.int8] | None], files: StampFiles, column: str) -> NDArray[np.int8] | None:
    """The facts of all files together; None where none has any."""
    given = [facts for facts in of_files if facts is not None]
    if given and len(given) < len(of_files):
        without = next(name for name, facts in zip(files.names, of_files, strict=True) if facts is None)
        raise ContractError(f"{files.root}: {without} has no column {column}, but other files have; score them apart")
    return np.concatenate(given) if given else None


def _starts(lengths: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
