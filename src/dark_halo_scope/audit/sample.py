"""The stamps whose pixels an audit measures: drawn at random by split and class, read once, block by block."""

import math
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.audit.fingerprints import N_WORDS, pixel_hash, signatures
from dark_halo_scope.audit.scalars import pixel_scalars
from dark_halo_scope.audit.settings import AuditSettings
from dark_halo_scope.jobs import on_all_cores, stamps_bar
from dark_halo_scope.stamps.contract import BANDS, SPLITS, STAMP_SHAPE
from dark_halo_scope.stamps.decoder import QUARANTINED, Fault
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.reader import StampReader, stamp_reader
from dark_halo_scope.stamps.store.statistics import stamp_statistics

SPLIT_SHARES = {"train": 0.5, "val": 0.25, "test": 0.25}
MAX_NONFINITE_FRACTION = 0.01  # as a run reads them: configs/data
_ROWS_OF_GROUP = 16  # of a split and class: enough to pay for reading a row group, few enough to see many regions
_BLOCK = 64

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """What was measured on n stamps.

    Attributes:
        rows: Rows that were read, ascending; (n,).
        good: Whether each could be used; (n,).
        faults: What was wrong with rows, repaired or not.
        hashes: 64-bit hashes of the pixels; (n,).
        signatures: See `fingerprints.signatures`; (n, words).
        measured: Positions in ``rows`` of the stamps drawn for measuring; (m,).
        scalars: Name to value for each of these; (m,) each.
    """

    rows: Rows
    good: NDArray[np.bool_]
    faults: list[Fault]
    hashes: NDArray[np.uint64]
    signatures: NDArray[np.uint32]
    measured: Rows
    scalars: dict[str, NDArray[np.float32]]


def draw_rows(index: StampIndex, n_stamps: int, seed: int) -> Rows:
    """Rows of a random sample, ascending: half of train, a quarter each of val and test, and half of each class.

    A split or class with fewer rows than its share is taken whole. Row groups are drawn first, and a handful of rows
    from each: a parquet file is read by whole row groups.
    """
    rng = np.random.default_rng([seed, 1])
    place = rng.permutation(len(index.group_starts) - 1)
    drawn = []
    for s, split in enumerate(SPLITS):
        for label in (0, 1):
            rows = np.flatnonzero((index.exclusion == 0) & (index.split == s) & (index.label == label))
            share = math.ceil(n_stamps * SPLIT_SHARES[split] / 2)
            drawn.append(_draw_by_groups(rows, index.group_of(rows), place, share, rng))
    return np.sort(np.concatenate(drawn))


def _draw_by_groups(rows: Rows, group: Rows, place: Rows, n: int, rng: np.random.Generator) -> Rows:
    """Draw ``n`` of the rows: up to so many of each row group, the groups in the order of ``place``."""
    if len(rows) <= n:
        return rows
    shuffled = rng.permutation(len(rows))
    shuffled = shuffled[np.argsort(place[group[shuffled]], kind="stable")]
    ordered = place[group[shuffled]]
    first = np.flatnonzero(np.append(True, np.diff(ordered) > 0))
    number_in_group = np.arange(len(rows)) - np.repeat(first, np.diff(np.append(first, len(rows))))
    limit = max(_ROWS_OF_GROUP, math.ceil(n / len(first)))
    # Whole handfuls first; where they do not suffice, because groups hold few, the rest follows in the same order.
    handful_first = np.argsort(number_in_group >= limit, kind="stable")
    return rows[shuffled[handful_first[:n]]]


def read_sample(index: StampIndex, settings: AuditSettings, *, progress: bool) -> Sample:
    """Read the sample, and every other row in use too if the settings ask for it."""
    drawn = draw_rows(index, settings.n_stamps, settings.seed)
    rows = np.flatnonzero(index.exclusion == 0) if settings.all_stamps else drawn
    measured = np.searchsorted(rows, drawn)
    threads = len(os.sched_getaffinity(0))
    reader = stamp_reader(index, open_row_groups=2 * threads, max_nonfinite_fraction=MAX_NONFINITE_FRACTION)
    work = _Measurement(reader, rows, measured)
    with stamps_bar("auditing stamps", len(rows), show=progress) as advance:
        for block in on_all_cores(work.run, range(math.ceil(len(rows) / _BLOCK))):
            advance(len(rows[block * _BLOCK : (block + 1) * _BLOCK]))
    faults = sorted(work.faults, key=lambda fault: fault.row)
    return Sample(rows, work.good, faults, work.hashes, work.signatures, measured, work.scalars)


class _Measurement:
    """Measures blocks of rows; blocks may run in any order on any thread."""

    def __init__(self, reader: StampReader, rows: Rows, measured: Rows) -> None:
        self._reader = reader
        self._rows = rows
        self._measured = measured
        blank = np.zeros((1, *STAMP_SHAPE), np.float32)
        self.good = np.ones(len(rows), np.bool_)
        self.hashes = np.zeros(len(rows), np.uint64)
        self.signatures = np.zeros((len(rows), N_WORDS), np.uint32)
        names = pixel_scalars(blank, stamp_statistics(blank))
        self.scalars = {name: np.zeros(len(measured), np.float32) for name in names}
        self.faults: list[Fault] = []

    def run(self, block: int) -> None:
        """Read and measure one block."""
        start = block * _BLOCK
        rows = self._rows[start : start + _BLOCK]
        images = np.zeros((len(rows), *STAMP_SHAPE), np.float32)
        faults = self._reader.decode(rows, images)
        self.faults.extend(faults)
        for fault in faults:
            if fault.action == QUARANTINED:
                i = int(np.searchsorted(rows, fault.row))
                self.good[start + i] = False
                images[i] = 0
        self.hashes[start : start + len(rows)] = [pixel_hash(image) for image in images]
        statistics = stamp_statistics(images)
        sky_scatter = np.stack([statistics[f"stamp_sky_sigma_{band}"] for band in BANDS], axis=1)
        self.signatures[start : start + len(rows)] = signatures(images, sky_scatter)
        first, last = np.searchsorted(self._measured, [start, start + len(rows)])
        chosen = self._measured[first:last] - start
        of_chosen = {name: values[chosen] for name, values in statistics.items()}
        for name, values in pixel_scalars(images[chosen], of_chosen).items():
            self.scalars[name][first:last] = values
