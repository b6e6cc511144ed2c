"""The pixel column of open row groups, shared by the threads of a stream."""

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat
from numpy.typing import NDArray

from dark_halo_scope.stamps.codec import StampError
from dark_halo_scope.stamps.contract import STAMP_COLUMN, ContractError
from dark_halo_scope.stamps.index import StampIndex

_KNOWN_FOOTERS = 64


class RowGroups:
    """Reads row groups on demand and keeps the ``capacity`` most recently used open.

    Threads that want the same group at once read it once; reading happens outside the lock.

    Args:
        index: The dataset.
        capacity: Row groups to keep.
        column: Name of the pixel column.
    """

    def __init__(self, index: StampIndex, capacity: int, column: str = STAMP_COLUMN) -> None:
        self._index = index
        self._capacity = capacity
        self._column = column
        self._lock = threading.Lock()
        self._open: OrderedDict[int, Future[_StampBytes]] = OrderedDict()
        self._footers: OrderedDict[int, pq.FileMetaData] = OrderedDict()

    def stamp_bytes(self, group: int, i: int) -> memoryview:
        """The pixel column's value of row ``i`` of a row group, a view into the buffer that parquet was read into.

        Raises:
            StampError: With reason ``missing_stamp`` when it is null.
            ContractError: When the row group cannot be read.
        """
        with self._lock:
            future = self._open.get(group)
            mine = future is None
            if future is None:
                future = self._open[group] = Future()
                if len(self._open) > self._capacity:
                    self._open.popitem(last=False)
            self._open.move_to_end(group)
        if mine:
            try:
                future.set_result(self._read(group))
            except BaseException as error:
                future.set_exception(error)
        return future.result().value(i)

    def _read(self, group: int) -> "_StampBytes":
        index = self._index
        number = int(np.searchsorted(index.file_groups, group, "right")) - 1
        file = index.files.parquet(number, self._footers.get(number))
        with self._lock:
            self._footers[number] = file.metadata
            if len(self._footers) > _KNOWN_FOOTERS:
                self._footers.popitem(last=False)
        try:
            column = file.read_row_group(
                group - int(index.file_groups[number]), columns=[self._column], use_threads=False
            ).column(0)
        except (pa.ArrowInvalid, OSError) as error:
            raise ContractError(
                f"{index.files.names[number]}: row group {group - index.file_groups[number]} cannot be read ({error}); "
                "the file is damaged or out of reach: copy it again from its source"
            ) from error
        return _StampBytes(column)


class _StampBytes:
    """A binary column of one row group as plain buffers, so that a value costs a slice and no Python bytes."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._is_null = None
        self._width = 0
        if pat.is_fixed_size_binary(column.type):
            array = column.combine_chunks()
            self._width, self._start = column.type.byte_width, array.offset
            self._data = memoryview(array.buffers()[1]).cast("B")
            return
        # Arrow makes several chunks of a row group above 2 GB only, the most that 32-bit offsets reach.
        values = column.chunk(0) if column.num_chunks == 1 else column.cast(pa.large_binary()).combine_chunks()
        _, offsets, data = values.buffers()
        width = np.int64 if pat.is_large_binary(values.type) else np.int32
        self._offsets: NDArray[Any] = np.frombuffer(offsets, width)[values.offset :]
        self._data = memoryview(data) if data is not None else memoryview(b"")
        self._is_null = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None

    def value(self, i: int) -> memoryview:
        if self._width:
            return self._data[(self._start + i) * self._width :][: self._width]
        if self._is_null is not None and self._is_null[i]:
            raise StampError("missing_stamp", f"{STAMP_COLUMN} is null")
        return self._data[self._offsets[i] : self._offsets[i + 1]]
