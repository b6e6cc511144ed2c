"""The pixel column of open row groups, shared by the threads of a stream."""

import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Generator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from dark_halo_scope.stamps.codec import StampError
from dark_halo_scope.stamps.contract import STAMP_COLUMN, ContractError
from dark_halo_scope.stamps.index import StampIndex

_KNOWN_FOOTERS = 1024
_REMOTE_READ_BYTES = 4 << 20  # 90 stamps a request: of 50 ms, at 8 threads, this is 14,000 stamps/s


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

    def stamp_bytes(self, group: int, i: int) -> memoryview:
        """The pixel column's value of row ``i`` of a row group, a view into the buffer that parquet was read into.

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

    def _pieces(self, group: int) -> Generator[pa.Array, None, None]:
        """The pixel column of a row group from its first row on, in pieces."""
        index = self._index
        number = int(np.searchsorted(index.file_groups, group, "right")) - 1
        in_file = group - int(index.file_groups[number])
        n_rows = int(index.group_starts[group + 1] - index.group_starts[group])
        try:
            batches = self._file(number).iter_batches(
                self._rows_at_a_time or n_rows, row_groups=[in_file], columns=[STAMP_COLUMN], use_threads=False
            )
            for batch in batches:
                yield batch.column(0)
        except (pa.ArrowInvalid, OSError) as error:
            raise ContractError(
                f"{index.files.names[number]}: row group {in_file} cannot be read ({error}); "
                "the file is damaged or out of reach: copy it again from its source"
            ) from error

    def _file(self, number: int) -> pq.ParquetFile:
        files = self._index.files
        with self._lock:
            footer = self._footers.get(number)
        if footer is None:
            footer = files.parquet(number).metadata
            with self._lock:
                self._footers[number] = footer
                if len(self._footers) > _KNOWN_FOOTERS:
                    self._footers.popitem(last=False)
        if self._rows_at_a_time is None:
            return files.parquet(number, footer)
        # Without a buffer a column chunk is read whole: free where it is mapped into memory, too much on a network.
        buffer_size = 0 if files.is_local else _REMOTE_READ_BYTES
        return pq.ParquetFile(files.source(number), metadata=footer, buffer_size=buffer_size, pre_buffer=False)


class _OpenRowGroup:
    """A row group that is being read: its pieces read so far, or the last two of them.

    Two, because the threads of a stream may be a batch or two apart.
    """

    def __init__(self, pieces: Generator[pa.Array, None, None], rows_at_a_time: int | None) -> None:
        self._pieces = pieces
        self._ahead = rows_at_a_time
        self._lock = threading.Lock()
        self._held: deque[tuple[int, _StampBytes]] = deque(maxlen=2 if rows_at_a_time else None)
        self._end = 0
        self._failure: ContractError | None = None  # for every thread that comes after

    def reaches(self, i: int) -> bool:
        """Whether row i is held or comes soon."""
        return self._ahead is None or (not self._held) or self._held[0][0] <= i < self._end + self._ahead

    def value(self, i: int) -> memoryview | None:
        """The bytes of row i, after reading up to it; None where they are held no more."""
        with self._lock:
            while i >= self._end:
                self._read_on()
            for start, values in reversed(self._held):
                if i >= start:
                    return values[i - start]
        return None

    def _read_on(self) -> None:
        if self._failure:
            raise self._failure
        try:
            values = _StampBytes(next(self._pieces))
        except ContractError as error:
            self._failure = error
            raise
        self._held.append((self._end, values))
        self._end += len(values)
        if self._ahead is None:
            self._pieces.close()  # all is held: let go of the reader and of the pages that it has decompressed


class _StampBytes:
    """A piece of a binary column as plain buffers, so that a value costs a slice and no Python bytes."""

    def __init__(self, values: pa.Array) -> None:
        _, offsets, data = values.buffers()
        width = np.int64 if pat.is_large_binary(values.type) else np.int32
        self._offsets = np.frombuffer(
            offsets, width, len(values) + 1, values.offset * np.dtype(width).itemsize
        ).tolist()
        self._data = memoryview(data if data is not None else b"")
        self._is_null = values.is_null().to_pylist() if values.null_count else None

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, i: int) -> memoryview:
        if self._is_null and self._is_null[i]:
            raise StampError("missing_stamp", f"{STAMP_COLUMN} is null")
        return self._data[self._offsets[i] : self._offsets[i + 1]]
