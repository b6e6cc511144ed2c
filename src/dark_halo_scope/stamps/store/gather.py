"""Second half of making a store: each shard put together from its run in every chunk, and written."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dark_halo_scope.files import sha256, write_json
from dark_halo_scope.stamps.store import layout, precision
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.scatter import Scatter
from dark_halo_scope.stamps.store.shuffle import ShufflePlan


@dataclass(frozen=True)
class Gather:
    """Writes the shards of ``plan`` into ``folder`` out of the chunks of ``scatter``; safe to call from threads.

    Attributes:
        scatter: Its chunks are all done.
        plan: The shuffle.
        options: Settings of the store.
        folder: Where the shards are written.
        runs: First good stamp in chunk c of shard s and, last, the number of good stamps of the chunk; (C, S + 1).
        places: The places of these stamps in the chunk's file; (C, S + 1).
    """

    scatter: Scatter
    plan: ShufflePlan
    options: StoreOptions
    folder: Path
    runs: NDArray[np.int64]
    places: NDArray[np.int64]
    _buffer: threading.local = field(default_factory=threading.local)

    @classmethod
    def over(cls, scatter: Scatter, folder: Path) -> "Gather":
        """Look up the runs of all shards."""
        plan = scatter.plan
        runs, places = [], []
        for chunk in range(plan.n_chunks):
            metadata = scatter.metadata(chunk)
            runs.append(np.searchsorted(metadata.destination, plan.shard_edges))
            places.append(np.append(metadata.place, len(plan.chunk_rows(chunk)))[runs[-1]])
        return cls(scatter, plan, scatter.options, folder, np.stack(runs), np.stack(places))

    def is_done(self, shard: int) -> bool:
        """Whether a shard needs no more work."""
        return self._note(shard).exists()

    def n_stamps(self, shard: int) -> int:
        """Good stamps of a shard."""
        return int((self.runs[:, shard + 1] - self.runs[:, shard]).sum())

    def run(self, shard: int) -> None:
        """Put a shard together and write it; its note is written last."""
        parts = [
            (chunk, self.scatter.metadata(chunk).slice(start, stop)) for chunk, start, stop in self._runs_of(shard)
        ]
        order = np.argsort(np.concatenate([part.destination for _, part in parts]))
        table = pa.concat_tables([part.table for _, part in parts]).take(order)
        pixels = self._pixels([(chunk, part.place) for chunk, part in parts], order)
        path = self.folder / self.plan.shard_names[shard]
        unfinished = path.with_suffix(".unfinished")
        layout.write_shard(unfinished, table, pixels, self.options.row_group_stamps, self.options.precision)
        note = {"rows": len(table), "bytes": unfinished.stat().st_size, "sha256": sha256(unfinished)}
        unfinished.replace(path)
        write_json(self._note(shard), {"file": note, **_float16_error(table)})

    def note(self, shard: int) -> dict[str, Any]:
        """``file`` (rows, bytes, sha256) and, for float16, ``max`` and ``sum`` of the stamps' error."""
        return json.loads(self._note(shard).read_text())

    def free_from(self, shard: int) -> None:
        """Give back the room that the chunks take for this shard and all after it."""
        width = precision.stored_bytes(self.options.precision)
        for chunk, place in enumerate(self.places[:, shard].tolist()):
            path = self.scatter.pixels(chunk)
            if path.stat().st_size > place * width:
                os.truncate(path, place * width)

    def _runs_of(self, shard: int) -> Iterator[tuple[int, int, int]]:
        for chunk in range(self.plan.n_chunks):
            yield chunk, int(self.runs[chunk, shard]), int(self.runs[chunk, shard + 1])

    def _pixels(self, places: list[tuple[int, NDArray[np.int64]]], order: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pixels (n, bytes of a stamp) of a shard: those at the places of each chunk, number ``order[k]`` at k.

        They are valid until this thread asks for those of its next shard: fresh memory would cost as much as reading.
        """
        width = precision.stored_bytes(self.options.precision)
        if not hasattr(self._buffer, "pixels"):
            self._buffer.pixels = np.empty((self.options.shard_stamps, width), np.uint8)
        pixels = self._buffer.pixels[: len(order)]
        target = iter(np.argsort(order).tolist())
        for chunk, run in places:
            with self.scatter.pixels(chunk).open("rb", buffering=0) as file:
                for place in run.tolist():
                    os.preadv(file.fileno(), [pixels[next(target)]], place * width)
        return pixels

    def _note(self, shard: int) -> Path:
        return self.scatter.folder / f"{self.plan.shard_names[shard]}.json"


def _float16_error(table: pa.Table) -> dict[str, float]:
    if "stamp_float16_error" not in table.column_names or not len(table):
        return {}
    error = table["stamp_float16_error"].cast(pa.float64())
    return {"max": pc.max(error).as_py(), "sum": pc.sum(error).as_py()}
