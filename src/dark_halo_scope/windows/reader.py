"""Rows of a dataset of windows to samples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.stamps.decoder import Fault
from dark_halo_scope.stamps.open_groups import OpenGroups
from dark_halo_scope.windows.contract import WINDOW_COLUMN, ContractError, samples
from dark_halo_scope.windows.index import WindowIndex


class WindowReader:
    """Reads windows, of which ``open_row_groups`` row groups are kept in memory; for threads too.

    Attributes:
        fields: ``window``, float32 (C, T), and ``participant``, the int64 `participant_key` of who it is of.
    """

    fields: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]

    def __init__(self, index: WindowIndex, *, open_row_groups: int) -> None:
        self._index = index
        self._keys = index.participant_keys
        self._groups = OpenGroups(open_row_groups, self._open)
        self.fields = {"window": (index.layout.shape, np.dtype(np.float32)), "participant": ((), np.dtype(np.int64))}

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> list[Fault]:
        """Write the fields of ``rows`` (b,) to ``out``, arrays of (b, ...) by name; no window has a fault: see `scan`.

        Raises:
            ContractError: When a row group cannot be read, or is not what was indexed any more.
        """
        out["participant"][:] = self._keys[self._index.participant[rows]]
        groups, which = np.unique(self._index.group_of(rows), return_inverse=True)
        places = rows - self._index.group_starts[groups[which]]
        for k, group in enumerate(groups.tolist()):
            (windows,) = self._groups.get([group])  # one at a time: all of a call need not fit into memory
            out["window"][which == k] = windows[places[which == k]]
        return []

    def _open(self, group: int) -> NDArray[np.float32]:
        """All windows (n, C, T) of a row group."""
        index = self._index
        number = int(np.searchsorted(index.file_groups, group, "right")) - 1
        in_file = group - int(index.file_groups[number])
        first_row = int(index.group_starts[group] - index.file_starts[number])
        try:
            table = index.files.parquet(number).read_row_group(in_file, columns=[WINDOW_COLUMN], use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise ContractError(
                f"{index.files.names[number]}: row group {in_file} cannot be read ({error}); the file is damaged or "
                "out of reach: copy it again from its source"
            ) from error
        return samples(table[WINDOW_COLUMN], index.layout, index.files.names[number], first_row)


def window_reader(
    index: WindowIndex, *, open_row_groups: int, max_nonfinite_fraction: float = 0.0, rows_at_a_time: int | None = None
) -> WindowReader:
    """An `OpenReader` of windows, of which the index has made sure that all are finite.

    Row groups of windows are small (1.6 MB for 512 of 6 x 128 samples) and held whole.
    """
    return WindowReader(index, open_row_groups=open_row_groups)


def read_windows(index: WindowIndex, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Windows (n, C, T) of some rows, in their order."""
    windows = np.empty((len(rows), *index.layout.shape), np.float32)
    reader = WindowReader(index, open_row_groups=1)
    reader.read(rows, {"window": windows, "participant": np.empty(len(rows), np.int64)})
    return windows
