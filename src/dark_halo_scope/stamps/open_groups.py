"""Row groups held open, shared by the threads of a stream."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
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
        self._open: OrderedDict[int, _T | Future[_T]] = OrderedDict()  # a future while it is being opened

    def get(self, groups: Iterable[int]) -> list[_T]:
        """The row groups; whatever the opening of one raised."""
        mine: list[tuple[int, Future[_T]]] = []
        found: list[_T | Future[_T]] = []
        with self._lock:
            for group in groups:
                entry = self._open.get(group)
                if entry is None:
                    future: Future[_T] = Future()
                    entry = self._open[group] = future
                    mine.append((group, future))
                    if len(self._open) > self._capacity:
                        self._open.popitem(last=False)
                else:
                    self._open.move_to_end(group)
                found.append(entry)
        for k, (group, future) in enumerate(mine):
            try:
                opened = self._open_group(group)
            except BaseException as error:
                for _, waited_for in mine[k:]:  # none of them is tried: a silent network takes its minutes each time
                    waited_for.set_exception(error)
                break
            else:
                future.set_result(opened)
                with self._lock:
                    if self._open.get(group) is future:
                        self._open[group] = opened
        return [entry.result() if isinstance(entry, Future) else entry for entry in found]
