"""One file of a dataset held to the contract: its footer and the few metadata columns that the index is made of."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.stamps import contract, leaks
from dark_halo_scope.stamps.condition import Condition
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.leave_out import columns_of


@dataclass(frozen=True)
class FileScan:
    """What the index takes from one file of n rows.

    Attributes:
        group_rows: Rows of each row group.
        label: 0 control, 1 lens; (n,).
        split: Position in `contract.SPLITS`; (n,).
        ok: Whether ``cutout_ok`` is 1; (n,).
        region: Names of the sky regions; (n,).
        host: Names of the host galaxies (n,), if the file has them.
        meets: Whether it meets the condition asked for (n,), if there is one.
        schema: Columns of the file.
        digest: sha256 of the file's name, size, footer and the columns above.
    """

    group_rows: list[int]
    label: NDArray[np.int8]
    split: NDArray[np.int8]
    ok: NDArray[np.bool_]
    region: pa.Array
    host: pa.Array | None
    meets: NDArray[np.bool_] | None
    schema: pa.Schema
    digest: bytes


def scan_file(
    files: StampFiles,
    number: int,
    region_column: str,
    host_column: str,
    condition: Condition | None = None,
    *,
    of_store: bool = False,
) -> FileScan:
    """Check file ``number`` (of a training store, if ``of_store``) and read what the index takes from it.

    Raises:
        ContractError: At the first breach of contract.
    """
    name = files.names[number]
    file = files.parquet(number)
    contract.check_schema(file.schema_arrow, name, of_store=of_store)
    contract.check_region_column(file.schema_arrow, name, region_column)
    wanted = ["lens_model", "region_split", "cutout_ok", "theta_e_arcsec", region_column]
    has_host = host_column in file.schema_arrow.names
    if has_host:
        wanted.append(host_column)
    if condition:
        wanted += columns_of(condition, file.schema_arrow, name)
    try:
        table = file.read(columns=list(dict.fromkeys(wanted)), use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(f"{name} cannot be read ({error}); it is damaged: copy it again from its source") from error
    label = contract.labels(table["lens_model"], name)
    ok = contract.usable(table["cutout_ok"], name)
    contract.check_einstein_radius(table["theta_e_arcsec"], label, ok, name)
    split = contract.splits(table["region_split"], name)
    digest = hashlib.sha256(f"{name}\0{files.sizes[number]}\0".encode())
    for part in (footer(files, number), label.tobytes(), split.tobytes(), ok.tobytes()):
        digest.update(part)
    return FileScan(
        group_rows=[file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)],
        label=label,
        split=split,
        ok=ok,
        region=leaks.key_column(table[region_column], region_column, name),
        host=leaks.key_column(table[host_column], host_column, name) if has_host else None,
        meets=condition.holds(table) if condition else None,
        schema=file.schema_arrow,
        digest=digest.digest(),
    )


def footer(files: StampFiles, number: int) -> bytes:
    """The bytes of a parquet footer: schema, and sizes and statistics of every column chunk."""
    with files.source(number) as source:
        size = source.size()
        length = int.from_bytes(source.read_at(4, size - 8), "little")
        return source.read_at(length, size - 8 - length)
