"""The row groups of a training store as arrays: mapped from the disk, or read as parquet where that is not possible."""

import mmap
import threading
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import PIXEL_COLUMN, ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store import layout
from dark_halo_scope.stamps.store.layout import PlainGroups
from dark_halo_scope.stamps.store.precision import stored_bytes


class Group(NamedTuple):
    """One row group of n stamps.

    Attributes:
        measured: The bits of `layout.measured_columns`; (n, columns) uint32.
        pixels: (n, bytes of a stamp) uint8.
    """

    measured: NDArray[np.uint32]
    pixels: NDArray[np.uint8]


class StoreGroups:
    """Opens the row groups of a store; safe to call from threads.

    A file that lies on a local disk, itself or as its copy in the cache, is mapped as long as one of its groups is in
    use, and the system is told to read a group as a whole when it is opened: a split that fits in memory stays there,
    and of a larger one the disk is read in blocks of a row group. A remote file, and one in which the pixels do not lie
    as one array (some other program wrote the parquet anew), is read as parquet.
    """

    def __init__(self, index: StampIndex, precision: str) -> None:
        self._index = index
        self._precision = precision
        self._lock = threading.Lock()
        self._plain: dict[int, PlainGroups | None] = {}
        self._maps: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()

    def open(self, group: int) -> Group:
        """The row group of that number in the dataset.

        Raises:
            ContractError: When it cannot be read.
        """
        number = int(np.searchsorted(self._index.file_groups, group, "right")) - 1
        group_of_file = group - int(self._index.file_groups[number])
        mapped = self._map(number)
        plain = self._layout(number) if mapped else None
        if mapped is None or plain is None:
            return self._read(number, group_of_file)
        n_rows = int(self._index.group_starts[group + 1] - self._index.group_starts[group])
        return self._mapped(mapped, plain, group_of_file, n_rows)

    def _layout(self, number: int) -> PlainGroups | None:
        """Where the values of a file lie; its footer is read once."""
        if number not in self._plain:
            self._plain[number] = layout.plain_groups(self._index.files.parquet(number).metadata, self._precision)
        return self._plain[number]

    def _map(self, number: int) -> mmap.mmap | None:
        with self._lock:
            mapped = self._maps.get(number)
            if mapped is None and (mapped := self._index.files.map(number)):
                self._maps[number] = mapped
            return mapped

    def _mapped(self, mapped: mmap.mmap, plain: PlainGroups, group: int, n_rows: int) -> Group:
        start, step = int(plain.measured[group]), int(plain.step[group])
        pixels = int(plain.pixels[group])
        width = stored_bytes(self._precision)
        page = start - start % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, page, pixels + n_rows * width - page)
        columns = len(layout.measured_columns(self._precision))
        return Group(
            np.ndarray((n_rows, columns), np.uint32, mapped, start, (4, step)),
            np.ndarray((n_rows, width), np.uint8, mapped, pixels),
        )

    def _read(self, number: int, group: int) -> Group:
        files = self._index.files
        names = layout.measured_columns(self._precision)
        try:
            table = files.parquet(number).read_row_group(group, columns=[*names, PIXEL_COLUMN], use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise ContractError(
                f"{files.names[number]}: row group {group} cannot be read ({error}); the file is damaged or out of "
                "reach: copy it again from its source"
            ) from error
        width = stored_bytes(self._precision)
        values = table[PIXEL_COLUMN].cast(pa.binary(width)).combine_chunks()
        pixels = np.frombuffer(values.buffers()[1], np.uint8).reshape(-1, width)[values.offset :][: len(table)]
        bits = [table[name].to_numpy().astype(kind).view(np.uint32) for name, kind in names.items()]
        return Group(np.stack(bits, axis=1), pixels)
