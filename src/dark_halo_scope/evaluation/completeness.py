"""Completeness: the fraction of injected lenses found at a fixed threshold, by what makes one visible."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dark_halo_scope.evaluation.rates import RegionResamples, rate_records

Floats = NDArray[np.float64]
_MAX_BINS = 8
_NICE_STEPS = (1.0, 2.0, 2.5, 5.0)


@dataclass(frozen=True)
class Stratum:
    """A property by which completeness is shown; `edges` fixes the bins, else they follow the values."""

    column: str
    title: str
    unit: str = ""
    edges: tuple[float, ...] | None = None


THETA_E = Stratum("theta_e_arcsec", "Einstein radius", "arcsec")
PSF_FWHM = Stratum("psf_fwhm_used_r", "Seeing (r-band PSF FWHM)", "arcsec")
# An arc whose peak is below about 2 sigma cannot be seen by anybody: its own bin keeps it apart.
ARC_SNR = Stratum("arc_snr", "Peak signal-to-noise of the arc", "", (-np.inf, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, np.inf))
HOST_MAG = Stratum("host_mag_r", "Host magnitude in r", "mag")
SOURCE_CONTRAST = Stratum("src_dmag", "Source magnitude minus host magnitude in r", "mag")
SOURCE_MAG = Stratum("src_mag_r", "Source magnitude in r, before lensing", "mag")
STRATA = (THETA_E, ARC_SNR, PSF_FWHM, HOST_MAG, SOURCE_CONTRAST, SOURCE_MAG)


@dataclass(frozen=True)
class Bins:
    """Half-open bins and what to call them: `ends` are equal where a bin stands for one value of a grid."""

    edges: Floats  # (K + 1,)
    ends: tuple[tuple[float, float], ...]  # K pairs

    @classmethod
    def between(cls, edges: ArrayLike) -> Self:
        """Bins with the given edges."""
        bounds = np.asarray(edges, dtype=np.float64)
        return cls(bounds, tuple(pairwise(bounds.tolist())))

    @classmethod
    def for_values(cls, values: Floats, max_bins: int = _MAX_BINS) -> Self:
        """Bins that a reader likes: at most `max_bins` steps of 1, 2, 2.5 or 5 times a power of ten.

        A grid of up to `max_bins` distinct values gets one bin a value.
        """
        distinct = np.unique(values)
        if distinct.size <= max_bins:
            half_way = (distinct[1:] + distinct[:-1]) / 2
            return cls(np.concatenate([[-np.inf], half_way, [np.inf]]), tuple((v, v) for v in distinct.tolist()))
        low, high = float(distinct[0]), float(distinct[-1])
        decade = 10.0 ** np.floor(np.log10((high - low) / max_bins))
        for step in (nice * scale for scale in (decade, 10 * decade) for nice in _NICE_STEPS):
            first, last = np.floor(low / step), np.floor(high / step) + 1
            if last - first <= max_bins:
                break
        return cls.between(np.arange(first, last + 1) * step)


def rate_by_bin(
    values: Floats, passed: NDArray[np.bool_], bins: Bins, resamples: RegionResamples | None = None
) -> list[dict[str, Any]]:
    """`rate_records` of every bin, with its ends; an open end is None. No value lies outside the bins."""
    bin_of = np.searchsorted(bins.edges, values, side="right") - 1
    return [
        {name: end if np.isfinite(end) else None for name, end in zip(("low", "high"), ends, strict=True)} | record
        for ends, record in zip(bins.ends, rate_records(bin_of, passed, len(bins.ends), resamples), strict=True)
    ]


def rate_by_category(
    values: Sequence[str | None], passed: NDArray[np.bool_], resamples: RegionResamples | None = None
) -> list[dict[str, Any]]:
    """`rate_records` by name, most frequent first; null is ``unnamed``."""
    names, index = np.unique([value or "unnamed" for value in values], return_inverse=True)
    named = zip(names, rate_records(index, passed, len(names), resamples), strict=True)
    return sorted(({"name": str(name)} | record for name, record in named), key=lambda record: -record["n"])


def column_values(table: pa.Table, column: str) -> Floats:
    """A numeric column as float64, null as NaN."""
    return table[column].cast(pa.float64()).fill_null(np.nan).to_numpy()


def completeness_by(
    lenses: pa.Table, found: NDArray[np.bool_], stratum: Stratum, resamples: RegionResamples | None = None
) -> dict[str, Any]:
    """Completeness in bins of one property.

    Args:
        lenses: metadata of the injected lenses only.
        found: (N,) whether each passes the threshold.
        stratum: the property; its column must exist and hold at least one value.
        resamples: of the lenses' regions, where they are known.
    """
    values = column_values(lenses, stratum.column)
    known = np.isfinite(values)
    bins = Bins.between(stratum.edges) if stratum.edges else Bins.for_values(values[known])
    records = rate_by_bin(values[known], found[known], bins, resamples and resamples.of(known))
    return {
        "column": stratum.column,
        "title": stratum.title,
        "unit": stratum.unit,
        "n_unknown": int((~known).sum()),
        "bins": [record for record in records if record["n"]],
    }


def completeness_grid(
    lenses: pa.Table,
    found: NDArray[np.bool_],
    across: Stratum,
    down: Stratum,
    resamples: RegionResamples | None = None,
) -> dict[str, Any]:
    """Completeness by two properties: bins of `across` inside thirds of `down` that hold equally many lenses."""
    x, y = column_values(lenses, across.column), column_values(lenses, down.column)
    known = np.isfinite(x) & np.isfinite(y)
    x, y, found, resamples = x[known], y[known], found[known], resamples and resamples.of(known)
    thirds = np.unique(np.quantile(y, [0, 1 / 3, 2 / 3, 1]))
    thirds[-1] = np.nextafter(thirds[-1], np.inf)
    across_bins = Bins.for_values(x)
    columns = rate_by_bin(x, found, across_bins)
    filled = [index for index, column in enumerate(columns) if column["n"]]
    rows = []
    for low, high in pairwise(thirds):
        inside = (y >= low) & (y < high)
        bins = rate_by_bin(x[inside], found[inside], across_bins, resamples and resamples.of(inside))
        rows.append({"low": float(low), "high": float(high), "bins": [bins[index] for index in filled]})
    return {
        "across": across.column,
        "down": down.column,
        "columns": [{"low": columns[index]["low"], "high": columns[index]["high"]} for index in filled],
        "rows": rows,
    }


def completeness_report(
    lenses: pa.Table, found: NDArray[np.bool_], resamples: RegionResamples | None = None
) -> dict[str, Any]:
    """Completeness by every known property; what the file does not hold is named under ``missing``."""
    known = {stratum.column: stratum for stratum in known_strata(lenses)}
    report: dict[str, Any] = {
        "strata": [completeness_by(lenses, found, stratum, resamples) for stratum in known.values()],
        "missing": [stratum.column for stratum in STRATA if stratum.column not in known],
        "grid": None,
    }
    if THETA_E.column in known and PSF_FWHM.column in known:
        report["grid"] = completeness_grid(lenses, found, THETA_E, PSF_FWHM, resamples)
    return report


def known_strata(lenses: pa.Table) -> list[Stratum]:
    """The properties that the table holds at least one value of."""
    named = [stratum for stratum in STRATA if stratum.column in lenses.column_names]
    return [stratum for stratum in named if np.isfinite(column_values(lenses, stratum.column)).any()]
