"""Batches of stamps with their labels, ahead of need, from one process with a pool of threads.

Inflating releases the GIL, so that threads decode side by side straight into the batch; worker processes would have to
copy every batch through shared memory. What a batch holds is decided by `plan` alone.

Lightning holds a batch until the next one is fetched, and others may hold it for longer: its memory is used again when
nothing refers to it any more (`batch_memory`).
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dark_halo_scope.stamps.decoder import QUARANTINED
from dark_halo_scope.stamps.plan import FULL_SHUFFLE_ROWS, Batches
from dark_halo_scope.stamps.quarantine import Quarantine, QuarantinePass
from dark_halo_scope.stamps.read_ahead import read_ahead
from dark_halo_scope.stamps.reader import RowReader
from dark_halo_scope.stamps.row_index import RowIndex

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class StreamOptions:
    """How stamps are streamed.

    Attributes:
        num_threads: Decoding threads.
        prefetch_batches: Batches decoded ahead of the one in use.
        lanes: Row groups that an epoch is shuffled over at a time, by all ranks together: see `plan.Lanes`.
        max_nonfinite_fraction: Fraction of a band up to which non-finite pixels are filled with the sky.
        pin_memory: Whether to decode into page-locked memory, from which a GPU copies without waiting.
    """

    num_threads: int = 2
    prefetch_batches: int = 2
    lanes: int = 128
    max_nonfinite_fraction: float = 0.01
    pin_memory: bool = False

    def __post_init__(self) -> None:
        for name in ("num_threads", "prefetch_batches", "lanes"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name}={getattr(self, name)} must be at least 1")
        if self.lanes & (self.lanes - 1) or self.lanes > FULL_SHUFFLE_ROWS:
            raise ValueError(f"data.lanes={self.lanes} must be a power of two, at most {FULL_SHUFFLE_ROWS}")
        if not 0 <= self.max_nonfinite_fraction < 0.5:
            raise ValueError(
                f"data.max_nonfinite_fraction={self.max_nonfinite_fraction} must lie in [0, 0.5), "
                "so that sky is left to fill with"
            )


def stream_batches(
    index: RowIndex,
    split: str,
    batches: Batches,
    first: int,
    reader: RowReader,
    quarantine: Quarantine,
    options: StreamOptions,
) -> Generator[Batch, None, None]:
    """Read ``batches`` from number ``first`` on; the threads end with the generator.

    Yields:
        The fields of the reader, ``label`` int64 (b,) and ``row`` int64 (b,), without the rows
        that cannot be used.

    Raises:
        QuarantineLimitError: When too many cannot.
        ContractError: When a row group cannot be read.
    """
    review = QuarantinePass(quarantine, split, batches.n_rows, goes_on=first > 0)
    stream = read_ahead(
        reader,
        (batches[number] for number in range(first, len(batches))),
        num_threads=options.num_threads,
        prefetch_batches=options.prefetch_batches,
        pin_memory=options.pin_memory,
    )
    with closing(stream):
        for read in stream:
            label = index.label[read.fields["row"].numpy()]
            bad = [fault.row for fault in read.faults if fault.action == QUARANTINED]
            records = [quarantine.describe(fault) for fault in read.faults]
            review.add(np.concatenate([label, index.label[bad]]) if bad else label, records)
            yield read.fields | {"label": torch.from_numpy(label.astype(np.int64))}
    review.close()
