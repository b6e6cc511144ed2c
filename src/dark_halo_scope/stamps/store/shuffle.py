"""Where each raw row goes in a store: a pure function of (data, seed).

The rows of a split are permuted as a whole, and the permutation is cut into shards. So the shuffle is a full one by
construction, however the work is shared out: a chunk of raw rows is read, sorted by destination and set down; a shard
is then put together from its run in each chunk.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import SPLITS
from dark_halo_scope.stamps.index import StampIndex

UNUSED = -1
_CHUNK_ROWS = 8_192  # 0.2 GB of float16 in memory; its runs for 650 shards are 0.3 MB long, which a disk reads well


@dataclass(frozen=True)
class ShufflePlan:
    """Chunks of raw rows to read, shards to write, and the way between them.

    Attributes:
        destination: Place of each raw row among all places of the store, or `UNUSED`; (N,).
        shard_edges: First place of each shard and, last, the number of places; (S + 1,).
        shard_names: Names of the shards, by split in the order of `SPLITS`; S of them.
        chunk_edges: First raw row of each chunk and, last, the number of raw rows; (C + 1,).
    """

    destination: NDArray[np.int64]
    shard_edges: NDArray[np.int64]
    shard_names: tuple[str, ...]
    chunk_edges: NDArray[np.int64]

    @property
    def n_chunks(self) -> int:
        """Number of chunks."""
        return len(self.chunk_edges) - 1

    @property
    def n_stamps(self) -> int:
        """Stamps of the store, if none turns out bad."""
        return int(self.shard_edges[-1])

    def chunk_rows(self, chunk: int) -> NDArray[np.int64]:
        """The raw rows of a chunk that are used, ascending."""
        start, stop = self.chunk_edges[chunk : chunk + 2]
        return start + np.flatnonzero(self.destination[start:stop] != UNUSED)


def plan_shuffle(index: StampIndex, *, seed: int, shard_stamps: int) -> ShufflePlan:
    """Draw the shuffle of a dataset.

    Args:
        index: The raw dataset; its fingerprint is part of the seed.
        seed: The other part.
        shard_stamps: Most stamps of a shard. A chunk has no more rows either, unless a single row group has.
    """
    destination = np.full(index.n_rows, UNUSED, np.int64)
    edges, names = [0], []
    for number, split in enumerate(SPLITS):
        rows = index.rows(split)
        rng = np.random.default_rng([seed, number, int(index.fingerprint[:16], 16)])
        destination[rng.permutation(rows)] = edges[-1] + np.arange(len(rows))
        n_shards = math.ceil(len(rows) / shard_stamps)
        start = edges[-1]
        edges += [start + len(rows) * (k + 1) // n_shards for k in range(n_shards)]
        names += [f"{split}-{k:05d}-of-{n_shards:05d}.parquet" for k in range(n_shards)]
    chunk_edges = _chunk_edges(index.group_starts, min(shard_stamps, _CHUNK_ROWS))
    return ShufflePlan(destination, np.array(edges), tuple(names), chunk_edges)


def _chunk_edges(group_starts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Cut the row groups into runs of at most ``size`` rows (a longer row group makes a chunk of its own)."""
    edges = [0]
    while edges[-1] < group_starts[-1]:
        following = int(np.searchsorted(group_starts, edges[-1] + size, "right")) - 1
        if group_starts[following] <= edges[-1]:
            following = int(np.searchsorted(group_starts, edges[-1], "right"))
        edges.append(int(group_starts[following]))
    return np.array(edges)
