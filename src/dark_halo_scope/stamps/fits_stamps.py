"""FITS cutouts as a dataset: the files of a folder, or of a catalogue that names them."""

import hashlib
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import BANDS, ContractError
from dark_halo_scope.stamps.decoder import RowByRow
from dark_halo_scope.stamps.fits_cutout import read_cutout
from dark_halo_scope.stamps.known import Known

Rows = NDArray[np.int64]
Files = Mapping[str, Path]  # one file under "", or one under each band

FITS_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fits.fz")
_ID_COLUMN = "stamp_id"
_BAND_SUFFIX = re.compile(rf"(?P<stem>.+)[-_.](?P<band>[{''.join(BANDS)}])")


@dataclass(frozen=True)
class FitsStamps:
    """FITS cutouts by row number: a `source.StampSource`.

    Attributes:
        cutouts: The files of each.
        table: The columns of the catalogue, or the name of each.
        known: Labels and splits, where the catalogue has them.
        fingerprint: sha256 of the names, sizes and times of change of the files, and of the table. A copy of the
            files has another one: nothing less would show other pixels in files of one size.
    """

    cutouts: Sequence[Files]
    table: pa.Table
    known: Known
    fingerprint: str

    @property
    def n_rows(self) -> int:
        """Number of cutouts."""
        return len(self.cutouts)

    def reader(self, rows_ahead: int, max_nonfinite_fraction: float) -> "FitsReader":
        """What reads their pixels."""
        return FitsReader(self.cutouts, max_nonfinite_fraction)

    def metadata(self, rows: Rows) -> pa.Table:
        """The table of some rows."""
        return self.table.take(rows)

    def locate(self, row: int) -> dict[str, Any]:
        """Where a row comes from, for a message."""
        return {"file": ", ".join(str(path) for path in self.cutouts[row].values())}


class FitsReader(RowByRow):
    """Reads cutouts by row number, which astropy lets threads do by turns only."""

    def __init__(self, cutouts: Sequence[Files], max_nonfinite_fraction: float) -> None:
        super().__init__(max_nonfinite_fraction)
        self._cutouts = cutouts
        warnings.simplefilter("ignore", AstropyWarning)  # what matters of them becomes a fault

    def _decoder(self, rows: Rows) -> Callable[[int, NDArray[np.float32]], None]:
        return lambda k, image: read_cutout(self._cutouts[rows[k]], image)


def is_fits(path: Path) -> bool:
    """Whether a file's name is that of a FITS file."""
    return path.name.lower().endswith(FITS_SUFFIXES)


def fits_folder(folder: Path) -> FitsStamps:
    """All FITS cutouts below a folder, by name; files ``<name>-g``, ``-r``, ``-z`` are one cutout.

    Raises:
        ContractError: When there is none.
    """
    cutouts: dict[str, dict[str, Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if is_fits(path) and not path.name.startswith(".")):
        name = str(path.relative_to(folder))
        stem = name[: -len(next(suffix for suffix in FITS_SUFFIXES if name.lower().endswith(suffix)))]
        of_one_band = _BAND_SUFFIX.fullmatch(stem)
        stem, band = (of_one_band["stem"], of_one_band["band"]) if of_one_band else (stem, "")
        files = cutouts.setdefault(stem, {})
        if band in files:
            raise ContractError(f"{path} and {files[band]} are the same cutout twice; keep one of them")
        files[band] = path
    if not cutouts:
        raise ContractError(f"{folder} holds no FITS file ({', '.join(FITS_SUFFIXES)})")
    return _fits_stamps(list(cutouts.values()), pa.table({_ID_COLUMN: list(cutouts)}), str(folder))


def fits_catalogue(catalogue: Path, path_column: str) -> FitsStamps:
    """The cutouts that a catalogue (CSV, parquet or a FITS table) names, with its columns.

    Args:
        catalogue: The file; paths in it are relative to its folder.
        path_column: Column of the cutouts' paths; or ``<path_column>_g``, ``_r`` and ``_z`` for files of one band.

    Raises:
        ContractError: When it cannot be read, or lacks the column.
    """
    table = read_catalogue(catalogue)
    by_band = {band: f"{path_column}_{band}" for band in BANDS}
    columns = {"": path_column} if path_column in table.column_names else by_band
    if missing := [name for name in columns.values() if name not in table.column_names]:
        raise ContractError(
            f"{catalogue}: no column {path_column}, nor {', '.join(missing)}; name the column that holds the paths of "
            f"the cutouts (--path-column) out of: {', '.join(table.column_names)}"
        )
    paths = {band: table[name].cast(pa.string()).to_pylist() for band, name in columns.items()}
    if any(path is None for column in paths.values() for path in column):
        raise ContractError(f"{catalogue}: column {', '.join(columns.values())} has rows without a path")
    folder = catalogue.parent
    cutouts = [{band: folder / column[row] for band, column in paths.items()} for row in range(table.num_rows)]
    if not cutouts:
        raise ContractError(f"{catalogue} has no rows")
    return _fits_stamps(cutouts, table, str(catalogue))


def read_catalogue(path: Path) -> pa.Table:
    """A CSV, parquet or FITS table as Arrow columns.

    Raises:
        ContractError: When it is none.
    """
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        if path.suffix == ".csv":
            return pa.csv.read_csv(path)
        table = Table.read(path, format="fits")
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise ContractError(
            f"{path} cannot be read as a catalogue ({error}); give a CSV, parquet or FITS table"
        ) from error
    table.convert_bytestring_to_unicode()
    return pa.table({name: pa.array(table[name].tolist()) for name in table.colnames})


def _fits_stamps(cutouts: list[dict[str, Path]], table: pa.Table, name: str) -> FitsStamps:
    digest = hashlib.sha256()
    for files in cutouts:
        for band, path in files.items():
            found = path.stat() if path.exists() else None
            state = (found.st_size, found.st_mtime_ns) if found else None
            digest.update(repr((band, path.name, state)).encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    digest.update(sink.getvalue())
    return FitsStamps(cutouts, table, Known.of(table, name), digest.hexdigest())
