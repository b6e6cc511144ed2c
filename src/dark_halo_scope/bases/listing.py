"""What a store holds, as plain records: for scripts as they are, for people through `tables`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dark_halo_scope.bases.canonical import ABSENT, Difference
from dark_halo_scope.bases.collect import Collection
from dark_halo_scope.bases.manifest import SPEC, DamagedError, Manifest
from dark_halo_scope.bases.roots import attempts, pins
from dark_halo_scope.bases.store import BaseStore


def listed(store: BaseStore) -> list[dict[str, Any]]:
    """Every base model, the last used first, and what is in the making.

    Returns:
        ``key``, ``state`` (``stored``, ``damaged`` or ``in the making``), ``spec``, ``metrics``, ``started``,
        ``seconds``, ``n_bytes``, ``used_at`` (seconds since 1970), ``pinned`` (why, or null), ``holder`` (who makes
        it). Only manifests are read: `BaseStore.check` reads all bytes.
    """
    keys, pinned = store.keys(), pins(store)
    stored = sorted((_stored(store, key, pinned) for key in keys), key=lambda record: -record["used_at"])
    alive = [attempt for attempt in attempts(store.root) if not attempt.is_dead]
    making = [{"key": attempt.key, "state": "in the making", "holder": str(attempt.holder)} for attempt in alive]
    return [*stored, *making]


def shown(store: BaseStore, key: str) -> dict[str, Any]:
    """One base model: as in `listed`, and where it comes from."""
    manifest = Manifest.read(store.folder(key))
    return _stored(store, key, pins(store)) | {"folder": str(store.folder(key)), **asdict(manifest)}


def differing(found: list[Difference]) -> list[dict[str, Any]]:
    """Paths, with the value of either side; a side that has nothing there has no value."""
    records = []
    for path, here, there in found:
        sides = {"a": here, "b": there}
        records.append({"path": path} | {side: value for side, value in sides.items() if value is not ABSENT})
    return records


def collected(found: Collection) -> dict[str, Any]:
    """What goes and what stays, with the reasons."""
    return {
        "bases": [asdict(entry) for entry in found.entries],
        "litter": [{"path": str(item.path), "n_bytes": item.n_bytes, "why": item.why} for item in found.litter],
        "freed_bytes": found.freed_bytes,
        "left_bytes": found.left_bytes,
    }


def spec_of(store: BaseStore, key: str) -> dict[str, Any]:
    """What determines a base model."""
    spec: dict[str, Any] = json.loads((store.folder(key) / SPEC).read_text())
    return spec


def _stored(store: BaseStore, key: str, pinned: Mapping[str, str]) -> dict[str, Any]:
    record = {"key": key, "used_at": store.folder(key).stat().st_mtime, "pinned": pinned.get(key)}
    try:
        manifest = Manifest.read(store.folder(key))
        spec = spec_of(store, key)
    except (DamagedError, ValueError, FileNotFoundError):
        return record | {"state": "damaged"}
    return record | {
        "state": "stored",
        "spec": spec,
        "metrics": manifest.metrics,
        "started": manifest.started,
        "seconds": manifest.seconds,
        "n_bytes": manifest.n_bytes,
    }
