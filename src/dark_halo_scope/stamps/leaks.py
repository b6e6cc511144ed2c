"""Sky regions and host galaxies that lie in more than one split.

Stamps of one region share seeing, depth and large-scale structure, stamps of one host share the galaxy: with either in
both train and test, the test measures memory.
"""

import numpy as np
import pyarrow as pa
import pyarrow.types as pat
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import SPLITS, ContractError

_EXAMPLES = 5


def key_column(column: pa.ChunkedArray, name: str, file: str) -> pa.Array:
    """A region or host column of one file as int64 or string, so that the files' columns fit together.

    Raises:
        ContractError: When the column is of another type, and equality of its values means nothing.
    """
    kind = column.type.value_type if pat.is_dictionary(column.type) else column.type
    if pat.is_integer(kind):
        return column.cast(pa.int64()).combine_chunks()
    if pat.is_string(kind) or pat.is_large_string(kind):
        return column.cast(kind).cast(pa.string()).combine_chunks()
    raise ContractError(f"{file}: column {name} has type {kind}, but an integer or a string is required to name it")


def misplaced_rows(keys: list[pa.Array], split: NDArray[np.int8], used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows (N,) whose region or host also lies in an earlier split (order: train, val, test).

    Args:
        keys: The key column file by file, N values in all; null is no key.
        split: Positions in `SPLITS`, (N,).
        used: Rows that take part, (N,); the others neither leak nor are leaked to.
    """
    codes, n_keys = _codes(keys)
    used = used & (codes >= 0)
    first = np.full(n_keys, len(SPLITS), np.int8)
    for s in reversed(range(len(SPLITS))):
        first[codes[used & (split == s)]] = s
    misplaced = np.zeros(len(split), np.bool_)
    misplaced[used] = split[used] > first[codes[used]]
    return misplaced


def describe(
    keys: list[pa.Array], split: NDArray[np.int8], used: NDArray[np.bool_], misplaced: NDArray[np.bool_]
) -> str:
    """Which keys lie in which splits, the first few by name: ``"17 in train and val, 23 in train and test"``."""
    values = pa.chunked_array(keys).combine_chunks()
    codes, _ = _codes(keys)
    leaking = np.unique(codes[misplaced])
    told = []
    for code in leaking[:_EXAMPLES]:
        rows = np.flatnonzero(used & (codes == code))
        where = " and ".join(SPLITS[s] for s in np.unique(split[rows]))
        told.append(f"{values[rows[0]].as_py()} in {where}")
    more = f", and {len(leaking) - _EXAMPLES} more" if len(leaking) > _EXAMPLES else ""
    return ", ".join(told) + more


def _codes(keys: list[pa.Array]) -> tuple[NDArray[np.int64], int]:
    encoded = pa.chunked_array(keys).combine_chunks().dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy().astype(np.int64), len(encoded.dictionary)
