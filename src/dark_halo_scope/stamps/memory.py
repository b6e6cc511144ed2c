"""What a shuffle over many open row groups may cost in memory, estimated before it is paid."""

import logging
import os

from dark_halo_scope.stamps.index import StampIndex

log = logging.getLogger(__name__)

_MOST = 0.5  # of this machine's memory; the rest is for the model, pinned batches and the page cache


def warn_of_open_row_groups(index: StampIndex, lanes: int, memory_bytes: int | None = None) -> None:
    """Say so when ``lanes`` open row groups of a raw dataset may not fit into this machine's memory.

    A row group that was written as one compressed page, as pyarrow does by default, is held whole while it is read;
    128 of 640 stamps take 4.4 GiB. Uncompressed or smaller pages take far less, which the footers do not tell.

    Args:
        index: The dataset.
        lanes: Row groups open at a time, over all ranks.
        memory_bytes: Memory of the machine; None asks the system.
    """
    if index.store is not None:
        return
    memory = memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
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
