"""A content-addressed store of artefacts: one folder a key, whole and verified, or not there.

    <root>/<key>/      spec.json, manifest.json, weights.pt and whatever else its training left
    <root>/building/   leases and workspaces of what is in the making
    <root>/corrupt/    what was found damaged, kept to be looked at
    <root>/pins/       keys that are never collected, and why: see `roots` for this and the next two
    <root>/roots/      folders whose fine-tunings stand on keys of this store
    <root>/tunings/    a store of its own, for fine-tunings

An artefact is built in a workspace, brought to the disk (fsync), and renamed to its key, which a folder with content
there refuses: so a key never holds half of anything, and of two that make the same, the first stays and the other's is
dropped. That needs no `lease`, which only saves the other the work. Nothing but the collector takes a sound artefact
away.
"""

import contextlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dark_halo_scope.bases.base import Base, Spec
from dark_halo_scope.bases.canonical import content_key, is_key
from dark_halo_scope.bases.disk import is_same, is_there, refusal_told, room_told, sync, sync_tree
from dark_halo_scope.bases.lease import Beat, Lease, take
from dark_halo_scope.bases.manifest import DamagedError, check

if TYPE_CHECKING:
    from dark_halo_scope.bases.remote import RemoteStore

log = logging.getLogger(__name__)

BUILDING = "building"
CORRUPT = "corrupt"

_S = TypeVar("_S", bound=Spec)


class StoreError(ValueError):
    """A store that cannot be used as asked."""


class MissingBaseError(StoreError):
    """A base model that is not there and may not be made here."""


class BaseStore:
    """The artefacts below a folder, as one process sees them.

    Args:
        root: Folder on a local or shared disk; made when something is first built.
        remote: Address of a store to copy from what is missing here, such as ``s3://bucket/bases``: see `RemoteStore`.
        read_only: Whether nothing may be written: nothing is built, copied, or moved aside.
        beat: How processes that use the store show each other that they live.
    """

    def __init__(
        self, root: str | Path, *, remote: str | None = None, read_only: bool = False, beat: Beat | None = None
    ) -> None:
        if remote is not None and read_only:
            raise StoreError(f"the store {root} is read-only and can take no copies from {remote}: leave out one")
        self.root = Path(root).expanduser().absolute()
        self.read_only = read_only
        self._remote_uri = remote
        self._remote: RemoteStore | None = None
        self._beat = beat or Beat()
        self._verified: dict[str, tuple[int, Base]] = {}  # with the folder's inode

    def folder(self, key: str) -> Path:
        """Where an artefact lies if it is there."""
        return self.root / key

    def keys(self) -> list[str]:
        """Of all artefacts here, sorted.

        Raises:
            StoreError: There is no store.
        """
        if not self.root.is_dir():
            raise StoreError(f"there is no store at {self.root}: give the folder that base models were built in")
        return sorted(path.name for path in self.root.iterdir() if is_key(path.name))

    def where(self, key: str) -> Literal["here", "remote"] | None:
        """Where an artefact could be had without building it; nothing is verified yet."""
        if is_there(self.folder(key)):
            return "here"
        return "remote" if self._has_remote(key) else None

    def get(self, key: str) -> Base | None:
        """An artefact, all its bytes verified when this store first gives it out; None if there is none.

        A damaged one is moved aside, with a warning; what is missing is copied from the remote store, if that has it.

        Raises:
            NoRoomError, DiskError, WriteError: The disk does not take the copy.
            ManifestError: It was written by another version.
            RemoteReadError: The remote store cannot be read.
        """
        base = self._local(key)
        if base is None and self._has_remote(key):
            base = self._copy_in(key)
        return base

    def build(self, spec: _S, train: Callable[[_S, Path], dict[str, Any]]) -> Base:
        """The artefact of a spec, made if it is not there; waits while another process makes it.

        Args:
            spec: What determines it.
            train: Given the spec and an empty folder, leaves the artefact's files there (`base.save_weights`) and
                returns its metrics. What it raises is raised, and nothing is kept.

        Raises:
            MissingBaseError: It is missing from a read-only store.
            NoRoomError, DiskError, WriteError: The disk does not take it.
            ManifestError, RemoteReadError: See `get`.
        """
        key, text = spec.key(), spec.to_json()  # before anybody can change what is in it
        assert content_key(json.loads(text)) == key
        while (base := self.get(key)) is None:
            if self.read_only:
                raise MissingBaseError(
                    f"{key[:12]} is not in the store {self.root}, which is read-only: train it in a store that can be "
                    "written, and export it to this one"
                )
            with self._lease(key) as workspace:
                if workspace is not None and not is_there(self.folder(key)):
                    return self._make(spec, key, text, train, workspace)
        return base

    def check(self, key: str) -> str:
        """What is wrong with an artefact, found by reading all of it; empty if nothing. Nothing is moved.

        Raises:
            ManifestError: It was written by another version.
        """
        try:
            check(self.folder(key), key)
        except DamagedError as error:
            return str(error)
        return ""

    def find(self, prefix: str) -> str:
        """The one key that begins so.

        Raises:
            StoreError: There is none, or more than one.
        """
        keys = self.keys()
        found = [key for key in keys if key.startswith(prefix)]
        if len(found) != 1:
            several = f"{len(found)} base models begin with it: give more digits"
            raise StoreError(f"{prefix} in {self.root}: {several if found else 'there is no such base model'}")
        return found[0]

    def _local(self, key: str) -> Base | None:
        folder = self.folder(key)
        if not is_there(folder):
            return None
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            inode = os.fstat(descriptor).st_ino
            known = self._verified.get(key)
            base = known[1] if known and known[0] == inode else Base(key, folder, check(folder, key))
            self._verified[key] = inode, base
            with contextlib.suppress(OSError):  # another user's, or on a read-only disk: it ages from its making
                os.utime(descriptor)  # when it was last used, for the collector
            return base
        except (DamagedError, FileNotFoundError) as error:
            if is_same(folder, descriptor):  # else it was collected, or moved aside, while it was read
                self._set_aside(key, error)
            return None
        finally:
            os.close(descriptor)

    def _set_aside(self, key: str, fault: Exception) -> None:
        if self.read_only:
            log.warning("%s; the store is read-only, so it stays where it is, unused", fault)
            return
        aside = self.root / CORRUPT / f"{key}.{secrets.token_hex(4)}"
        with refusal_told(self.root, key[:12]):
            aside.parent.mkdir(exist_ok=True)
            self.folder(key).rename(aside)
        log.warning("%s; moved to %s", fault, aside)

    def _make(
        self, spec: _S, key: str, text: str, train: Callable[[_S, Path], dict[str, Any]], workspace: Path
    ) -> Base:
        from dark_halo_scope.bases.origin import seal

        started = datetime.now(UTC)
        with room_told(self.root, key[:12]):
            metrics = train(spec, workspace)
        if not any(workspace.iterdir()):
            raise StoreError(f"the training of {key[:12]} left no file: it must write what is to be kept")
        seal(workspace, key, text, metrics, started)
        return self._publish(key, workspace)

    def _publish(self, key: str, workspace: Path) -> Base:
        """Give a finished workspace its name, or drop it for the one that has it by now."""
        with refusal_told(self.root, key[:12]):
            sync_tree(workspace)
            while True:
                try:
                    workspace.rename(self.folder(key))
                except OSError:  # most likely, another's is there; or it is ours, and a file server lost the answer
                    if not is_there(self.folder(key)):
                        raise
                sync(self.root)
                if (base := self._local(key)) is not None:
                    return base

    @contextmanager
    def _lease(self, key: str) -> Iterator[Path | None]:
        """A workspace, while no other process makes the key; None once another has made it."""
        with refusal_told(self.root, key[:12]):
            self.root.mkdir(parents=True, exist_ok=True)
            lease: Lease | None = take(self.root / BUILDING, key, self._beat, lambda: is_there(self.folder(key)))
        if lease is None:
            yield None
            return
        with lease:
            yield lease.workspace

    def _has_remote(self, key: str) -> bool:
        if self._remote_uri is None:
            return False
        if self._remote is None:
            from dark_halo_scope.bases.remote import RemoteStore

            self._remote = RemoteStore(self._remote_uri)
        return self._remote.has(key)

    def _copy_in(self, key: str) -> Base | None:
        """Copy an artefact from the remote store; None where its copy there is damaged."""
        assert self._remote is not None
        with self._lease(key) as workspace:
            if workspace is None or is_there(self.folder(key)):
                return self._local(key)
            try:
                with refusal_told(self.root, key[:12]):
                    self._remote.fetch(key, workspace)
                check(workspace, key)
            except DamagedError as error:
                log.warning("the copy of %s in %s is not used: %s", key[:12], self._remote.uri, error)
                return None
            return self._publish(key, workspace)
