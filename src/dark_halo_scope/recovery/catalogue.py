"""A user's catalogue of known lenses, in whatever columns it comes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.stamps.fits_stamps import read_catalogue

ID_COLUMN = "stamp_id"
UNSTATED = "not stated"
_RA = ("ra", "ra_deg", "raj2000", "ra_j2000")
_DEC = ("dec", "dec_deg", "dej2000", "decj2000", "dec_j2000")
_NAME = ("name", "system", "system_name", "lens_name")


class KnownLensesError(ValueError):
    """A catalogue that cannot be used."""


@dataclass(frozen=True)
class KnownLenses:
    """Known lenses, n of them.

    Attributes:
        name: What a reader calls each.
        id: The stamp of each; None where the catalogue does not say.
        ra: Degrees, J2000 (n,); NaN where the catalogue does not say.
        dec: The same.
        grade: How sure its discoverers were; `UNSTATED` where the catalogue does not say.
        tier: ``primary`` for lenses discovered from the ground, ``stress`` for those of small separation discovered
            from space, or what the catalogue says; `UNSTATED` where it says nothing.
    """

    name: Sequence[str]
    id: Sequence[str] | None
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    grade: Sequence[str]
    tier: Sequence[str]

    @classmethod
    def read(cls, path: Path, id_column: str | None) -> "KnownLenses":
        """Read a CSV, parquet or FITS table; columns are found by their names, in whatever case.

        Args:
            path: The file.
            id_column: Column with the ids of the stamps; else ``stamp_id``, if there is one.

        Raises:
            KnownLensesError: When it has no rows, or neither ids nor positions.
            ContractError: When it cannot be read.
        """
        table = read_catalogue(path)
        if table.num_rows == 0:
            raise KnownLensesError(f"{path} holds no lens")
        if id_column is not None and id_column not in table.column_names:
            raise KnownLensesError(f"{path}: no column {id_column}, but {', '.join(table.column_names)}")
        ids = _text(table, (id_column or ID_COLUMN,))
        ra, dec = _degrees(table, _RA, path), _degrees(table, _DEC, path)
        if ids is None and not (np.isfinite(ra) & np.isfinite(dec)).any():
            raise KnownLensesError(
                f"{path} says of no lens where it is: it needs ra and dec in degrees, or {ID_COLUMN} (--id-column); "
                f"it has {', '.join(table.column_names)}"
            )
        names = _text(table, _NAME) or ids
        unstated = [UNSTATED] * table.num_rows
        return cls(
            name=[name or f"row {row}" for row, name in enumerate(names or [""] * table.num_rows)],
            id=ids,
            ra=ra,
            dec=dec,
            grade=[grade or UNSTATED for grade in _text(table, ("grade",)) or unstated],
            tier=[tier or UNSTATED for tier in _text(table, ("tier",)) or unstated],
        )


def _column(table: pa.Table, names: Sequence[str]) -> pa.ChunkedArray | None:
    """The first column of one of these names, in whatever case."""
    by_name = {column.lower(): column for column in reversed(table.column_names)}
    return next((table[by_name[name.lower()]] for name in names if name.lower() in by_name), None)


def _text(table: pa.Table, names: Sequence[str]) -> list[str] | None:
    column = _column(table, names)
    if column is None:
        return None
    return [(value or "").strip() for value in column.cast(pa.string()).to_pylist()]


def _degrees(table: pa.Table, names: Sequence[str], path: Path) -> NDArray[np.float64]:
    column = _column(table, names)
    if column is None:
        return np.full(table.num_rows, np.nan)
    try:
        return column.cast(pa.float64()).fill_null(np.nan).to_numpy()
    except pa.ArrowInvalid as error:
        raise KnownLensesError(f"{path}: {names[0]} must be a number, in degrees ({error})") from error
