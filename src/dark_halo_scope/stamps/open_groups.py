"""Row groups held open, shared by the threads of a stream."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

_T = TypeVar("_T")


class OpenGroups(Generic[_T]):
    """Opens row groups on demand and keeps the ``capacity`` most recently used.

    Threads that want the same group at once open it once; opening happens outside the lock.

    Args:
        capacity: Row groups to keep.
        open_group: Opens a row group by its number in the dataset.
    """

    def __init__(self, capacity: int, open_group: Callable[[int], _T]) -> None:
        self._capacity = capacity
        self._open_group = open_group
        self._lock = threading.Lock()
        self._open: OrderedDict[int, Future[_T]] = OrderedDict()

    def __getitem__(self, group: int) -> _T:
        """The row group; whatever its opening raised."""
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
                future.set_result(self._open_group(group))
            except BaseException as error:
                future.set_exception(error)
        return future.result()
