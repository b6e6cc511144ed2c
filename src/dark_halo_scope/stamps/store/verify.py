"""Is a training store still what was written, and does it hold the raw stamps?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dark_halo_scope.files import sha256
from dark_halo_scope.jobs import on_all_cores, stamps_bar
from dark_halo_scope.stamps.contract import BANDS, SPLITS, STAMP_SHAPE, ContractError
from dark_halo_scope.stamps.decoder import StampDecoder
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.remote import RemoteReadError
from dark_halo_scope.stamps.store import precision
from dark_halo_scope.stamps.store.manifest import MANIFEST, StoreManifest
from dark_halo_scope.stamps.store.options import StoreError
from dark_halo_scope.stamps.store.prepare import read_manifest
from dark_halo_scope.stamps.store.reader import StoreReader
from dark_halo_scope.stamps.store.statistics import stamp_statistics

_SAMPLE = 1_024  # a fault in one stamp of 200 slips through once in 170 stores


@dataclass(frozen=True)
class Verified:
    """What was found in order.

    Attributes:
        n_files: Files whose bytes are those that were written.
        n_compared: Stamps made again from the raw dataset and found equal, pixels and statistics.
        out_of_reach: Why none was, where the raw dataset could not be read.
    """

    n_files: int
    n_compared: int
    out_of_reach: str | None


def verify(raw: str, store: Path, *, progress: bool = True) -> Verified:
    """Check every byte of a store, and a sample of its stamps against the raw dataset if that is within reach.

    Raises:
        StoreError: Naming the file or the stamp that is wrong, or when the raw dataset is another one.
        ContractError: When the store is not whole.
    """
    manifest = read_manifest(store)
    _check_bytes(manifest, store, progress)
    try:
        StampFiles.find(raw)
    except (ContractError, RemoteReadError) as error:
        return Verified(len(manifest.files), 0, str(error))
    return Verified(len(manifest.files), _compare(raw, store, manifest), None)


def _check_bytes(manifest: StoreManifest, store: Path, progress: bool) -> None:
    names = list(manifest.files)

    def check(number: int) -> None:
        name = names[number]
        path = store / name
        if not path.is_file() or sha256(path) != manifest.files[name]["sha256"]:
            state = "is not there" if not path.is_file() else f"has other bytes than {MANIFEST} says"
            raise StoreError(f"{path} {state}: copy the file again from its source, or prepare the store again")

    total = sum(manifest.files[name]["rows"] for name in names)
    with stamps_bar("verifying", total, show=progress) as advance:
        for number in on_all_cores(check, range(len(names))):
            advance(manifest.files[names[number]]["rows"])


def _compare(raw: str, store: Path, manifest: StoreManifest) -> int:
    """Make a random sample of stamps again from the raw dataset; the number compared."""
    settings = manifest.settings
    checks = {key: settings[key] for key in ("region_column", "host_column", "on_split_leak")}
    raw_index = StampIndex.build(raw, **checks)
    if raw_index.fingerprint != manifest.raw_fingerprint:
        raise StoreError(f"{store} was made from other data than {raw} now holds; prepare a store of it anew")
    index = StampIndex.build(str(store), **checks)
    in_use = np.concatenate([index.rows(split) for split in SPLITS])
    rows = np.sort(np.random.default_rng(0).permutation(in_use)[:_SAMPLE])
    table = index.metadata(rows)
    number_of = {name: k for k, name in enumerate(raw_index.files.names)}
    starts = raw_index.file_starts[[number_of[name] for name in table["stamp_source_file"].to_pylist()]]
    raw_rows = starts + table["stamp_source_row"].to_numpy()

    images = np.empty((len(rows), *STAMP_SHAPE), np.float32)
    order = np.argsort(raw_rows)
    decoder = StampDecoder(raw_index, open_row_groups=1, max_nonfinite_fraction=settings["max_nonfinite_fraction"])
    decoded = np.empty_like(images)
    decoder.decode(raw_rows[order], decoded)
    images[order] = decoded

    columns = stamp_statistics(images)
    wrong = np.any([table[name].to_numpy() != values for name, values in columns.items()], axis=0)
    wrong |= table["stamp_label"].to_numpy() != raw_index.label[raw_rows]
    if settings["precision"] == "float16":
        sigma = np.stack([columns[f"stamp_sky_sigma_{band}"] for band in BANDS], axis=1)
        half = precision.to_float16(images, sigma)
        precision.from_float16(half.pixels, half.exponent, images)
    stored = np.empty_like(images)
    StoreReader(index, open_row_groups=1).decode(rows, stored)
    wrong |= (stored.view(np.uint32) != images.view(np.uint32)).any(axis=(1, 2, 3))
    if wrong.any():
        file, row = raw_index.locate(int(raw_rows[np.argmax(wrong)]))
        raise StoreError(
            f"{store}: {np.count_nonzero(wrong)} of {len(rows)} sampled stamps are not those of {raw} (first: {file}, "
            f"row {row}); prepare the store again"
        )
    return len(rows)
