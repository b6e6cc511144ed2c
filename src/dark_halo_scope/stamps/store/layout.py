"""The parquet of a store: plain for any reader, and such that what a batch needs lies in the file as arrays."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat
from numpy.typing import NDArray

from dark_halo_scope.stamps import contract
from dark_halo_scope.stamps.contract import BANDS, PIXEL_COLUMN, ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store.precision import stored_bytes

BATCH_STATISTICS = ("sky", "sky_sigma", "median", "mad")  # of each band: see `statistics`

_ONE_PAGE = (1 << 31) - 1
_MAX_PAGE_HEADER = 40  # bytes; seen: 26, and no page has one of less than 21


def measured_columns(precision: str) -> dict[str, type[np.number]]:
    """The columns that a batch takes along, and the type of four bytes that their values have in the file."""
    columns: dict[str, type[np.number]] = {
        f"stamp_{field}_{band}": np.float32 for field in BATCH_STATISTICS for band in BANDS
    }
    return columns | ({"stamp_exponent": np.int32} if precision == "float16" else {})


def added_columns(precision: str) -> list[pa.Field]:
    """The columns that a store has beyond those of the raw dataset, without the pixels; `measured_columns` last."""
    rounding = [pa.field("stamp_float16_error", pa.float32())] if precision == "float16" else []
    return [
        pa.field("stamp_label", pa.int8()),
        pa.field("stamp_source_file", pa.string()),
        pa.field("stamp_source_row", pa.int64()),
        pa.field("stamp_noise", pa.float32()),
        *rounding,
        *(
            pa.field(name, pa.float32() if kind is np.float32 else pa.int8(), nullable=False)
            for name, kind in measured_columns(precision).items()
        ),
    ]


def metadata_schema(index: StampIndex, precision: str) -> pa.Schema:
    """Columns of a store without the pixels: those of all raw files together, then the added ones.

    Raises:
        ContractError: When raw files disagree on a type, or a raw column has the name of an added one.
    """
    files = index.files
    raw = contract.metadata_schema((files.parquet(k).schema_arrow for k in range(len(files.names))), files.root)
    added = added_columns(precision)
    if taken := [field.name for field in added if field.name in raw.names]:
        raise ContractError(
            f"{files.root}: column {', '.join(taken)} has a name that a store gives to a column of its own; "
            "rename it in the raw dataset"
        )
    return pa.schema([*raw, *added])


def fit_to(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns of ``schema``, null where it lacks one."""
    columns = [
        table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type) for f in schema
    ]
    return pa.table(columns, schema=schema)


def write_shard(
    path: Path, metadata: pa.Table, pixels: NDArray[np.uint8], row_group_stamps: int, precision: str
) -> None:
    """Write a file of n stamps, on the disk when this returns.

    Args:
        path: File to write.
        metadata: n rows.
        pixels: Bytes (n, bytes of a stamp); not copied.
        row_group_stamps: Stamps of a row group.
        precision: Of the store.
    """
    n, width = pixels.shape
    values = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), n, [None, pa.py_buffer(pixels)])
    table = metadata.append_column(pa.field(PIXEL_COLUMN, pa.binary(width), nullable=False), values)
    mapped = [*measured_columns(precision), PIXEL_COLUMN]
    others = [name for name in table.schema.names if name not in mapped]
    with path.open("wb") as file:
        pq.write_table(
            table,
            file,
            row_group_size=row_group_stamps,
            compression={**dict.fromkeys(others, "zstd"), **dict.fromkeys(mapped, "none")},
            use_dictionary=[f.name for f in metadata.schema if pat.is_string(f.type)],
            write_statistics=others,
            data_page_size=_ONE_PAGE,
        )
        file.flush()
        os.fsync(file.fileno())


@dataclass(frozen=True)
class PlainGroups:
    """Where the values of each of the G row groups of a file lie, in bytes from its beginning; (G,) each.

    Attributes:
        measured: First value of the first of `measured_columns`, of four bytes.
        step: From a value to that of the next of these columns.
        pixels: First stamp.
    """

    measured: NDArray[np.int64]
    step: NDArray[np.int64]
    pixels: NDArray[np.int64]


def plain_groups(footer: pq.FileMetaData, precision: str) -> PlainGroups | None:
    """Where pixels and measured columns lie in a file of a store, if they lie there as arrays; else None.

    A required column without codec, dictionary and levels, in one page, is a short page header and the values.
    """
    widths = dict.fromkeys(measured_columns(precision), 4) | {PIXEL_COLUMN: stored_bytes(precision)}
    first = footer.num_columns - len(widths)
    if first < 0 or any(
        footer.schema.column(first + k).path != name or footer.schema.column(first + k).max_definition_level
        for k, name in enumerate(widths)
    ):
        return None
    starts = np.empty((footer.num_row_groups, len(widths)), np.int64)
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for k, width in enumerate(widths.values()):
            chunk = group.column(first + k)
            header = chunk.total_compressed_size - group.num_rows * width
            one_page = 0 < header < _MAX_PAGE_HEADER  # two pages would need two headers
            if chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page or not one_page:
                return None
            starts[number, k] = chunk.data_page_offset + header
    steps = np.diff(starts[:, :-1], axis=1)
    if (steps != steps[:, :1]).any():
        return None
    return PlainGroups(starts[:, 0], steps[:, 0], starts[:, -1])
