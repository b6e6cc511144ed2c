"""A clean simulated survey as one table, edited and written out again with something planted in it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hydra.utils import instantiate
from omegaconf import OmegaConf

from dark_halo_scope.audit.audit import Audit, audit_dataset
from dark_halo_scope.audit.catalogue import read_catalogue
from dark_halo_scope.audit.settings import AuditSettings
from dark_halo_scope.configuration import CONFIGS
from dark_halo_scope.stamps.codec import decode_stamp, encode_stamp

COLUMNS = {"region_column": "region_id", "host_column": "host_id"}


def settings(**changes) -> AuditSettings:
    """The shipped settings with fewer resamples."""
    shipped = OmegaConf.load(CONFIGS / "audit" / "default.yaml")
    return instantiate(OmegaConf.merge(shipped, {"n_resamples": 100} | changes))


def write(table: pa.Table, folder: Path) -> Path:
    """Two files of small row groups."""
    folder.mkdir(parents=True)
    half = table.num_rows // 2
    for k, part in enumerate((table[:half], table[half:])):
        pq.write_table(part, folder / f"part-{k}.parquet", row_group_size=32)
    return folder


def replaced(table: pa.Table, column: str, changes: dict) -> pa.Table:
    """The table with other values in some rows of a column."""
    values = table[column].to_pylist()
    for row, value in changes.items():
        values[row] = value
    number = table.schema.get_field_index(column)
    return table.set_column(number, table.schema.field(number), pa.array(values, table.schema.field(number).type))


def image_of(table: pa.Table, row: int) -> np.ndarray:
    image = np.empty((3, 64, 64), np.float32)
    decode_stamp(table["stamp_npz"][row].as_py(), image)
    return image


def with_images(table: pa.Table, rows, change: Callable[[np.ndarray], np.ndarray]) -> pa.Table:
    """The table with the stamps of ``rows`` changed."""
    changed = {row: encode_stamp(change(image_of(table, row)).astype(np.float32)) for row in rows}
    return replaced(table, "stamp_npz", changed)


def rows_where(table: pa.Table, *, split: str | None = None, lens: bool | None = None) -> list[int]:
    """Usable rows of a split and class."""
    columns = zip(*(table[name].to_pylist() for name in ("cutout_ok", "region_split", "lens_model")), strict=True)
    return [
        row
        for row, (ok, in_split, model) in enumerate(columns)
        if ok == 1 and split in (None, in_split) and lens in (None, model != "CONTROL")
    ]


def audit(root: Path, **changes) -> Audit:
    return audit_dataset(read_catalogue(str(root), **COLUMNS), settings(**changes), progress=False)


def gates(outcome: Audit) -> dict[str, dict]:
    return {gate["name"]: gate for gate in outcome.record["gates"]}


def opened(outcome: Audit) -> dict[str, str]:
    """The gates that give concern or fail; how large the splits are does not count on a small survey."""
    verdicts = {name: gate["verdict"] for name, gate in gates(outcome).items() if gate["verdict"] != "pass"}
    verdicts.pop("Size of the splits", None)
    return verdicts
