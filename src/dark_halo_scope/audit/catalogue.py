"""The rows of a dataset as far as they can be read, and every breach of contract on the way.

A run refuses a dataset at its first breach (`StampIndex.build`). An audit reports all of them and goes on with the rows
whose label and split are known, the leaking ones among them.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dark_halo_scope.stamps import contract, leaks
from dark_halo_scope.stamps.contract import LABEL_OF_LENS_MODEL, PIXEL_COLUMN, SPLITS, STAMP_COLUMN, ContractError
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store.manifest import StoreManifest

_SCAN_THREADS = 8
_IN_USE, _CUTOUT_NOT_OK, _UNKNOWN = 0, 1, 2


@dataclass(frozen=True)
class Catalogue:
    """Rows of a dataset, whether or not it keeps the contract.

    Attributes:
        index: The readable files; a row is in use where label and split are known and ``cutout_ok`` is 1.
        region: Sky region of each row (N,) by a number of its own; -1 where it has none.
        keys: Region and host by column name, file by file, where every file has them.
        breaches: What `StampIndex.build` would refuse, one sentence each.
        n_unknown: Rows whose label, split or ``cutout_ok`` cannot be told.
        region_column: Column that names the sky region.
        host_column: Column that names the host galaxy.
    """

    index: StampIndex
    region: NDArray[np.int64]
    keys: dict[str, list[pa.Array]]
    breaches: tuple[str, ...]
    n_unknown: int
    region_column: str
    host_column: str

    @property
    def used(self) -> NDArray[np.bool_]:
        """Whether each row is in use, (N,)."""
        return self.index.exclusion == _IN_USE

    def table(self, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows (splits, classes) among those ``counted`` (N,)."""
        cells = self.index.split[counted].astype(np.int64) * 2 + self.index.label[counted]
        return np.bincount(cells, minlength=2 * len(SPLITS)).reshape(len(SPLITS), 2)


@dataclass
class _Scan:
    """One file of n rows; ``schema`` is None where it cannot be used at all."""

    schema: pa.Schema | None = None
    group_rows: list[int] = field(default_factory=list)
    label: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    split: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    state: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    keys: dict[str, pa.Array] = field(default_factory=dict)
    breaches: list[str] = field(default_factory=list)


def read_catalogue(root: str, *, region_column: str, host_column: str) -> Catalogue:
    """Read the metadata of the dataset at ``root``.

    Raises:
        ContractError: Where not one file can be used.
    """
    try:
        index = StampIndex.build(root, region_column=region_column, host_column=host_column)
    except ContractError as error:
        return _catalogue(StampFiles.find(root), [str(error)], None, region_column, host_column)
    return catalogue_of(index, region_column=region_column, host_column=host_column)


def catalogue_of(index: StampIndex, *, region_column: str, host_column: str) -> Catalogue:
    """The catalogue of a dataset that keeps the contract; rows that the index leaves out stay out."""
    catalogue = _catalogue(index.files, [], index.fingerprint, region_column, host_column)
    left_out = np.where(index.exclusion > 0, index.exclusion, catalogue.index.exclusion).astype(np.int8)
    return replace(catalogue, index=replace(catalogue.index, exclusion=left_out))


def _catalogue(
    files: StampFiles, breaches: list[str], fingerprint: str | None, region_column: str, host_column: str
) -> Catalogue:
    store = StoreManifest.find(files)

    def scan(number: int) -> _Scan:
        return _scan(files, number, (region_column, host_column), of_store=store is not None)

    with ThreadPoolExecutor(_SCAN_THREADS) as pool:
        scans = list(pool.map(scan, range(len(files.names))))
    breaches = list(dict.fromkeys([*breaches, *(sentence for s in scans for sentence in s.breaches)]))
    good = [number for number, s in enumerate(scans) if s.schema is not None]
    if not good:
        raise ContractError(breaches[0])
    kept = [scans[number] for number in good]
    state = np.concatenate([s.state for s in kept])
    index = StampIndex(
        files=_only(files, good),
        file_starts=_starts(len(s.label) for s in kept),
        group_starts=_starts(n for s in kept for n in s.group_rows),
        file_groups=_starts(len(s.group_rows) for s in kept),
        label=np.concatenate([s.label for s in kept]),
        split=np.concatenate([s.split for s in kept]),
        exclusion=state,
        fingerprint=fingerprint or _fingerprint(files, kept),
        id_columns=(),
        store=store,
    )
    keys = {
        name: _alike([s.keys[name] for s in kept])
        for name in (region_column, host_column)
        if all(name in s.keys for s in kept)
    }
    region = _numbers(keys[region_column]) if region_column in keys else np.full(len(state), -1)
    n_unknown = int(np.count_nonzero(state == _UNKNOWN))
    return Catalogue(index, region, keys, tuple(breaches), n_unknown, region_column, host_column)


def _scan(files: StampFiles, number: int, key_columns: Sequence[str], *, of_store: bool) -> _Scan:
    """Read what the catalogue takes from one file and note every breach."""
    name, scan = files.names[number], _Scan()
    pixels = PIXEL_COLUMN if of_store else STAMP_COLUMN
    try:
        file = files.parquet(number)
        schema = file.schema_arrow
        _note(scan, contract.check_schema, schema, name, of_store=of_store)
        _note(scan, contract.check_region_column, schema, name, key_columns[0])
        if not {pixels, "lens_model", "region_split", "cutout_ok"} <= set(schema.names):
            return scan
        wanted = ["lens_model", "region_split", "cutout_ok", "theta_e_arcsec", *key_columns]
        table = file.read(columns=[c for c in wanted if c in schema.names], use_threads=False)
    except (ContractError, pa.ArrowInvalid, OSError) as error:
        scan.breaches.append(f"{name} cannot be read ({error})")
        return scan
    scan.schema = schema
    scan.group_rows = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
    scan.label, label_known = _known(scan, contract.labels, table["lens_model"], list(LABEL_OF_LENS_MODEL), name)
    scan.split, split_known = _known(scan, contract.splits, table["region_split"], list(SPLITS), name)
    ok, ok_known = _known(scan, contract.usable, table["cutout_ok"], ["0", "1"], name)
    known = label_known & split_known & ok_known
    scan.state = np.where(~known, _UNKNOWN, np.where(ok == 1, _IN_USE, _CUTOUT_NOT_OK)).astype(np.int8)
    if "theta_e_arcsec" in schema.names:
        used = scan.state == _IN_USE
        _note(scan, contract.check_einstein_radius, table["theta_e_arcsec"], scan.label, used, name)
    for column in key_columns:
        if column in schema.names and (key := _note(scan, leaks.key_column, table[column], column, name)) is not None:
            scan.keys[column] = key
    return scan


def _note(scan: _Scan, check: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a check gives, or None where it refuses, which is noted."""
    try:
        return check(*arguments, **options)
    except ContractError as error:
        scan.breaches.append(str(error))
        return None


def _known(
    scan: _Scan, read: Callable[..., Any], column: pa.ChunkedArray, allowed: list[str], file: str
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Values (n,) of a column with a whitelist, 0 where they are not on it; and whether they are."""
    values = np.zeros(len(column), np.int8)
    whole = _note(scan, read, column, file)
    if whole is not None:
        return whole.astype(np.int8), np.ones(len(column), np.bool_)
    known = pc.is_in(column.cast(pa.string()), value_set=pa.array(allowed))
    on_list = known.to_numpy(zero_copy_only=False) if isinstance(known, pa.Array) else known.to_numpy()
    values[on_list] = read(column.filter(known), file)
    return values, on_list


def _only(files: StampFiles, numbers: list[int]) -> StampFiles:
    """The files with these numbers."""
    return replace(
        files,
        names=tuple(files.names[k] for k in numbers),
        paths=tuple(files.paths[k] for k in numbers),
        sizes=tuple(files.sizes[k] for k in numbers),
        mtimes_ns=tuple(files.mtimes_ns[k] for k in numbers),
    )


def _fingerprint(files: StampFiles, scans: list[_Scan]) -> str:
    """Stands in for the fingerprint of an index, which a dataset in breach of contract does not have."""
    digest = hashlib.sha256("\0".join([*files.names, *map(str, files.sizes)]).encode())
    for scan in scans:
        digest.update(scan.label.tobytes() + scan.split.tobytes() + scan.state.tobytes())
    return digest.hexdigest()


def _alike(keys: list[pa.Array]) -> list[pa.Array]:
    """Keys of all files in one type; that integers and strings differ is among the breaches already."""
    return keys if len({key.type for key in keys}) == 1 else [key.cast(pa.string()) for key in keys]


def _numbers(keys: list[pa.Array]) -> NDArray[np.int64]:
    codes = pa.chunked_array(keys).combine_chunks().dictionary_encode().indices
    return codes.fill_null(-1).to_numpy().astype(np.int64)


def _starts(lengths: Iterable[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))])
