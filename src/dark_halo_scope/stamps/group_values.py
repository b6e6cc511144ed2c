"""The pixel column of a row group from its first row to its last."""

import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from dark_halo_scope.stamps.contract import STAMP_COLUMN, ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.pages import Run, Value, runs_through, values_in_order

_KNOWN_FOOTERS = 1024
_LOCAL_READ_BYTES = 1 << 20  # asked of the disk at a time
_REMOTE_READ_BYTES = 4 << 20  # 90 stamps a request: of 50 ms, at 8 threads, this is 14,000 stamps/s

Values = Run | Sequence[Value | None]  # None for null


class GroupValues:
    """Reads the pixel column of row groups; safe to call from threads.

    Args:
        index: The dataset.
        rows_at_a_time: Rows to read at a time; None for whole row groups.
    """

    def __init__(self, index: StampIndex, rows_at_a_time: int | None) -> None:
        self._index = index
        self._rows_at_a_time = rows_at_a_time
        self._lock = threading.Lock()
        self._footers: OrderedDict[int, pq.FileMetaData] = OrderedDict()

    def n_rows(self, group: int) -> int:
        """Rows of a row group."""
        return int(self._index.group_starts[group + 1] - self._index.group_starts[group])

    def pieces(self, group: int) -> Generator[Values, None, None]:
        """The values of all rows of a row group in their order.

        Raises:
            ContractError: When the row group cannot be read, or is another than was indexed.
        """
        index, n_rows = self._index, self.n_rows(group)
        number = int(np.searchsorted(index.file_groups, group, "right")) - 1
        in_file = group - int(index.file_groups[number])
        n_read = 0
        try:
            self._check(number, in_file, n_rows)
            for values in self._in_order(number, in_file, n_rows):
                n_read += len(values)
                yield values
            if n_read < n_rows:
                for values in self._by_pyarrow(number, in_file, n_rows, n_read):
                    n_read += len(values)
                    yield values
        except (pa.ArrowInvalid, OSError) as error:
            raise ContractError(
                f"{index.files.names[number]}: row group {in_file} cannot be read ({error}); "
                "the file is damaged or out of reach: copy it again from its source"
            ) from error
        if n_read != n_rows:
            raise ContractError(
                f"{index.files.names[number]}: row group {in_file} gives {n_read} of its {n_rows} rows; "
                "the file is damaged: copy it again from its source"
            )

    def _check(self, number: int, group: int, n_rows: int) -> None:
        """Hold the footer of a file against the index."""
        footer = self._footer(number)
        if group >= footer.num_row_groups or footer.row_group(group).num_rows != n_rows:
            raise ContractError(
                f"{self._index.files.names[number]} has other row groups than when it was indexed: it was replaced in "
                "between; begin again with the new file, or put the old one back"
            )

    def _in_order(self, number: int, group: int, n_rows: int) -> Generator[Values, None, None]:
        """The values of a row group of a file, as far as they can be had without a page held whole."""
        files, footer = self._index.files, self._footer(number)
        if runs_through(footer, group, STAMP_COLUMN):
            runs = values_in_order(
                files.source(number),
                footer,
                group,
                STAMP_COLUMN,
                rows=self._rows_at_a_time or n_rows,
                read_bytes=_LOCAL_READ_BYTES if files.is_local else _REMOTE_READ_BYTES,
            )
            if files.is_local:
                yield from runs
            else:  # a view would keep all that was read with it in memory
                yield from ([(b"".join(run[k]), b"") for k in range(len(run))] for run in runs)

    def _by_pyarrow(self, number: int, group: int, n_rows: int, first: int) -> Generator[Values, None, None]:
        """Those from ``first`` on, whatever the pages are like."""
        files, footer = self._index.files, self._footer(number)
        # Without a buffer a column chunk is read whole: free where it is mapped into memory, too much on a network.
        buffer_size = 0 if files.is_local or self._rows_at_a_time is None else _REMOTE_READ_BYTES
        file = pq.ParquetFile(files.source(number), metadata=footer, buffer_size=buffer_size, pre_buffer=False)
        rows = self._rows_at_a_time or n_rows
        for batch in file.iter_batches(rows, row_groups=[group], columns=[STAMP_COLUMN], use_threads=False):
            if first < len(batch):
                yield _views(batch.column(0)[first:])
            first = max(0, first - len(batch))

    def _footer(self, number: int) -> pq.FileMetaData:
        with self._lock:
            footer = self._footers.get(number)
        if footer is None:
            footer = self._index.files.parquet(number).metadata
            with self._lock:
                self._footers[number] = footer
                if len(self._footers) > _KNOWN_FOOTERS:
                    self._footers.popitem(last=False)
        return footer


def _views(column: pa.Array) -> list[Value | None]:
    """A part of a binary column as views into its buffer, so that a value costs no Python bytes."""
    _, offsets, data = column.buffers()
    width = np.int64 if pat.is_large_binary(column.type) else np.int32
    edges = np.frombuffer(offsets, width, len(column) + 1, column.offset * np.dtype(width).itemsize).tolist()
    view = memoryview(data if data is not None else b"")
    is_null = column.is_null().to_pylist() if column.null_count else [False] * len(column)
    return [None if null else (view[i:j], b"") for (i, j), null in zip(pairwise(edges), is_null, strict=True)]
