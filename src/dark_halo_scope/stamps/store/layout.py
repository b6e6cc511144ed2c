"""The parquet of a store: plain for any reader, and such that its pixels lie in the file as one array per row group."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import PIXEL_COLUMN, PIXEL_COLUMNS, ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store.statistics import stamp_statistics

_ONE_PAGE = (1 << 31) - 1
_MAX_PAGE_HEADER = 40  # bytes; seen: 26, and no page has one of less than 21


def added_columns(precision: str) -> list[pa.Field]:
    """The columns that a store has beyond those of the raw dataset, without the pixels."""
    statistics = stamp_statistics(np.zeros((1, 3, 64, 64), np.float32))
    rounding = [pa.field("stamp_exponent", pa.int8()), pa.field("stamp_float16_error", pa.float32())]
    return [
        pa.field("stamp_label", pa.int8()),
        pa.field("stamp_source_file", pa.string()),
        pa.field("stamp_source_row", pa.int64()),
        *(pa.field(name, pa.float32()) for name in statistics),
        *(rounding if precision == "float16" else []),
    ]


def metadata_schema(index: StampIndex, precision: str) -> pa.Schema:
    """Columns of a store without the pixels: those of all raw files together, then the added ones.

    Raises:
        ContractError: When raw files disagree on a type, or a raw column has the name of an added one.
    """
    schemas = []
    for number in range(len(index.files.names)):
        fields = [f for f in index.files.parquet(number).schema_arrow if f.name not in PIXEL_COLUMNS]
        schemas.append(pa.schema([pa.field(f.name, _plain(f.type)) for f in fields]))
    try:
        raw = pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ContractError(f"{index.files.root}: files disagree on a column ({error}); write it alike") from error
    added = added_columns(precision)
    if taken := [field.name for field in added if field.name in raw.names]:
        raise ContractError(
            f"{index.files.root}: column {', '.join(taken)} has a name that a store gives to a column of its own; "
            "rename it in the raw dataset"
        )
    return pa.schema([*raw, *added])


def fit_to(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns of ``schema``, null where it lacks one."""
    columns = [
        table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type) for f in schema
    ]
    return pa.table(columns, schema=schema)


def write_shard(path: Path, metadata: pa.Table, pixels: NDArray[np.uint8], row_group_stamps: int) -> None:
    """Write a file of n stamps, on the disk when this returns.

    Args:
        path: File to write.
        metadata: n rows.
        pixels: Bytes (n, bytes of a stamp); not copied.
        row_group_stamps: Stamps of a row group.
    """
    n, width = pixels.shape
    values = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), n, [None, pa.py_buffer(pixels)])
    table = metadata.append_column(pa.field(PIXEL_COLUMN, pa.binary(width), nullable=False), values)
    names = metadata.schema.names
    with path.open("wb") as file:
        pq.write_table(
            table,
            file,
            row_group_size=row_group_stamps,
            compression={**dict.fromkeys(names, "zstd"), PIXEL_COLUMN: "none"},
            use_dictionary=[f.name for f in metadata.schema if pat.is_string(f.type)],
            write_statistics=names,
            data_page_size=_ONE_PAGE,
        )
        file.flush()
        os.fsync(file.fileno())


def pixel_offsets(footer: pq.FileMetaData, width: int) -> NDArray[np.int64] | None:
    """Where the pixels of each row group begin in the file, if they lie there as one array; else None.

    A required column without codec, dictionary and levels, in one page, is a short page header and the values.
    """
    offsets = []
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        chunk = group.column(group.num_columns - 1)
        values = group.num_rows * width
        header = chunk.total_compressed_size - values
        plain = (
            chunk.path_in_schema == PIXEL_COLUMN
            and chunk.compression == "UNCOMPRESSED"
            and not chunk.has_dictionary_page
            and footer.schema.column(group.num_columns - 1).max_definition_level == 0
            and 0 < header < _MAX_PAGE_HEADER  # two pages would need two headers
        )
        if not plain:
            return None
        offsets.append(chunk.data_page_offset + header)
    return np.array(offsets, np.int64)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pat.is_dictionary(kind) else kind
