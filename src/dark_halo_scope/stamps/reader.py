"""Rows to pixels, whatever a dataset keeps them in."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.decoder import Fault, StampDecoder
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store.reader import StoreReader


class StampReader(Protocol):
    """Reads rows of one dataset; safe to call from threads."""

    def decode(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> list[Fault]:
        """Write the pixels of ``rows`` (b,) to ``out`` (b, 3, 64, 64), in nanomaggies; give the faults found."""


def stamp_reader(index: StampIndex, *, open_row_groups: int, max_nonfinite_fraction: float) -> StampReader:
    """What reads the pixels of ``index``, a raw dataset or a training store."""
    if index.store is not None:
        return StoreReader(index, open_row_groups=open_row_groups)
    return StampDecoder(index, open_row_groups=open_row_groups, max_nonfinite_fraction=max_nonfinite_fraction)
