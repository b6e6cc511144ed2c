"""First half of making a store: chunks of raw rows, decoded, measured and set down in the order of the shuffle.

A chunk is two files: ``chunk-<k>.pixels``, the bytes of its stamps by destination, with the place of a bad one left
empty, and ``chunk-<k>.arrow``, the metadata of the good ones with place and destination of each and, beside it, the
faults met. The second is put in place last: with it, the chunk is done.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.files import write_at
from dark_halo_scope.stamps.contract import BANDS, STAMP_SHAPE
from dark_halo_scope.stamps.decoder import QUARANTINED, Fault, StampDecoder
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store import layout, precision
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.shuffle import ShufflePlan
from dark_halo_scope.stamps.store.statistics import stamp_statistics

_DESTINATION, _PLACE = "destination", "place"
_FAULTS = b"faults"
_BLOCK = 8  # stamps decoded and measured together: 0.4 MB, which a core's cache holds, as do their float16


class ChunkMetadata(NamedTuple):
    """What is known of the n good stamps of a chunk, by destination.

    Attributes:
        table: Metadata; n rows.
        destination: See `ShufflePlan`; (n,), ascending.
        place: Number of the stamp in the chunk's file of pixels; (n,), ascending.
    """

    table: pa.Table
    destination: NDArray[np.int64]
    place: NDArray[np.int64]

    def slice(self, start: int, stop: int) -> "ChunkMetadata":
        """The stamps ``start:stop``."""
        return ChunkMetadata(
            self.table.slice(start, stop - start), self.destination[start:stop], self.place[start:stop]
        )


@dataclass(frozen=True)
class Scatter:
    """Writes the chunks of ``plan`` into ``folder``; safe to call from threads."""

    index: StampIndex
    plan: ShufflePlan
    options: StoreOptions
    schema: pa.Schema
    folder: Path

    def is_done(self, chunk: int) -> bool:
        """Whether a chunk needs no more work."""
        return self._arrow(chunk).exists()

    def run(self, chunk: int) -> None:
        """Read, decode, measure and set down a chunk."""
        rows = self.plan.chunk_rows(chunk)
        place = np.argsort(np.argsort(self.plan.destination[rows]))
        with self.pixels(chunk).open("wb") as file:
            columns, faults = self._decode(rows, place, file.fileno())
            os.fsync(file.fileno())
        bad = {fault.row for fault in faults if fault.action == QUARANTINED}
        good = np.array([row not in bad for row in rows.tolist()], bool)
        order = np.flatnonzero(good)[np.argsort(place[good])]
        columns = {name: values[order] for name, values in columns.items()}
        self._write_metadata(chunk, rows[order], place[order], columns, faults)

    def pixels(self, chunk: int) -> Path:
        """File of a chunk's pixels."""
        return self.folder / f"chunk-{chunk:05d}.pixels"

    def metadata(self, chunk: int) -> "ChunkMetadata":
        """Of a chunk's good stamps, mapped into memory."""
        table = _read(self._arrow(chunk))
        where = (table[name].to_numpy() for name in (_DESTINATION, _PLACE))
        return ChunkMetadata(table.drop_columns([_DESTINATION, _PLACE]), *where)

    def faults(self, chunk: int) -> list[Fault]:
        """What was wrong in a chunk."""
        return [Fault(**fault) for fault in json.loads(_read(self._arrow(chunk)).schema.metadata[_FAULTS])]

    def _decode(
        self, rows: NDArray[np.int64], place: NDArray[np.int64], pixels: int
    ) -> tuple[dict[str, NDArray[Any]], list[Fault]]:
        """Write each stamp to its place in the open file ``pixels`` and measure it; a bad one has no valid values."""
        decoder = StampDecoder(
            self.index, open_row_groups=1, max_nonfinite_fraction=self.options.max_nonfinite_fraction
        )
        faults, measured = [], []
        images = np.zeros((_BLOCK, *STAMP_SHAPE), np.float32)
        for start in range(0, max(1, len(rows)), _BLOCK):  # once even for no rows, to name the columns
            block = rows[start : start + _BLOCK]
            image = images[: len(block)]
            found = decoder.decode(block, image)
            for fault in found:
                if fault.action == QUARANTINED:
                    image[np.searchsorted(block, fault.row)] = 0
            columns, stored = self._measure(image)
            for k, stamp in zip(place[start:].tolist(), stored, strict=False):
                write_at(pixels, stamp.data, k * stored.shape[1])
            faults += found + self._too_coarse(block, columns)
            measured.append(columns)
        names = [field.name for field in layout.added_columns(self.options.precision) if field.name in measured[0]]
        return {name: np.concatenate([columns[name] for columns in measured]) for name in names}, faults

    def _measure(self, image: NDArray[np.float32]) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
        columns: dict[str, NDArray[Any]] = {**stamp_statistics(image)}
        if self.options.precision == "float32":
            return columns, image.reshape(len(image), -1).view(np.uint8)
        sky_sigma = np.stack([columns[f"stamp_sky_sigma_{band}"] for band in BANDS], axis=1)
        half = precision.to_float16(image, sky_sigma)
        columns |= {"stamp_exponent": half.exponent, "stamp_float16_error": half.error}
        return columns, half.pixels.reshape(len(image), -1).view(np.uint8)

    def _too_coarse(self, block: NDArray[np.int64], columns: dict[str, NDArray[Any]]) -> list[Fault]:
        if self.options.precision == "float32":
            return []
        error = columns["stamp_float16_error"]
        return [
            Fault(
                int(block[i]),
                QUARANTINED,
                "float16_error",
                f"float16 would change a band by {error[i]:.2g} of its sky noise (rms), more than "
                f"max_float16_error={self.options.max_float16_error:g}; precision=float32 keeps such stamps",
            )
            for i in np.flatnonzero(~(error <= self.options.max_float16_error))
        ]

    def _write_metadata(
        self,
        chunk: int,
        rows: NDArray[np.int64],
        place: NDArray[np.int64],
        columns: dict[str, NDArray[Any]],
        faults: list[Fault],
    ) -> None:
        located = [self.index.locate(row) for row in rows.tolist()]
        table = self.index.metadata(rows)
        columns_of_row = {
            "stamp_label": pa.array(self.index.label[rows]),
            "stamp_source_file": pa.array([file for file, _ in located], pa.string()),
            "stamp_source_row": pa.array([row for _, row in located], pa.int64()),
            **{name: pa.array(values) for name, values in columns.items()},
        }
        for name, values in columns_of_row.items():
            table = table.append_column(name, values)
        table = layout.fit_to(table, self.schema)
        table = table.append_column(_DESTINATION, pa.array(self.plan.destination[rows]))
        table = table.append_column(_PLACE, pa.array(place))
        table = table.replace_schema_metadata({_FAULTS: json.dumps([vars(fault) for fault in faults])})
        unfinished = self._arrow(chunk).with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._arrow(chunk))

    def _arrow(self, chunk: int) -> Path:
        return self.folder / f"chunk-{chunk:05d}.arrow"


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()
