"""Stamps to be scored, wherever they come from: parquet with or without labels, a training store, FITS cutouts."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import PIXEL_COLUMNS, ContractError
from dark_halo_scope.stamps.fits_stamps import fits_catalogue, fits_folder, is_fits
from dark_halo_scope.stamps.known import Known
from dark_halo_scope.stamps.reader import StampReader
from dark_halo_scope.stamps.unlabelled import ParquetStamps

DEFAULT_PATH_COLUMN = "path"


class StampSource(Protocol):
    """Stamps by row number, 0 ... n_rows - 1, in an order that stays."""

    @property
    def n_rows(self) -> int:
        """Number of rows, usable or not."""

    @property
    def known(self) -> Known:
        """Labels, splits and usability, as far as they are known."""

    @property
    def fingerprint(self) -> str:
        """Changes when the stamps do."""

    def reader(self, rows_ahead: int, max_nonfinite_fraction: float) -> StampReader:
        """What reads pixels in the order of the rows, while ``rows_ahead`` rows are being decoded."""

    def metadata(self, rows: NDArray[np.int64]) -> pa.Table:
        """Everything but the pixels of some rows, in their order."""

    def locate(self, row: int) -> dict[str, Any]:
        """Where a row lies, for a message."""


def open_source(root: str, path_column: str = DEFAULT_PATH_COLUMN) -> StampSource:
    """Find out what ``root`` is and list its stamps; no pixel is read.

    Args:
        root: Folder, file or URI of parquet files with stamps; folder of FITS cutouts; or a catalogue (CSV, parquet or
            FITS table) with a column of their paths.
        path_column: That column: see `fits_catalogue`.

    Raises:
        ContractError: When it is none of these.
    """
    if "://" in root:
        return ParquetStamps.find(root)
    path = Path(root).expanduser()
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise ContractError(f"{root} does not exist; give a folder, a file or an s3:// URI")
    if is_fits(path) or path.suffix == ".csv" or (path.suffix == ".parquet" and not _has_stamps(path)):
        return fits_catalogue(path, path_column)
    return ParquetStamps.find(str(path))


def _open_folder(folder: Path) -> StampSource:
    has_parquet = any(folder.rglob("*.parquet"))
    has_fits = any(is_fits(path) for path in folder.rglob("*"))
    if has_parquet and has_fits:
        raise ContractError(f"{folder} holds parquet and FITS files; name the files or the folder of one kind")
    return fits_folder(folder) if has_fits else ParquetStamps.find(str(folder))


def _has_stamps(file: Path) -> bool:
    try:
        return bool(set(PIXEL_COLUMNS) & set(pq.read_schema(file).names))
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(f"{file} is no readable parquet file ({error})") from error
