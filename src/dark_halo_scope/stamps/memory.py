"""What a shuffle over many open row groups may cost in memory, estimated before it is paid."""

import logging
import os

import numpy as np

from dark_halo_scope.stamps.contract import STAMP_COLUMN
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.pages import runs_through

log = logging.getLogger(__name__)

_MOST = 0.5  # of this machine's memory; the rest is for the model, pinned batches and the page cache


def machine_memory_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def warn_of_open_row_groups(index: StampIndex, lanes: int, memory_bytes: int | None = None) -> None:
    """Say so when ``lanes`` open row groups of a raw dataset may not fit into this machine's memory.

    Stamps in the pages that pyarrow writes by default are read a few at a time: see `pages`. Of others, such as those
    that zstd has packed, a row group may be held whole while it is read; 128 of 640 stamps take 4.4 GiB.

    Args:
        index: The dataset.
        lanes: Row groups open at a time, over all ranks.
        memory_bytes: Memory of the machine; None asks the system.
    """
    if index.store is not None or _is_read_in_pieces(index):
        return
    memory = memory_bytes or machine_memory_bytes()
    n_groups = len(index.group_starts) - 1
    group_bytes = sum(index.files.sizes) / n_groups
    needed = min(lanes, n_groups) * group_bytes
    if needed > _MOST * memory:
        fits = max(1, int(_MOST * memory / group_bytes))
        log.warning(
            "a row group of this dataset holds %.0f stamps (%.0f MB): %d of them open may take %.0f GB of this "
            "machine's %.0f GB; set data.lanes=%d or less, or make a training store of it (halo prepare)",
            index.n_rows / n_groups,
            group_bytes / 1e6,
            min(lanes, n_groups),
            needed / 1e9,
            memory / 1e9,
            1 << (fits.bit_length() - 1),
        )


def _is_read_in_pieces(index: StampIndex) -> bool:
    """Whether the first row group is: a dataset is written by one program."""
    number = int(np.searchsorted(index.file_groups, 0, "right")) - 1
    return runs_through(index.files.parquet(number).metadata, 0, STAMP_COLUMN)
