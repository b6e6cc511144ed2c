"""What a stamp dataset must be: columns, labels, splits, and the sentence said when it is not.

Every check here works on schemas and metadata columns only and is made before the first pixel is read. Faults of single
stamps (a missing band, NaN pixels, broken bytes) are not breaches of contract: the stream counts and sets them aside.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat
from numpy.typing import NDArray

BANDS = ("g", "r", "z")
STAMP_SIZE = 64
STAMP_SHAPE = (len(BANDS), STAMP_SIZE, STAMP_SIZE)
PIXEL_SCALE_ARCSEC = 0.262

STAMP_COLUMN = "stamp_npz"
PIXEL_COLUMN = "stamp_pixels"  # takes its place in a training store
PIXEL_COLUMNS = (STAMP_COLUMN, PIXEL_COLUMN)
LABEL_OF_LENS_MODEL = {"CONTROL": 0, "SIE": 1, "SIS": 1}
CLASSES = ("control", "lens")  # by label
SPLITS = ("train", "val", "test")


class ContractError(ValueError):
    """A dataset that cannot be used as it is; the message names the file, the column, the values and the remedy."""


def _is_text(kind: pa.DataType) -> bool:
    if pat.is_dictionary(kind):
        kind = kind.value_type
    return pat.is_string(kind) or pat.is_large_string(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pat.is_binary(kind) or pat.is_large_binary(kind)


def _is_float_or_all_null(kind: pa.DataType) -> bool:
    return pat.is_floating(kind) or pat.is_null(kind)  # a file of controls only has nothing else to write


_Kind = tuple[str, Callable[[pa.DataType], bool]]
_TEXT: _Kind = ("string", _is_text)
_FLOAT: _Kind = ("float", pat.is_floating)
REQUIRED_COLUMNS: dict[str, _Kind] = {
    STAMP_COLUMN: ("binary", _is_binary),
    "lens_model": _TEXT,
    "region_split": _TEXT,
    "cutout_ok": ("integer", pat.is_integer),
    "theta_e_arcsec": _FLOAT,
    "psf_fwhm_used_r": _FLOAT,
    "arc_snr": ("float", _is_float_or_all_null),
    "bad_pixel_frac": _FLOAT,
    "wise_brightmask_frac": _FLOAT,
}


def check_schema(schema: pa.Schema, file: str, *, of_store: bool = False) -> None:
    """Refuse a file whose columns or types are not those of the contract.

    Args:
        schema: Columns of the file.
        file: Its name.
        of_store: Whether it belongs to a training store, which has its pixels in another column.

    Raises:
        ContractError: Naming every missing column, or the first column of a wrong type.
    """
    required = dict(REQUIRED_COLUMNS)
    if of_store:
        del required[STAMP_COLUMN]
        required[PIXEL_COLUMN] = ("fixed-size binary", pat.is_fixed_size_binary)
    missing = [name for name in required if name not in schema.names]
    if missing:
        raise ContractError(
            f"{file}: missing column {', '.join(missing)}; "
            "write the dataset again with it, or keep this file out of data.root"
        )
    for name, (wanted, fits) in required.items():
        kind = schema.field(name).type
        if not fits(kind):
            raise ContractError(
                f"{file}: column {name} has type {kind}, but {wanted} is required; cast it and write the file again"
            )


def check_region_column(schema: pa.Schema, file: str, region_column: str) -> None:
    """Refuse a file that does not say which sky region a stamp lies in."""
    if region_column not in schema.names:
        raise ContractError(
            f"{file}: no column {region_column}, so that a region in two splits would go unseen; "
            f"name the column that holds the sky region (data.region_column=...) out of: {', '.join(schema.names)}"
        )


def labels(lens_model: pa.ChunkedArray, file: str) -> NDArray[np.int8]:
    """Labels (N,) of a file by the whitelist `LABEL_OF_LENS_MODEL`.

    Raises:
        ContractError: On any other value, null included.
    """
    codes = _codes(lens_model, list(LABEL_OF_LENS_MODEL), "lens_model", file)
    return np.array(list(LABEL_OF_LENS_MODEL.values()), np.int8)[codes]


def splits(region_split: pa.ChunkedArray, file: str) -> NDArray[np.int8]:
    """Positions (N,) in `SPLITS` of the rows of a file.

    Raises:
        ContractError: On any other value, null included.
    """
    return _codes(region_split, list(SPLITS), "region_split", file).astype(np.int8)


def usable(cutout_ok: pa.ChunkedArray, file: str) -> NDArray[np.bool_]:
    """Whether ``cutout_ok`` is 1, (N,)."""
    codes = _codes(cutout_ok.cast(pa.int64()), [0, 1], "cutout_ok", file)
    return codes == 1


def _codes(column: pa.ChunkedArray, allowed: list[str] | list[int], name: str, file: str) -> NDArray[np.int32]:
    codes = pc.index_in(column, value_set=pa.array(allowed).cast(plain_type(column.type)))
    if codes.null_count:
        counts = pc.value_counts(column.filter(pc.is_null(codes)).combine_chunks()).to_pylist()
        found = ", ".join(f"{entry['values']!r} ({entry['counts']} rows)" for entry in counts[:5])
        raise ContractError(
            f"{file}: column {name} holds {found}; only {', '.join(map(repr, allowed))} are known: "
            "correct these rows, or leave them out of the dataset"
        )
    return codes.to_numpy().astype(np.int32)


def metadata_schema(schemas: Iterable[pa.Schema], root: str) -> pa.Schema:
    """The metadata columns of all files together, without their dictionary encoding.

    Raises:
        ContractError: When files disagree on what a column holds.
    """
    plain = [
        pa.schema([pa.field(f.name, plain_type(f.type)) for f in schema if f.name not in PIXEL_COLUMNS])
        for schema in schemas
    ]
    try:
        return pa.unify_schemas(plain, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ContractError(f"{root}: files disagree on a column ({error}); write it alike") from error


def plain_type(kind: pa.DataType) -> pa.DataType:
    """What a column holds, whether or not it is encoded by a dictionary."""
    return kind.value_type if pat.is_dictionary(kind) else kind


def check_einstein_radius(
    theta_e_arcsec: pa.ChunkedArray, label: NDArray[np.int8], ok: NDArray[np.bool_], file: str
) -> None:
    """Refuse usable rows (N,) where ``theta_e_arcsec`` is 0 and the row is no control, or the other way round."""
    theta = theta_e_arcsec.cast(pa.float64()).to_numpy()  # null becomes NaN, which is neither
    for wrong, told in (
        (ok & (label == 0) & (theta != 0), "lens_model CONTROL but theta_e_arcsec other than 0"),
        (ok & (label == 1) & ~(theta > 0), "an injected lens but theta_e_arcsec not above 0"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ContractError(
                f"{file}: {np.count_nonzero(wrong)} rows have {told} (first: row {row}, {theta[row]:g} arcsec); "
                "label and Einstein radius contradict each other: correct one of them"
            )


def check_classes(counts: NDArray[np.int64], root: str) -> None:
    """Refuse a dataset in which a split lacks a class; ``counts`` (splits, classes) are of usable rows."""
    for split, (n_control, n_lens) in zip(SPLITS, counts, strict=True):
        if n_control + n_lens == 0:
            raise ContractError(
                f"{root}: split {split} is empty (no usable row with region_split={split!r}); "
                "training needs train, val and test: assign whole sky regions to each"
            )
        if n_control == 0 or n_lens == 0:
            only = CLASSES[int(n_lens > 0)]
            raise ContractError(
                f"{root}: split {split} holds one class only ({n_control + n_lens} usable rows, all {only}), so that "
                "it has no ROC curve; assign sky regions with both controls and lenses to it"
            )
