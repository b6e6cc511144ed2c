"""One remote file into the cache: whole and verified, or not at all, whoever else is at it and whenever it is killed.

Who downloads a file holds a lock (flock) on ``<key>.partial``, which the system lets go when the process dies, however
it dies. Room for the whole file is taken before its first byte, under the lock of the folder, so that processes side by
side cannot pass the cap together.
"""

import fcntl
import hashlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path

from dark_halo_scope.files import write_at, write_json
from dark_halo_scope.stamps.cache import FileCache, RemoteFile
from dark_halo_scope.stamps.remote import RemoteReadError, RetryingFile, RetryPolicy, sleep_until

log = logging.getLogger(__name__)

_TAKES_ROOM = (".parquet", ".partial")
_CHUNK = 16 << 20  # bytes of a request: long beside its latency, short beside the patience of whoever stops the thread


class Outcome(Enum):
    """How an attempt to cache a file ended."""

    CACHED = auto()
    BUSY = auto()  # another process or thread is at it
    NO_ROOM = auto()


class Downloader:
    """Downloads files into ``cache``; safe to call from threads.

    Args:
        cache: Where to.
        retry: How often to try each read.
        stop: Once set, downloads end at their next chunk and leave nothing.
    """

    def __init__(self, cache: FileCache, retry: RetryPolicy, stop: threading.Event) -> None:
        self._cache = cache
        self._retry = retry
        self._pause = sleep_until(stop)
        self._etag_may_be_md5 = True

    def download(self, file: RemoteFile) -> Outcome:
        """Cache a file unless it is cached already, somebody else is at it, or there is no room.

        Raises:
            RemoteReadError: When it cannot be read, or comes differently each time.
            StoppedError: When it was stopped; nothing is left of it.
            OSError, WriteError: When the disk does not take it.
        """
        if self._cache.find(file):
            return Outcome.CACHED
        partial = self._cache.folder / f"{file.key}.partial"
        with _locked(partial) as descriptor:
            if descriptor is None:
                return Outcome.BUSY
            whole = False
            try:
                if self._cache.find(file):  # somebody finished it between the look and the lock
                    return Outcome.CACHED
                if not self._take_room(descriptor, file.size):
                    return Outcome.NO_ROOM
                digest = self._verified_copy(file, descriptor)
                os.fsync(descriptor)
                note = {"uri": file.uri, "size": file.size, "mtime_ns": file.mtime_ns, "sha256": digest}
                write_json(self._cache.note(file), note)  # before the file that it speaks of
                with self._room():
                    partial.rename(self._cache.path(file))
                whole = True
            finally:
                if not whole:
                    partial.unlink()  # while it is ours
        _sync(self._cache.folder)
        return Outcome.CACHED

    def _take_room(self, descriptor: int, size: int) -> bool:
        """Reserve the bytes on the disk, if cap and floor allow it."""
        options, folder = self._cache.options, self._cache.folder
        with self._room():
            os.ftruncate(descriptor, 0)
            used = sum(_size(path) for path in folder.iterdir() if path.suffix in _TAKES_ROOM)
            free = shutil.disk_usage(folder).free
            if used + size > options.cap_gb * 1e9 or free - size < options.free_floor_gb * 1e9:
                return False
            os.posix_fallocate(descriptor, 0, size)
        return True

    @contextmanager
    def _room(self) -> Iterator[None]:
        """While no other process takes room or gives a file its last name."""
        with (self._cache.folder / "room.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _verified_copy(self, file: RemoteFile, descriptor: int) -> str:
        """Copy the file; its sha256."""
        first = self._copy(file, descriptor)
        if first.agrees or not self._etag_may_be_md5:
            return first.sha256
        again = self._copy(file, descriptor)
        if not again.agrees:
            if again.sha256 != first.sha256:
                raise RemoteReadError(f"{file.uri} came with other content each of two times; check the network")
            self._etag_may_be_md5 = False
            log.info("cache: the ETag of %s is no MD5 (as with server-side keys) and is not compared", file.uri)
        return again.sha256

    def _copy(self, file: RemoteFile, descriptor: int) -> "_Digest":
        source = RetryingFile(file.uri, file.size, file.open, self._retry, self._count, self._pause)
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        while source.tell() < file.size:
            self._pause(0)
            position = source.tell()
            chunk = memoryview(source.read_buffer(_CHUNK))
            sha256.update(chunk)
            md5.update(chunk)
            write_at(descriptor, chunk, position)
        return _Digest(sha256.hexdigest(), md5.hexdigest(), source.etag)

    def _count(self, n_bytes: int) -> None:
        self._cache.counts.add("bytes_downloaded", n_bytes)


class _Digest:
    """What a copy hashes to, and whether the ETag (an MD5, where a file was uploaded in one part) bears it out."""

    def __init__(self, sha256: str, md5: str, etag: str) -> None:
        self.sha256 = sha256
        self.agrees = md5 == etag or not re.fullmatch("[0-9a-f]{32}", etag)


def sweep(folder: Path) -> None:
    """Remove what downloaders left that did not live to finish."""
    for partial in folder.glob("*.partial"):
        with _locked(partial) as descriptor:
            if descriptor is not None:
                partial.unlink()


@contextmanager
def _locked(partial: Path) -> Iterator[int | None]:
    """A descriptor of the file with its lock, or None while it is another's."""
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor if _lock(descriptor, partial) else None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, partial: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking, its owner may have finished: then this is the cached file, not a partial one.
        return os.path.samestat(partial.stat(), os.fstat(descriptor))
    except (BlockingIOError, FileNotFoundError):
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # given up by its downloader meanwhile
        return 0


def _sync(folder: Path) -> None:
    """Let the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
