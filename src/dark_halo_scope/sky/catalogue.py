"""The columns of a synthetic survey: those of the stamp contract, and what the simulator knows beyond it."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.stamps.codec import encode_stamp
from dark_halo_scope.stamps.contract import BANDS, STAMP_COLUMN

_TEXT, _F32, _F64 = pa.string(), pa.float32(), pa.float64()
_COLUMNS: list[tuple[str, pa.DataType, str]] = [
    ("stamp_id", _TEXT, "brick, region and number in the region"),
    (STAMP_COLUMN, pa.binary(), "npz of image_g, image_r, image_z: 64x64 float32, nanomaggy per pixel"),
    ("lens_model", _TEXT, "CONTROL, SIE or SIS"),
    ("region_split", _TEXT, "train, val or test"),
    ("cutout_ok", pa.int8(), "1 where the stamp is usable"),
    ("theta_e_arcsec", _F32, "Einstein radius, arcsec; 0 for controls"),
    ("psf_fwhm_used_r", _F32, "FWHM of the stamp's PSF in r, arcsec"),
    ("arc_snr", _F32, "brightest pixel of the arc in r over the sky noise of a pixel; null for controls"),
    ("bad_pixel_frac", _F32, "fraction of pixels without data"),
    ("wise_brightmask_frac", _F32, "fraction of pixels in a bright-star mask"),
    ("region_id", pa.int32(), "sky region, one brick"),
    ("brickname", _TEXT, "Legacy Survey style name of the region"),
    ("ra", _F64, "J2000, deg"),
    ("dec", _F64, "J2000, deg"),
    ("host_id", pa.int64(), "galaxy or star at the centre; each is in one stamp only"),
    ("host_kind", _TEXT, "early_type or star"),
    *((f"host_mag_{band}", _F32, "AB mag without the arc") for band in BANDS),
    ("host_reff_arcsec", _F32, "half-light radius, circularised, arcsec; 0 for stars"),
    ("control_kind", _TEXT, "what else is in a control; null for injections"),
    ("src_dmag", _F32, "r magnitude of the unlensed source minus that of the host"),
    ("src_mag_r", _F32, "AB mag of the unlensed source"),
    ("src_g_r", _F32, "g - r of the source, mag"),
    ("src_reff_arcsec", _F32, "half-light radius of the unlensed source, circularised, arcsec"),
    ("magnification", _F32, "flux of the arc inside the stamp over that of the source"),
    ("axis_ratio", _F32, "of the lens mass; 1 for SIS"),
    *((f"psfsize_{band}", _F32, "FWHM of the region's PSF, arcsec") for band in BANDS),
    *((f"psfdepth_{band}", _F32, "inverse variance of a point-source flux, 1/nanomaggy^2") for band in BANDS),
]
SCHEMA = pa.schema([pa.field(name, kind, metadata={"description": text}) for name, kind, text in _COLUMNS])


def to_table(images: NDArray[np.float32], catalogue: dict[str, Any]) -> pa.Table:
    """Rows of a parquet file from stamps (B, 3, 64, 64) and their catalogue; NaN becomes null."""
    values = catalogue | {STAMP_COLUMN: [encode_stamp(image) for image in images]}
    return pa.table(
        [pa.array(values[field.name], type=field.type, from_pandas=True) for field in SCHEMA], schema=SCHEMA
    )
