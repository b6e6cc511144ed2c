"""Rows to samples, whatever a dataset keeps them in."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.codec import StampError
from dark_halo_scope.stamps.contract import STAMP_SHAPE
from dark_halo_scope.stamps.decoder import QUARANTINED, Fault, StampDecoder
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store.reader import StoreReader


class RowReader(Protocol):
    """Reads rows of one dataset; safe to call from threads.

    Attributes:
        fields: Shape of one row's value and type of each field, as the dataset keeps it.
    """

    fields: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> list[Fault]:
        """Write the fields of ``rows`` (b,) to ``out``, arrays of (b, ...) by name; give the faults found."""


class StampReader(RowReader, Protocol):
    """Reads stamps: ``image`` is among the fields."""

    def decode(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> list[Fault]:
        """Write the pixels of ``rows`` (b,) to ``out`` (b, 3, 64, 64), in nanomaggies; give the faults found."""


class OpenReader(Protocol):
    """Opens the reader of an index of its kind, as `stamp_reader` does for stamps."""

    def __call__(
        self, index: Any, *, open_row_groups: int, max_nonfinite_fraction: float, rows_at_a_time: int | None = None
    ) -> RowReader:
        """Open it; ``rows_at_a_time`` where each row group is gone through from its first row to its last."""


def stamp_reader(
    index: StampIndex, *, open_row_groups: int, max_nonfinite_fraction: float, rows_at_a_time: int | None = None
) -> StampReader:
    """What reads the pixels of ``index``, a raw dataset or a training store."""
    if index.store is not None:
        return StoreReader(index, open_row_groups=open_row_groups)
    return StampDecoder(
        index,
        open_row_groups=open_row_groups,
        max_nonfinite_fraction=max_nonfinite_fraction,
        rows_at_a_time=rows_at_a_time,
    )


def read_stamps(index: StampIndex, rows: NDArray[np.int64], max_nonfinite_fraction: float) -> NDArray[np.float32]:
    """Pixels (n, 3, 64, 64) in nanomaggies of a few rows, in their order, for pictures.

    Raises:
        StampError: When one of them cannot be decoded.
    """
    reader = stamp_reader(index, open_row_groups=1, max_nonfinite_fraction=max_nonfinite_fraction)
    order = np.argsort(rows)  # so that each row group is read once
    decoded = np.empty((len(rows), *STAMP_SHAPE), np.float32)
    for fault in reader.decode(np.asarray(rows)[order], decoded):
        if fault.action == QUARANTINED:
            file, row = index.locate(fault.row)
            raise StampError(fault.reason, f"{file}, row {row}: {fault.message}")
    images = np.empty_like(decoded)
    images[order] = decoded
    return images
