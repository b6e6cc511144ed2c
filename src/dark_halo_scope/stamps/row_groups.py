"""The pixel column of open row groups, shared by the threads of a stream."""

import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Generator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from dark_halo_scope.stamps.codec import StampError
from dark_halo_scope.stamps.contract import STAMP_COLUMN, ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.page_bytes import Piece
from dark_halo_scope.stamps.pages import Run, runs_through, values_in_order

_KNOWN_FOOTERS = 1024
_LOCAL_READ_BYTES = 1 << 20  # asked of the disk at a time
_REMOTE_READ_BYTES = 4 << 20  # 90 stamps a request: of 50 ms, at 8 threads, this is 14,000 stamps/s

Values = Run | Sequence[Piece | None]  # None for null


class RowGroups:
    """Reads row groups on demand and keeps the ``capacity`` most recently used open.

    Threads that want the same rows read them once; reading happens outside the lock.

    Args:
        index: The dataset.
        capacity: Row groups to keep open.
        rows_at_a_time: Rows that are read and held together where each row group is gone through from its first row to
            its last, so that memory does not grow with its length; None to hold whole row groups, in any order.
    """

    def __init__(self, index: StampIndex, capacity: int, rows_at_a_time: int | None = None) -> None:
        self._index = index
        self._capacity = capacity
        self._rows_at_a_time = rows_at_a_time
        self._lock = threading.Lock()
        self._open: defaultdict[int, list[_OpenRowGroup]] = defaultdict(list)
        self._by_use: OrderedDict[_OpenRowGroup, int] = OrderedDict()
        self._footers: OrderedDict[int, pq.FileMetaData] = OrderedDict()

    def stamp_bytes(self, group: int, i: int) -> Piece:
        """The pixel column's value of row ``i`` of a row group; where it lies in one piece, a view of what was read.

        Raises:
            StampError: With reason ``missing_stamp`` when it is null.
            ContractError: When the row group cannot be read.
        """
        value = None
        while value is None:  # seldom twice: when another thread went on past row i after it was looked up
            with self._lock:
                reading = self._find(group, i)
            value = reading.value(i)
        return value

    def _find(self, group: int, i: int) -> "_OpenRowGroup":
        """The open row group that has row i or comes to it next; where lanes share a row group, it is open for each."""
        for reading in self._open[group]:
            if reading.reaches(i):
                self._by_use.move_to_end(reading)
                return reading
        reading = _OpenRowGroup(self._pieces(group), self._rows_at_a_time)
        self._open[group].append(reading)
        self._by_use[reading] = group
        if len(self._by_use) > self._capacity:
            oldest, its_group = self._by_use.popitem(last=False)
            self._open[its_group].remove(oldest)
            if not self._open[its_group]:
                del self._open[its_group]
        return reading

    def _pieces(self, group: int) -> Generator[Values, None, None]:
        """The pixel column of a row group from its first row on, in pieces."""
        index = self._index
        number = int(np.searchsorted(index.file_groups, group, "right")) - 1
        in_file = group - int(index.file_groups[number])
        n_rows = int(index.group_starts[group + 1] - index.group_starts[group])
        n_read = 0
        try:
            for values in self._in_order(number, in_file, n_rows):
                n_read += len(values)
                yield values
            if n_read < n_rows:
                yield from self._by_pyarrow(number, in_file, n_rows, n_read)
        except (pa.ArrowInvalid, OSError) as error:
            raise ContractError(
                f"{index.files.names[number]}: row group {in_file} cannot be read ({error}); "
                "the file is damaged or out of reach: copy it again from its source"
            ) from error

    def _in_order(self, number: int, group: int, n_rows: int) -> Generator[Values, None, None]:
        """The values of a row group of a file, as far as they can be had without a page held whole."""
        files, footer = self._index.files, self._footer(number)
        if runs_through(footer, group, STAMP_COLUMN):
            values = values_in_order(
                files.source(number),
                footer,
                group,
                STAMP_COLUMN,
                rows=self._rows_at_a_time or n_rows,
                read_bytes=_LOCAL_READ_BYTES if files.is_local else _REMOTE_READ_BYTES,
            )
            if files.is_local:
                yield from values
            else:  # a view would keep all that was read with it in memory
                yield from ([bytes(run[k]) for k in range(len(run))] for run in values)

    def _by_pyarrow(self, number: int, group: int, n_rows: int, first: int) -> Generator[Values, None, None]:
        """Those from ``first`` on, whatever the pages are like."""
        files, footer = self._index.files, self._footer(number)
        # Without a buffer a column chunk is read whole: free where it is mapped into memory, too much on a network.
        buffer_size = 0 if files.is_local or self._rows_at_a_time is None else _REMOTE_READ_BYTES
        file = pq.ParquetFile(files.source(number), metadata=footer, buffer_size=buffer_size, pre_buffer=False)
        rows = self._rows_at_a_time or n_rows
        for batch in file.iter_batches(rows, row_groups=[group], columns=[STAMP_COLUMN], use_threads=False):
            if first < len(batch):
                yield _values(batch.column(0)[first:])
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


class _OpenRowGroup:
    """A row group that is being read: its pieces read so far, or the last two if they are of so many rows.

    Two, because the threads of a stream may be a batch or two apart.
    """

    def __init__(self, pieces: Generator[Values, None, None], rows_at_a_time: int | None) -> None:
        self._pieces = pieces
        self._ahead = rows_at_a_time
        self._lock = threading.Lock()
        self._held: deque[tuple[int, Values]] = deque(maxlen=2 if rows_at_a_time else None)
        self._end = 0
        self._failure: ContractError | None = None  # for every thread that comes after

    def reaches(self, i: int) -> bool:
        """Whether row i is held or comes soon."""
        return self._ahead is None or (not self._held) or self._held[0][0] <= i < self._end + self._ahead

    def value(self, i: int) -> Piece | None:
        """The bytes of row i, after reading up to it; None where they are held no more."""
        with self._lock:
            while i >= self._end:
                self._read_on()
            for start, values in reversed(self._held):
                if i >= start:
                    value = values[i - start]
                    if value is None:
                        raise StampError("missing_stamp", f"{STAMP_COLUMN} is null")
                    return value
        return None

    def _read_on(self) -> None:
        if self._failure:
            raise self._failure
        try:
            values = next(self._pieces)
        except ContractError as error:
            self._failure = error
            raise
        self._held.append((self._end, values))
        self._end += len(values)


def _values(column: pa.Array) -> Values:
    """A part of a binary column as views into its buffer, so that a value costs no Python bytes."""
    _, offsets, data = column.buffers()
    width = np.int64 if pat.is_large_binary(column.type) else np.int32
    edges = np.frombuffer(offsets, width, len(column) + 1, column.offset * np.dtype(width).itemsize).tolist()
    view = memoryview(data if data is not None else b"")
    is_null = column.is_null().to_pylist() if column.null_count else [False] * len(column)
    return [None if null else view[i:j] for (i, j), null in zip(pairwise(edges), is_null, strict=True)]
