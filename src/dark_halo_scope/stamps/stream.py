"""Batches of decoded stamps, ahead of need, from one process with a pool of threads.

Inflating releases the GIL, so that threads decode side by side straight into the batch; worker processes would have to
copy every batch through shared memory. What a batch holds is decided by `plan` alone.
"""

import math
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dark_halo_scope.stamps.contract import STAMP_SHAPE
from dark_halo_scope.stamps.decoder import QUARANTINED
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.quarantine import Quarantine, QuarantinePass, Record
from dark_halo_scope.stamps.reader import StampReader, stamp_reader

_PIECE = 16  # fewest stamps (2 ms) worth handing to another thread

Batch = dict[str, Tensor]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class StreamOptions:
    """How stamps are streamed.

    Attributes:
        num_threads: Decoding threads.
        prefetch_batches: Batches decoded ahead of the one in use.
        open_row_groups: Row groups that an epoch is shuffled over at a time.
        max_nonfinite_fraction: Fraction of a band up to which non-finite pixels are filled with the sky.
        pin_memory: Whether to decode into page-locked memory, from which a GPU copies without waiting.
    """

    num_threads: int = 2
    prefetch_batches: int = 2
    open_row_groups: int = 64
    max_nonfinite_fraction: float = 0.01
    pin_memory: bool = False

    def __post_init__(self) -> None:
        for name in ("num_threads", "prefetch_batches", "open_row_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.max_nonfinite_fraction < 0.5:
            raise ValueError(
                f"data.max_nonfinite_fraction={self.max_nonfinite_fraction} must lie in [0, 0.5), "
                "so that sky is left to fill with"
            )


def stream_batches(
    index: StampIndex, split: str, batches: list[Rows], first: int, quarantine: Quarantine, options: StreamOptions
) -> Generator[Batch, None, None]:
    """Decode ``batches`` (the rows of each) from number ``first`` on; the threads end with the generator.

    Yields:
        ``{"image": float32 (b, 3, 64, 64) in nanomaggies, "label": int64 (b,), "row": int64 (b,)}``, without the rows
        that cannot be used.

    Raises:
        QuarantineLimitError: When too many cannot.
        ContractError: When a row group cannot be read.
    """
    review = QuarantinePass(quarantine, split, sum(map(len, batches)))
    reader = stamp_reader(
        index,
        open_row_groups=_groups_in_use(index, batches, options),
        max_nonfinite_fraction=options.max_nonfinite_fraction,
    )
    pool = ThreadPoolExecutor(options.num_threads, thread_name_prefix=f"stamps-{split}")
    flights: deque[_Flight] = deque()
    try:
        for rows in batches[first:]:
            flights.append(_launch(rows, pool, reader, quarantine, options))
            if len(flights) > options.prefetch_batches:
                yield _land(flights.popleft(), index, review)
        while flights:
            yield _land(flights.popleft(), index, review)
        review.close()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass
class _Flight:
    """A batch being decoded."""

    rows: Rows
    image: Tensor
    pieces: list[Future[list[Record]]]


def _groups_in_use(index: StampIndex, batches: list[Rows], options: StreamOptions) -> int:
    """Row groups to hold open: those being shuffled over, and those that the batches in flight reach ahead to."""
    n_groups = int(np.count_nonzero(np.bincount(index.group_of(np.concatenate(batches)))))
    ahead = math.ceil((options.prefetch_batches + 1) * n_groups / len(batches)) + 1
    return min(n_groups, options.open_row_groups + ahead)


def _launch(
    rows: Rows, pool: ThreadPoolExecutor, reader: StampReader, quarantine: Quarantine, options: StreamOptions
) -> _Flight:
    """Begin to decode a batch, cut into pieces for the threads."""
    image = torch.empty((len(rows), *STAMP_SHAPE), pin_memory=options.pin_memory)
    out = image.numpy()

    def decode(start: int, stop: int) -> list[Record]:
        return [quarantine.describe(fault) for fault in reader.decode(rows[start:stop], out[start:stop])]

    n_pieces = min(options.num_threads, math.ceil(len(rows) / _PIECE))
    edges = [len(rows) * k // n_pieces for k in range(n_pieces + 1)]
    return _Flight(rows, image, [pool.submit(decode, start, stop) for start, stop in pairwise(edges)])


def _land(flight: _Flight, index: StampIndex, review: QuarantinePass) -> Batch:
    """Wait for a batch, review its faults and leave its bad rows out."""
    records = [record for piece in flight.pieces for record in piece.result()]
    label = index.label[flight.rows]
    review.add(label, records)
    batch = {
        "image": flight.image,
        "label": torch.from_numpy(label.astype(np.int64)),
        "row": torch.from_numpy(flight.rows.copy()),  # a view would keep the whole epoch's order alive
    }
    bad = [record["row"] for record in records if record["action"] == QUARANTINED]
    if bad:
        good = torch.from_numpy(~np.isin(flight.rows, bad))
        batch = {name: values[good] for name, values in batch.items()}
    return batch
