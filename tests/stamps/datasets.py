"""Small real parquet datasets in the stamp contract, with one fault put in where a test asks for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dark_halo_scope.stamps.codec import encode_stamp
from dark_halo_scope.stamps.contract import SPLITS, STAMP_SIZE

SCHEMA = pa.schema(
    [
        ("stamp_id", pa.string()),
        ("stamp_npz", pa.binary()),
        ("lens_model", pa.string()),
        ("region_split", pa.string()),
        ("region_id", pa.int32()),
        ("host_id", pa.int64()),
        ("cutout_ok", pa.int8()),
        ("theta_e_arcsec", pa.float32()),
        ("src_dmag", pa.float32()),
        ("arc_snr", pa.float32()),
        ("control_kind", pa.string()),
        ("psf_fwhm_used_r", pa.float32()),
        ("bad_pixel_frac", pa.float32()),
        ("wise_brightmask_frac", pa.float32()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
    ]
)

Row = dict[str, Any]


def stamp_image(number: int, is_lens: bool) -> np.ndarray:
    """A host galaxy in sky noise (3, 64, 64) float32; a lens has a blue ring around it. ``number`` seeds it."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:STAMP_SIZE, :STAMP_SIZE] - (STAMP_SIZE - 1) / 2
    radius = np.hypot(x, y)
    host = np.exp(-radius / 4.0)
    ring = np.exp(-0.5 * ((radius - 7.0) / 1.5) ** 2) if is_lens else 0.0
    light = np.stack([0.3 * host + 0.25 * ring, 0.8 * host + 0.15 * ring, 1.2 * host + 0.1 * ring])
    return (light + rng.normal(0.0, 0.03, light.shape)).astype(np.float32)


def make_row(number: int, split: str, is_lens: bool, region: int) -> Row:
    """One row of the contract; ``number`` names the stamp, its host and its pixels."""
    rng = np.random.default_rng([number, 1])
    return {
        "stamp_id": f"s{number:06d}",
        "stamp_npz": encode_stamp(stamp_image(number, is_lens)),
        "lens_model": ("SIE", "SIS")[number // 2 % 2] if is_lens else "CONTROL",
        "region_split": split,
        "region_id": region,
        "host_id": 1000 + number,
        "cutout_ok": 1,
        "theta_e_arcsec": float(rng.uniform(0.5, 2.5)) if is_lens else 0.0,
        "src_dmag": float(rng.uniform(3, 6)) if is_lens else None,
        "arc_snr": float(rng.uniform(1, 30)) if is_lens else None,
        "control_kind": None if is_lens else ("plain", "spiral", "ring")[number % 3],
        "psf_fwhm_used_r": float(rng.uniform(0.9, 1.7)),
        "bad_pixel_frac": 0.0,
        "wise_brightmask_frac": 0.0,
        "ra": float(rng.uniform(0, 360)),
        "dec": float(rng.uniform(-30, 30)),
    }


def write_dataset(
    folder: Path,
    *,
    n_train: int = 48,
    n_val: int = 24,
    n_test: int = 24,
    n_files: int = 2,
    row_group_size: int = 8,
    rows_per_region: int = 6,
    change: Callable[[int, Row], None] | None = None,
    schema: pa.Schema = SCHEMA,
    compression: str = "snappy",
) -> Path:
    """Write a small dataset as ``folder/part-<k>.parquet`` and return the folder.

    Rows come in sky order, whole regions to one split (train, then val, then test), controls and lenses by turns.

    Args:
        folder: Made if it does not exist.
        n_train: Rows of split train; ``n_val`` and ``n_test`` likewise.
        n_val: See ``n_train``.
        n_test: See ``n_train``.
        n_files: Files of nearly equal length that the rows are cut into.
        row_group_size: Rows of a parquet row group.
        rows_per_region: Rows of a sky region.
        change: Called with each row's number (from 0, in file order) and the row, which it may spoil in place.
        schema: Columns and types to write.
        compression: Codec of the parquet pages; the default is pyarrow's.
    """
    rows = []
    region = 0
    for split, count in zip(SPLITS, (n_train, n_val, n_test), strict=True):
        for i in range(count):
            region += i % rows_per_region == 0
            rows.append(make_row(len(rows), split, is_lens=len(rows) % 2 == 1, region=region))
    if change is not None:
        for number, row in enumerate(rows):
            change(number, row)
    folder.mkdir(parents=True, exist_ok=True)
    edges = np.linspace(0, len(rows), n_files + 1).astype(int)
    for k in range(n_files):
        table = pa.Table.from_pylist(rows[edges[k] : edges[k + 1]], schema=schema)
        file = folder / f"part-{k:03d}.parquet"
        pq.write_table(table, file, row_group_size=row_group_size, compression=compression)
    return folder


def spoil(*numbers: int, **values: Any) -> Callable[[int, Row], None]:
    """A ``change`` for `write_dataset` that sets columns of some rows: ``spoil(3, 5, lens_model="SIX")``."""

    def change(number: int, row: Row) -> None:
        if number in numbers:
            row.update(values)

    return change
