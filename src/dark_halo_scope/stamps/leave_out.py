"""Rows of train and val that a run asks not to be shown (``data.leave_out``); test rows stay, to be tested on."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.stamps.condition import Condition
from dark_halo_scope.stamps.contract import CLASSES, PIXEL_COLUMNS, SPLITS, ContractError

_FITTED_ON = ("train", "val")


def columns_of(condition: Condition, schema: pa.Schema, file: str) -> list[str]:
    """The columns that a condition looks at.

    Raises:
        ContractError: When a file does not have one of them.
    """
    known = [name for name in schema.names if name not in PIXEL_COLUMNS]
    if missing := [name for name in condition.columns if name not in known]:
        raise ContractError(
            f"{file}: data.leave_out={condition.text!r} names column {missing[0]}, which the file does not have; "
            f"it has {', '.join(known)}"
        )
    return list(condition.columns)


def leave_out(
    root: str,
    text: str,
    meets: NDArray[np.bool_],
    label: NDArray[np.int8],
    split: NDArray[np.int8],
    exclusion: NDArray[np.int8],
    code: int,
) -> str:
    """Mark in ``exclusion`` (N,) the rows of train and val in use that meet the condition, and say how many.

    Raises:
        ContractError: When there is none, or when a split would lose a class.
    """
    fitted_on = np.isin(split, [SPLITS.index(name) for name in _FITTED_ON])
    chosen = meets & fitted_on & (exclusion == 0)
    told = f"data.leave_out={text!r}"
    if not chosen.any():
        raise ContractError(f"{root}: {told} holds for no usable row of train or val: nothing would be left out")
    exclusion[chosen] = code
    for name in _FITTED_ON:
        left = np.bincount(label[(split == SPLITS.index(name)) & (exclusion == 0)], minlength=len(CLASSES))
        if not left.all():
            raise ContractError(
                f"{root}: {told} leaves no {CLASSES[int(np.argmin(left))]} in split {name}, which needs both classes; "
                "leave out less"
            )
    return f"{root}: left out {np.count_nonzero(chosen)} rows of train and val for which {text} ({told})"
