"""The selection function for other programs: completeness in bins, as one parquet table.

Columns of ``selection_function.parquet``, one row a bin and threshold:

- ``threshold`` (name), ``threshold_logit``: a lens is found where its logit >= the latter;
- ``axis_1``, ``low_1``, ``high_1``, ``mean_1``: a column of the survey, the half-open bin [low, high) of it, and the
  mean of the lenses inside, which is where to put the bin when interpolating; ends are equal where a bin stands for
  one value of a grid, and infinite where the bin is open;
- ``axis_2``, ``low_2``, ``high_2``, ``mean_2``: a second property where the bin has two, else null;
- ``n``, ``found``, ``completeness``: lenses in the bin, those found, their ratio;
- ``interval_low``, ``interval_high``, ``interval_method``: interval at 95 %, by resampling whole regions of sky
  (``region bootstrap``) where at least ten regions have lenses in the bin, ten lenses were found and ten missed; else
  binomial (``Wilson``), which is too short where lenses of one region resemble each other.

The schema's metadata holds, as JSON under ``dark_halo_scope``, the units of the axes, the score file's sha256, the
split and the code that wrote it. To interpolate: take the rows of one threshold and one pair of axes, and hand
``mean_1`` (and ``mean_2``) with ``completeness`` to any interpolator; bins of few lenses carry wide intervals.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dark_halo_scope.evaluation.completeness import (
    PSF_FWHM,
    STRATA,
    THETA_E,
    Bins,
    Stratum,
    column_values,
    known_strata,
)
from dark_halo_scope.evaluation.intervals import LEVEL
from dark_halo_scope.evaluation.rates import BINOMIAL, RESAMPLED, RegionResamples, rate_intervals
from dark_halo_scope.files import write_atomically

FILE_NAME = "selection_function.parquet"
_BINS_IN_TWO = 6  # a side: finer than this and most bins of a test split hold too few lenses
_SCHEMA = pa.schema(
    [pa.field("threshold", pa.string()), pa.field("threshold_logit", pa.float32())]
    + [
        pa.field(f"{name}_{axis}", pa.string() if name == "axis" else pa.float64())
        for axis in (1, 2)
        for name in ("axis", "low", "high", "mean")
    ]
    + [pa.field("n", pa.int64()), pa.field("found", pa.int64())]
    + [pa.field(name, pa.float64()) for name in ("completeness", "interval_low", "interval_high")]
    + [pa.field("interval_method", pa.string())]
)


def selection_function(
    lenses: pa.Table, thresholds: Sequence[Mapping[str, Any]], resamples: RegionResamples | None = None
) -> pa.Table:
    """Completeness by every known property, and by Einstein radius and seeing together.

    Args:
        lenses: scores and metadata of the injected lenses only.
        thresholds: records of `operating_thresholds`; those without support are left out.
        resamples: of the lenses' regions, where they are known.
    """
    known = known_strata(lenses)
    axes: list[tuple[Stratum, ...]] = [(stratum,) for stratum in known]
    if {THETA_E, PSF_FWHM} <= set(known):
        axes.append((THETA_E, PSF_FWHM))
    logits = lenses["logit"].to_numpy()
    parts = [
        _rows(lenses, logits >= np.float32(record["logit"]), pair, record, resamples)
        for record in thresholds
        if record["supported"]
        for pair in axes
    ]
    return pa.concat_tables([_SCHEMA.empty_table(), *parts])


def write_selection_function(path: Path, table: pa.Table, provenance: Mapping[str, Any]) -> None:
    """Write the table with its units and where it comes from (JSON-able)."""
    facts = dict(provenance) | {
        "units": {stratum.column: stratum.unit for stratum in STRATA},
        "level": LEVEL,
    }
    buffer = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"dark_halo_scope": json.dumps(facts)}), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue().to_pybytes())


def _rows(
    lenses: pa.Table,
    found: NDArray[np.bool_],
    axes: tuple[Stratum, ...],
    threshold: Mapping[str, Any],
    resamples: RegionResamples | None,
) -> pa.Table:
    """Filled bins of one or two properties at one threshold."""
    values = [column_values(lenses, stratum.column) for stratum in axes]
    known = np.logical_and.reduce([np.isfinite(column) for column in values])
    values, found = [column[known] for column in values], found[known]
    bins = [_bins(stratum, column, len(axes)) for stratum, column in zip(axes, values, strict=True)]
    position = [np.searchsorted(b.edges, column, side="right") - 1 for b, column in zip(bins, values, strict=True)]
    shape = [len(b.ends) for b in bins]
    cell = np.ravel_multi_index(position, shape)
    n = np.bincount(cell, minlength=int(np.prod(shape)))
    filled = np.flatnonzero(n)
    n_found = np.bincount(cell, found, minlength=n.size)[filled]
    n = n[filled]
    ends, is_resampled = rate_intervals(cell, found, int(np.prod(shape)), resamples and resamples.of(known))
    columns: dict[str, Any] = {
        "threshold": [threshold["name"]] * n.size,
        "threshold_logit": np.full(n.size, threshold["logit"], np.float32),
        "n": n,
        "found": n_found.astype(np.int64),
        "completeness": n_found / n,
        "interval_low": ends[0, filled],
        "interval_high": ends[1, filled],
        "interval_method": np.where(is_resampled[filled], RESAMPLED, BINOMIAL),
    }
    for axis, stratum, column, b, index in zip(
        (1, 2), axes, values, bins, np.unravel_index(filled, shape), strict=False
    ):
        ends = np.array(b.ends)[index]
        mean = np.bincount(cell, column, minlength=int(np.prod(shape)))[filled] / n
        columns |= {f"axis_{axis}": [stratum.column] * n.size, f"mean_{axis}": mean}
        columns |= {f"low_{axis}": ends[:, 0], f"high_{axis}": ends[:, 1]}
    return pa.table([pa.array(columns.get(f.name, [None] * n.size), f.type) for f in _SCHEMA], schema=_SCHEMA)


def _bins(stratum: Stratum, values: NDArray[np.float64], n_axes: int) -> Bins:
    if stratum.edges:
        return Bins.between(stratum.edges)
    return Bins.for_values(values) if n_axes == 1 else Bins.for_values(values, _BINS_IN_TWO)
