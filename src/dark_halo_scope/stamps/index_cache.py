"""The index of a dataset, kept on disk from one run to the next.

A kept index is ``<key>.index``: the sha256 of the rest, then an npz. The key is a hash of everything that the index
depends on: address, size and time of change of each file, the manifest of a store, and the checks asked for. So a
changed dataset has another key, and what is damaged is noticed and made again.
"""

import fcntl
import hashlib
import io
import json
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dark_halo_scope.files import WriteError, write_atomically
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.index import LeakChecks, StampIndex
from dark_halo_scope.stamps.store.manifest import StoreManifest

log = logging.getLogger(__name__)

_FORMAT = 1  # to be raised with every change of what is kept or of what the contract demands
_ARRAYS = ("file_starts", "group_starts", "file_groups", "label", "split", "exclusion")
_DIGEST_BYTES = 32


def cached_index(root: str, folder: str | None, checks: LeakChecks) -> StampIndex:
    """The index of the dataset at ``root``, from ``folder`` if it is there, else built and left there.

    Of several processes that want the same one, the first builds it and the others wait.

    Args:
        root: See `StampFiles.find`.
        folder: Where indices are kept; None to build it anew.
        checks: See `StampIndex.build`.

    Raises:
        ContractError: See `StampIndex.build`.
    """
    files = StampFiles.find(root)
    store = StoreManifest.find(files)
    if folder is None or None in files.mtimes_ns:  # without a time, a change could go unseen
        index = StampIndex.scan(files, store, checks)
    else:
        index = _from_folder(Path(folder).expanduser(), files, store, checks)
    index.log_notes()
    return index


def _from_folder(folder: Path, files: StampFiles, store: StoreManifest | None, checks: LeakChecks) -> StampIndex:
    path = folder / f"{_key(files, store, checks)}.index"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock").open("w")
    except OSError as error:
        log.warning("data.index_cache=%s cannot be written (%s): the index is not kept", folder, error.strerror)
        return StampIndex.scan(files, store, checks)
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # which the system lifts when the process ends in whatever way
        index = _load(path, files, store)
        if index is None:
            index = StampIndex.scan(files, store, checks)
            try:
                write_atomically(path, _to_bytes(index))
            except WriteError as error:
                log.warning("%s: the index is not kept", error)
    return index


def _key(files: StampFiles, store: StoreManifest | None, checks: LeakChecks) -> str:
    listed = [(files.remote(k).uri, files.sizes[k], files.mtimes_ns[k]) for k in range(len(files.names))]
    depends_on = [_FORMAT, listed, store.to_dict() if store else None, asdict(checks)]
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:32]


def _to_bytes(index: StampIndex) -> bytes:
    told = json.dumps({"fingerprint": index.fingerprint, "id_columns": index.id_columns, "notes": index.notes})
    buffer = io.BytesIO()
    np.savez(buffer, told=np.array(told), **{name: getattr(index, name) for name in _ARRAYS})
    content = buffer.getvalue()
    return hashlib.sha256(content).digest() + content


def _load(path: Path, files: StampFiles, store: StoreManifest | None) -> StampIndex | None:
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    if hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
        log.warning("%s, the kept index of %s, is damaged: it is built again", path, files.root)
        return None
    with np.load(io.BytesIO(content[_DIGEST_BYTES:])) as kept:
        told = json.loads(str(kept["told"]))
        arrays = {name: kept[name] for name in _ARRAYS}
    return StampIndex(
        files=files,
        store=store,
        fingerprint=told["fingerprint"],
        id_columns=tuple(told["id_columns"]),
        notes=tuple(told["notes"]),
        **arrays,
    )
