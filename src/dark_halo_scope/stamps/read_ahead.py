"""Batches of rows read ahead of need by a pool of threads, whatever is then done with them."""

import math
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dark_halo_scope.stamps.batch_memory import BatchMemory
from dark_halo_scope.stamps.decoder import QUARANTINED, Fault
from dark_halo_scope.stamps.reader import RowReader
from dark_halo_scope.stamps.remote import stop_this_thread_by

_PIECE = 16  # fewest stamps (2 ms) worth handing to another thread

Rows = NDArray[np.int64]


@dataclass
class ReadBatch:
    """A batch as it was read.

    Attributes:
        fields: What the reader gives, a tensor (b, ...) each, and ``row`` int64 (b,); without the unusable rows.
        faults: What was wrong with some of its rows, ordered by row as they were asked for.
    """

    fields: dict[str, Tensor]
    faults: list[Fault]


def read_ahead(
    reader: RowReader, batches: Iterable[Rows], *, num_threads: int, prefetch_batches: int, pin_memory: bool
) -> Generator[ReadBatch, None, None]:
    """Read ``batches`` (the rows of each) in their order; the threads end with the generator.

    They end soon though the network be down: what waits to be read again is given up.
    """
    stop = threading.Event()
    pool = ThreadPoolExecutor(num_threads, "stamps", initializer=stop_this_thread_by, initargs=(stop,))
    memory = BatchMemory(pin=pin_memory)
    flights: deque[_Flight] = deque()
    process_ends = sys.is_finalizing  # at hand even where modules are gone already
    try:
        for rows in batches:
            flights.append(_launch(rows, pool, reader, num_threads, memory))
            if len(flights) > prefetch_batches:
                yield flights.popleft().land()
        while flights:
            yield flights.popleft().land()
    finally:
        stop.set()
        if not process_ends():  # its pools have ended by then, and cannot be asked to any more
            pool.shutdown(cancel_futures=True)


@dataclass
class _Flight:
    """A batch being read."""

    rows: Rows
    fields: dict[str, Tensor]
    pieces: list[Future[list[Fault]]]

    def land(self) -> ReadBatch:
        """Wait for it, and leave its bad rows out."""
        faults = [fault for piece in self.pieces for fault in piece.result()]
        batch = self.fields | {"row": torch.from_numpy(self.rows.copy())}  # a view would keep all rows alive
        bad = [fault.row for fault in faults if fault.action == QUARANTINED]
        if bad:
            good = torch.from_numpy(~np.isin(self.rows, bad))
            batch = {name: values[good] for name, values in batch.items()}
        return ReadBatch(batch, faults)


def _launch(rows: Rows, pool: ThreadPoolExecutor, reader: RowReader, num_threads: int, memory: BatchMemory) -> _Flight:
    """Begin to read a batch, cut into pieces for the threads."""
    fields = {name: memory.empty(name, (len(rows), *shape), dtype) for name, (shape, dtype) in reader.fields.items()}
    arrays = {name: values.numpy() for name, values in fields.items()}

    def read(start: int, stop: int) -> list[Fault]:
        return reader.read(rows[start:stop], {name: array[start:stop] for name, array in arrays.items()})

    n_pieces = min(num_threads, math.ceil(len(rows) / _PIECE))
    edges = [len(rows) * k // n_pieces for k in range(n_pieces + 1)]
    return _Flight(rows, fields, [pool.submit(read, start, stop) for start, stop in pairwise(edges)])
