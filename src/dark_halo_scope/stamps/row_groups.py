"""The pixel column of open row groups, shared by the threads of a stream."""

import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Generator

from dark_halo_scope.stamps.codec import StampError
from dark_halo_scope.stamps.contract import STAMP_COLUMN
from dark_halo_scope.stamps.group_values import GroupValues, Values
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.pages import Value


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
        self._values = GroupValues(index, rows_at_a_time)
        self._capacity = capacity
        self._rows_at_a_time = rows_at_a_time
        self._lock = threading.Lock()
        self._open: defaultdict[int, list[_OpenRowGroup]] = defaultdict(list)
        self._by_use: OrderedDict[_OpenRowGroup, int] = OrderedDict()

    def stamp_bytes(self, group: int, i: int) -> Value:
        """The pixel column's value of row ``i`` of a row group, as it lies in what was read.

        Raises:
            StampError: With reason ``missing_stamp`` when it is null.
            ContractError: When the row group cannot be read.
            RemoteReadError: When the network does not give it.
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
        reading = _OpenRowGroup(self._values.pieces(group), self._values.n_rows(group), self._rows_at_a_time)
        self._open[group].append(reading)
        self._by_use[reading] = group
        if len(self._by_use) > self._capacity:
            oldest, its_group = self._by_use.popitem(last=False)
            self._open[its_group].remove(oldest)
            if not self._open[its_group]:
                del self._open[its_group]
        return reading


class _OpenRowGroup:
    """A row group that is being read: its pieces read so far, or the last two if they are of so many rows.

    Two, because the threads of a stream may be a batch or two apart. What was read to its end keeps no file open.
    """

    def __init__(self, pieces: Generator[Values, None, None], n_rows: int, rows_at_a_time: int | None) -> None:
        self._pieces = pieces
        self._n_rows = n_rows
        self._ahead = rows_at_a_time
        self._lock = threading.Lock()
        self._held: deque[tuple[int, Values]] = deque(maxlen=2 if rows_at_a_time else None)
        self._end = 0
        self._failure: BaseException | None = None  # for every thread that comes after

    def reaches(self, i: int) -> bool:
        """Whether row i is held or comes soon."""
        return self._ahead is None or (not self._held) or self._held[0][0] <= i < self._end + self._ahead

    def value(self, i: int) -> Value | None:
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
        """Read the next piece, or all where all are held."""
        if self._failure:
            raise self._failure
        if self._end == self._n_rows:
            raise IndexError(f"a row beyond the {self._n_rows} of its row group")
        try:
            for values in self._pieces:
                self._held.append((self._end, values))
                self._end += len(values)
                if self._ahead and self._end < self._n_rows:
                    return
        except BaseException as error:
            self._failure = error
            raise
