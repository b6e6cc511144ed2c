"""Windows to a parquet file of the contract."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dark_halo_scope.files import write_atomically
from dark_halo_scope.windows.contract import WINDOW_COLUMN, WindowLayout

_ROW_GROUP_WINDOWS = 512


def window_table(
    layout: WindowLayout,
    windows: NDArray[np.float32],
    *,
    participant: str,
    session: str,
    time: NDArray[np.float64],
    label: list[str],
) -> pa.Table:
    """Rows of one session: windows (n, C, T) that start at ``time`` (n,), in seconds."""
    schema = layout.schema()
    flat = pa.array(np.ascontiguousarray(windows, np.float32).reshape(-1))
    n = len(windows)
    columns = [
        pa.array([participant] * n, pa.string()),
        pa.array([session] * n, pa.string()),
        pa.array(time, pa.float64()),
        pa.array(label, pa.string()),
        pa.FixedSizeListArray.from_arrays(flat, type=schema.field(WINDOW_COLUMN).type),
    ]
    return pa.table(columns, schema=schema)


def write_windows(path: Path, table: pa.Table) -> None:
    """Write a file; samples are noise to a compressor, and their extremes of no use."""
    plain = [name for name in table.column_names if name != WINDOW_COLUMN]
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=_ROW_GROUP_WINDOWS,
        use_dictionary=plain,
        compression="none",
        write_statistics=plain,
    )
    write_atomically(path, buffer.getvalue())
