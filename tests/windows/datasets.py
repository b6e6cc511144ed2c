"""Small real datasets of windows in the contract, with one fault put in where a test asks for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dark_halo_scope.windows.contract import WindowLayout
from dark_halo_scope.windows.write import window_table

LAYOUT = WindowLayout(("acc_x", "acc_y"), 16, 8.0)  # windows of 2 s
LABELS = ("sit", "walk", "lie")

Change = Callable[[pa.Table], pa.Table]


def window(number: int) -> np.ndarray:
    """Samples (2, 16) float32 that ``number`` seeds."""
    return np.random.default_rng(number).normal(number % 3, 1 + number % 2, LAYOUT.shape).astype(np.float32)


def write_study(
    folder: Path,
    *,
    participants: int = 3,
    sessions: int = 2,
    windows: int = 8,
    row_group_size: int = 5,
    layout: WindowLayout = LAYOUT,
    change: Change | None = None,
) -> Path:
    """Write ``folder/p<k>.parquet`` for each participant and return the folder; rows in the order of time.

    Args:
        folder: Made if it does not exist.
        participants: Their number.
        sessions: Of each.
        windows: Of each session, one after the other without overlap; labels take turns.
        row_group_size: Rows of a parquet row group.
        layout: What the files say that their windows are.
        change: Given the table of the last participant, gives what is written instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    row = 0
    for k in range(participants):
        tables = []
        for s in range(sessions):
            samples = np.stack([window(row + i) for i in range(windows)])
            tables.append(
                window_table(
                    LAYOUT,
                    samples,
                    participant=f"p{k}",
                    session=f"p{k}/s{s}",
                    time=1000.0 * s + LAYOUT.duration_s * np.arange(windows),
                    label=[LABELS[(row + i) % 3] for i in range(windows)],
                )
            )
            row += windows
        table = pa.concat_tables(tables).replace_schema_metadata(layout.schema().metadata)
        if change is not None and k == participants - 1:
            table = change(table)
        pq.write_table(table, folder / f"p{k}.parquet", row_group_size=row_group_size)
    return folder


def column(name: str, change: Callable[[pa.ChunkedArray], pa.ChunkedArray | pa.Array]) -> Change:
    """A ``change`` for `write_study` of one column."""

    def changed(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, change(table[name]))

    return changed


def values(**of_rows: tuple[int, object]) -> Change:
    """A ``change`` that sets a value of a column: ``values(label=(3, None))`` for row 3."""

    def changed(table: pa.Table) -> pa.Table:
        for name, (row, value) in of_rows.items():
            cells = table[name].to_pylist()
            cells[row] = value
            at = table.column_names.index(name)
            table = table.set_column(at, table.schema.field(at), pa.array(cells, table.schema.field(at).type))
        return table

    return changed
