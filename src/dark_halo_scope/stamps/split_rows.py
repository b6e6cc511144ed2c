"""The rows of a split by their place in it, without a list of them."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

_KNOWN_GROUPS = 1024  # each is asked for again and again while it is open


class SplitRows:
    """The rows in use of one split, row group by row group; it keeps a byte a row and 16 bytes a row group.

    Args:
        in_use: Whether a row of the dataset belongs to the split and is in use; (N,).
        group_starts: First row of each row group of the dataset and, last, the number of rows; (G + 1,).

    Attributes:
        groups: Numbers of the row groups that hold some of the rows, ascending.
    """

    def __init__(self, in_use: NDArray[np.bool_], group_starts: Rows) -> None:
        self._in_use = in_use
        self._group_starts = group_starts
        filled = np.flatnonzero(np.diff(group_starts))
        counts = np.zeros(len(group_starts) - 1, np.int64)
        if len(filled):
            counts[filled] = np.add.reduceat(in_use, group_starts[filled], dtype=np.int64)
        self._counts = counts
        self.groups = np.flatnonzero(counts)
        self._ends = np.cumsum(counts[self.groups])
        self._members = lru_cache(_KNOWN_GROUPS)(self._members_of)

    def __len__(self) -> int:
        """Rows of the split."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def lengths(self, groups: Rows) -> Rows:
        """Rows of the split in each of ``groups``."""
        return self._counts[groups]

    def group_of(self, rows: Rows) -> Rows:
        """Row groups that hold ``rows``."""
        return np.searchsorted(self._group_starts, rows, "right") - 1

    def rows(self, groups: Rows, k: Rows) -> Rows:
        """Global row numbers: in row group ``groups[i]``, the row of the split that comes there as number ``k[i]``."""
        rows = self._group_starts[groups] + k
        is_mixed = self._counts[groups] < self._group_starts[groups + 1] - self._group_starts[groups]
        for i in np.flatnonzero(is_mixed).tolist():
            rows[i] = self._members(int(groups[i]))[k[i]]
        return rows

    def slice(self, start: int, stop: int) -> Rows:
        """Global row numbers of the split's rows number start ... stop - 1 in file order."""
        if stop <= start:
            return np.empty(0, np.int64)
        first, last = np.searchsorted(self._ends, [start, stop - 1], "right").tolist()
        rows = np.concatenate([self._members(group) for group in self.groups[first : last + 1].tolist()])
        skipped = int(self._ends[first] - self._counts[self.groups[first]])
        return rows[start - skipped : stop - skipped]

    def _members_of(self, group: int) -> Rows:
        start, stop = self._group_starts[group : group + 2].tolist()
        return start + np.flatnonzero(self._in_use[start:stop])
