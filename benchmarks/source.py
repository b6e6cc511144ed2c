"""The stamps that every contender serves: synthetic galaxies in realistic noise, in the raw format.

Pixels are float32 noise, which deflate shortens by a few per cent only: about 46 kB a stamp, as survey stamps are.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dark_halo_scope.stamps.codec import decode_stamp, encode_stamp
from dark_halo_scope.stamps.contract import BANDS, STAMP_SHAPE, STAMP_SIZE

_ROWS_PER_FILE = 2048
_ROW_GROUP = 128
_SKY_SIGMA = np.array([0.004, 0.006, 0.013], np.float32)  # nanomaggies a pixel: DR10 depth in g, r, z
_EVAL_ROWS = 4  # a dataset has all three splits


def make_source(folder: Path, n_stamps: int) -> Path:
    """Write ``n_stamps`` training stamps below ``folder`` unless they are there; returns their folder."""
    out = folder / f"raw-{n_stamps}"
    if not out.exists():
        partial = folder / f"raw-{n_stamps}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for k, start in enumerate(range(0, n_stamps, _ROWS_PER_FILE)):
            numbers = np.arange(start, min(start + _ROWS_PER_FILE, n_stamps))
            _write(partial / f"train-{k:03d}.parquet", numbers, "train")
        for k, split in enumerate(("val", "test")):
            _write(partial / f"{split}.parquet", n_stamps + _EVAL_ROWS * k + np.arange(_EVAL_ROWS), split)
        partial.rename(out)
    return out


def training_files(source: Path) -> list[Path]:
    """The parquet files that hold the training stamps."""
    return sorted(source.glob("train-*.parquet"))


def stamps(source: Path, files: list[Path] | None = None) -> Iterator[NDArray[np.float32]]:
    """The training stamps (3, 64, 64) of ``files`` (default: all) in file order, one at a time."""
    for file in training_files(source) if files is None else files:
        for batch in pq.ParquetFile(file).iter_batches(32, columns=["stamp_npz"]):
            for value in batch.column(0):
                image = np.empty(STAMP_SHAPE, np.float32)
                decode_stamp(value.as_buffer(), image)
                yield image


def _image(number: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([2026, number])
    y, x = np.mgrid[:STAMP_SIZE, :STAMP_SIZE] - (STAMP_SIZE - 1) / 2
    profile = np.exp(-np.hypot(x, y) / rng.uniform(2, 6))
    noise = rng.standard_normal(STAMP_SHAPE, np.float32) * _SKY_SIGMA[:, None, None]
    return (profile * rng.uniform(0.05, 0.5, (len(BANDS), 1, 1)) + noise).astype(np.float32)


def _write(path: Path, numbers: NDArray[np.int64], split: str) -> None:
    is_lens = numbers % 2 == 1
    table = pa.table(
        {
            "stamp_npz": pa.array([encode_stamp(_image(number)) for number in numbers.tolist()], pa.binary()),
            "lens_model": np.where(is_lens, "SIE", "CONTROL"),
            "region_split": [split] * len(numbers),
            "region_id": pa.array(numbers // 200 * 3 + ("train", "val", "test").index(split), pa.int32()),
            "host_id": numbers,
            "cutout_ok": pa.array(np.ones(len(numbers)), pa.int8()),
            "theta_e_arcsec": pa.array(np.where(is_lens, 1.2, 0.0), pa.float32()),
            "psf_fwhm_used_r": pa.array(np.full(len(numbers), 1.3), pa.float32()),
            "arc_snr": pa.array(np.full(len(numbers), 8.0), pa.float32(), mask=~is_lens),
            "bad_pixel_frac": pa.array(np.zeros(len(numbers)), pa.float32()),
            "wise_brightmask_frac": pa.array(np.zeros(len(numbers)), pa.float32()),
        }
    )
    pq.write_table(table, path, row_group_size=_ROW_GROUP)
