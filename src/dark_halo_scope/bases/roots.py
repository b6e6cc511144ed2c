"""What keeps a base model from being collected: pins, fine-tunings that stand on it, and attempts to make it.

A fine-tuning says on which base model it stands by ``base``, a key or null, in its ``manifest.json`` or ``spec.json``
anywhere below a root: the store's own ``tunings/``, a folder that was registered with it (`register`), or one that the
collector is told of.
"""

import getpass
import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dark_halo_scope.bases.canonical import is_key
from dark_halo_scope.bases.holder import HOLDER, Holder
from dark_halo_scope.bases.manifest import MANIFEST, SPEC
from dark_halo_scope.bases.store import BUILDING, BaseStore, StoreError
from dark_halo_scope.files import write_json

TUNINGS = "tunings"  # a store of fine-tunings, in that of their base models
_BASE = "base"
_PINS = "pins"
_ROOTS = "roots"


class RootsError(ValueError):
    """It cannot be told what stands on the base models of a store."""


def pin(store: BaseStore, key: str, why: str) -> None:
    """Keep a base model whatever the collector is asked."""
    if not store.folder(key).is_dir():
        raise StoreError(f"{key[:12]} is not in the store {store.root}: train it first")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(store.root / _PINS / f"{key}.json", {"why": why, "by": getpass.getuser(), "at": now})


def unpin(store: BaseStore, key: str) -> None:
    """Let the collector judge a base model by its use again."""
    path = store.root / _PINS / f"{key}.json"
    if not path.exists():
        raise StoreError(f"{key[:12]} is not pinned in {store.root}")
    path.unlink()


def register(store: BaseStore, folder: Path) -> None:
    """Let the collector, whoever calls it, look for fine-tunings below a folder, such as that of a user's runs."""
    folder = folder.absolute()
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    path = store.root / _ROOTS / f"{name}.json"
    if not path.exists():
        write_json(path, {"folder": str(folder)})


def pins(store: BaseStore) -> dict[str, str]:
    """Why each pinned base model is, by key."""
    found = {path.stem: _read(path) for path in sorted((store.root / _PINS).glob("*.json"))}
    return {key: f"pinned by {told['by']}: {told['why']}" for key, told in found.items()}


def reasons(store: BaseStore, folders: Iterable[Path] = ()) -> dict[str, list[str]]:
    """What stands on each base model, in words, by key: nothing of this may be collected.

    Args:
        store: The store.
        folders: Folders to look for fine-tunings in, beside the registered ones.

    Raises:
        RootsError: A folder is not there, or a manifest cannot be read: it may have named any base model.
    """
    standing: dict[str, list[str]] = defaultdict(list)
    for key, why in pins(store).items():
        standing[key].append(why)
    for attempt in attempts(store.root):
        if not attempt.is_dead:
            standing[attempt.key].append(f"being made by {attempt.holder or 'a process that does not say who it is'}")
    registered = [Path(_read(path)["folder"]) for path in sorted((store.root / _ROOTS).glob("*.json"))]
    own = [store.root / TUNINGS] if (store.root / TUNINGS).is_dir() else []
    for folder in sorted({path.absolute() for path in (*own, *registered, *folders)}):
        for key, user in _named_below(folder):
            standing[key].append(f"used by {user}")
    return dict(standing)


@dataclass(frozen=True)
class Attempt:
    """What is in the making, or was.

    Attributes:
        key: Of what.
        folder: Of its lease.
        holder: None where it does not say.
        is_dead: Whether the holder is proven dead, or has given it back.
    """

    key: str
    folder: Path
    holder: Holder | None
    is_dead: bool


def attempts(root: Path) -> list[Attempt]:
    """All that is in the making in the store at a root."""
    return [_attempt(folder) for folder in sorted((root / BUILDING).glob("*"))]


def _attempt(folder: Path) -> Attempt:
    key = folder.name.partition(".")[0]
    try:
        file = io.FileIO(folder / HOLDER)
    except FileNotFoundError:
        return Attempt(key, folder, None, is_dead=True)
    with file:
        holder = Holder.read(file)
        return Attempt(key, folder, holder, is_dead=holder is not None and holder.is_dead(folder, file))


def _named_below(folder: Path) -> list[tuple[str, Path]]:
    """The base models that fine-tunings below a folder stand on, each with the fine-tuning's folder."""
    if not folder.is_dir():
        raise RootsError(
            f"{folder}, where fine-tunings were kept, is not there, so it cannot be told what stands on which base "
            "model: collect on a machine that sees it, or, if it is gone for good, remove its file from roots/ in the "
            "store"
        )
    named = set()
    for path in (path for name in (MANIFEST, SPEC) for path in folder.rglob(name)):
        try:
            content = _read(path)
        except FileNotFoundError:  # a fine-tuning that is finished at this moment; its base model was used today
            continue
        key = content.get(_BASE) if isinstance(content, dict) else None  # others may use these names of files, too
        if isinstance(key, str) and is_key(key):
            named.add((key, path.parent))
    return sorted(named)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RootsError(
            f"{path} cannot be read ({error}), so what it keeps is unknown: repair or delete it"
        ) from error
