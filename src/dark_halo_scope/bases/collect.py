"""Garbage collection: what of a store may go, why, and its removal. Nothing that a root names ever goes: see `roots`.

Of the rest, what was not used for long goes first; then, where the store is still larger than it may be, what was not
used for longest. Use is being given out by a `BaseStore`, which happens before a fine-tuning begins.
"""

import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dark_halo_scope.bases.disk import n_bytes
from dark_halo_scope.bases.roots import TUNINGS, RootsError, attempts, reasons
from dark_halo_scope.bases.store import BUILDING, CORRUPT, BaseStore

DAY_S = 86_400.0
_IN_HAND_S = DAY_S  # used so lately that a fine-tuning which began with it may still run


@dataclass(frozen=True)
class Limits:
    """What a store may hold of what nothing stands on.

    Attributes:
        unused_days: Days without use after which a base model goes.
        max_gb: Size of all base models, in units of 1e9 bytes, down to which the longest unused go, too; None: any.
    """

    unused_days: float = 30.0
    max_gb: float | None = None


@dataclass(frozen=True)
class Entry:
    """A base model, as the collector sees it.

    Attributes:
        key: Its name.
        n_bytes: On the disk.
        used_at: When it was last used, in seconds since 1970.
        kept_by: What stands on it.
        goes: Why it goes; empty if it stays.
    """

    key: str
    n_bytes: int
    used_at: float
    kept_by: tuple[str, ...]
    goes: str = ""


@dataclass(frozen=True)
class Litter:
    """What a dead process, or an artefact found damaged, has left."""

    path: Path
    n_bytes: int
    why: str


@dataclass(frozen=True)
class Collection:
    """What goes, and what does not."""

    entries: tuple[Entry, ...]
    litter: tuple[Litter, ...]

    @property
    def going(self) -> list[Entry]:
        """Base models that go."""
        return [entry for entry in self.entries if entry.goes]

    @property
    def freed_bytes(self) -> int:
        """By all that goes."""
        return sum(entry.n_bytes for entry in self.going) + sum(item.n_bytes for item in self.litter)

    @property
    def left_bytes(self) -> int:
        """Of the base models that stay."""
        return sum(entry.n_bytes for entry in self.entries if not entry.goes)


def collect(store: BaseStore, folders: Iterable[Path], limits: Limits, *, remove: bool) -> Collection:
    """Find what of a store may go and, if asked to, remove it.

    Args:
        store: The store.
        folders: Where fine-tunings lie, beside the folders registered with the store.
        limits: What may be held.
        remove: Whether it is removed; else, nothing is touched.

    Raises:
        StoreError: There is no store.
        RootsError: It cannot be told what stands on what; nothing was touched.
    """
    if store.root.name == TUNINGS:
        raise RootsError(f"{store.root} holds fine-tunings, on which nothing stands: delete by hand what is not needed")
    now = time.time()
    keys, kept_by = store.keys(), reasons(store, folders)
    entries = [_entry(store, key, kept_by) for key in keys]
    found = Collection(tuple(_judged(entries, limits, now)), tuple(_litter(store.root, limits, now)))
    if not remove:
        return found
    for item in found.litter:
        _remove_tree(item.path)
    return replace(found, entries=tuple(_discarded(store, entry) if entry.goes else entry for entry in found.entries))


def _discarded(store: BaseStore, entry: Entry) -> Entry:
    """Remove a base model, unless it was used since it was judged.

    Its name goes first, in one step, so that no reader meets the half of it; what is left of a kill then is litter.
    """
    folder = store.folder(entry.key)
    if folder.stat().st_mtime != entry.used_at:
        return replace(entry, goes="")
    waste = store.root / BUILDING / f"{entry.key}.gone-{secrets.token_hex(8)}"
    waste.parent.mkdir(exist_ok=True)
    folder.rename(waste)
    _remove_tree(waste)
    return entry


def _entry(store: BaseStore, key: str, kept_by: Mapping[str, list[str]]) -> Entry:
    folder = store.folder(key)
    return Entry(key, n_bytes(folder), folder.stat().st_mtime, tuple(kept_by.get(key, ())))


def _judged(entries: list[Entry], limits: Limits, now: float) -> list[Entry]:
    """The same entries, those that go with the reason."""
    judged, size = {}, sum(entry.n_bytes for entry in entries)
    for entry in sorted(entries, key=lambda entry: (entry.used_at, entry.key)):
        unused_s = now - entry.used_at
        why = ""
        if not entry.kept_by and unused_s > _IN_HAND_S:
            if unused_s > limits.unused_days * DAY_S:
                why = f"not used for {unused_s / DAY_S:.0f} days"
            elif limits.max_gb is not None and size > limits.max_gb * 1e9:
                why = f"longest unused of a store above {limits.max_gb:g} GB"
        size -= entry.n_bytes if why else 0
        judged[entry.key] = replace(entry, goes=why)
    return [judged[entry.key] for entry in entries]


def _litter(root: Path, limits: Limits, now: float) -> Iterator[Litter]:
    for attempt in (*attempts(root), *attempts(root / TUNINGS)):
        if attempt.is_dead and attempt.holder is not None:
            yield Litter(attempt.folder, n_bytes(attempt.folder), f"left by {attempt.holder}, which is dead")
        elif now - _last_change(attempt.folder) > DAY_S:
            yield Litter(attempt.folder, n_bytes(attempt.folder), "left by a process that was silent for a day")
    for path in sorted((*(root / CORRUPT).glob("*"), *(root / TUNINGS / CORRUPT).glob("*"))):
        if now - path.stat().st_ctime > limits.unused_days * DAY_S:
            yield Litter(path, n_bytes(path), f"damaged, and set aside more than {limits.unused_days:g} days ago")


def _last_change(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def _remove_tree(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:  # another collector is at the same
        shutil.rmtree(folder, ignore_errors=True)
