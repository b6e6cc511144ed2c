"""One file of a dataset of windows held to the contract: all that the index takes from it."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.windows import contract
from dark_halo_scope.windows.contract import REQUIRED_COLUMNS, WINDOW_COLUMN, ContractError, WindowLayout


@dataclass(frozen=True)
class WindowScan:
    """What the index takes from one file of n windows.

    Attributes:
        layout: Channels, size and rate.
        group_rows: Rows of each row group.
        participant: Names, string or int64; (n,).
        session: Names; (n,).
        time: Start of each window in seconds; (n,).
        label: Names; (n,).
        digests: sha256 of what each row group holds.
    """

    layout: WindowLayout
    group_rows: list[int]
    participant: pa.Array
    session: pa.Array
    time: NDArray[np.float64]
    label: pa.Array
    digests: list[bytes]


def scan_file(files: StampFiles, number: int) -> WindowScan:
    """Check file ``number`` and read what the index takes from it; every sample is looked at.

    Raises:
        ContractError: At the first breach of contract.
    """
    name = files.names[number]
    file = files.parquet(number)
    layout = contract.check_schema(file.schema_arrow, name)
    try:
        told = file.read(columns=list(REQUIRED_COLUMNS), use_threads=False)
        named = {column: contract.names(told[column], column, name) for column in ("participant", "session", "label")}
        time = contract.seconds(told["time"], name)
        group_rows = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
        digests, start = [], 0
        for group, n_rows in enumerate(group_rows):
            windows = file.read_row_group(group, columns=[WINDOW_COLUMN], use_threads=False)[WINDOW_COLUMN]
            digest = hashlib.sha256(contract.samples(windows, layout, name, start).tobytes())
            digest.update(time[start : start + n_rows].tobytes())
            for column in named.values():
                digest.update("\0".join(map(str, column.slice(start, n_rows).to_pylist())).encode())
            digests.append(digest.digest())
            start += n_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(f"{name} cannot be read ({error}); it is damaged: copy it again from its source") from error
    return WindowScan(layout, group_rows, **named, time=time, digests=digests)
