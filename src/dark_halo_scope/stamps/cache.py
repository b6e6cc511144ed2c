"""Whole remote files kept on a local disk: what is there, whether it is sound, and what it was good for.

A cached file is ``<key>.parquet``; ``<key>.json`` beside it says what it is a copy of, and its sha256. The key is a
hash of address, size and time of change, so that a changed remote file has another. Only whole, verified files ever
bear that name: see `download`. Nothing is evicted.
"""

import hashlib
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from dark_halo_scope.files import sha256

log = logging.getLogger(__name__)

VERIFICATIONS = ("size", "full")
_T = TypeVar("_T")


class CacheError(ValueError):
    """A cache that cannot be used as asked."""


@dataclass(frozen=True)
class CacheOptions:
    """Where remote files are kept and how many.

    Attributes:
        folder: Folder of the cache, best on a local NVMe disk; processes and runs share it.
        cap_gb: Most that the folder may hold, in units of 1e9 bytes.
        free_floor_gb: Least that must stay free on its disk.
        verify: What is checked when a process first opens a cached file: its ``size``, or its sha256 too (``full``).
        threads: Files that each process downloads at a time.
    """

    folder: str
    cap_gb: float = 900.0
    free_floor_gb: float = 20.0
    verify: str = "size"
    threads: int = 4

    def __post_init__(self) -> None:
        if self.verify not in VERIFICATIONS:
            raise CacheError(f"data.cache.verify={self.verify!r} is unknown; use {' or '.join(VERIFICATIONS)}")
        if self.threads < 1:
            raise CacheError(f"data.cache.threads={self.threads} must be at least 1")
        if min(self.cap_gb, self.free_floor_gb) < 0:
            raise CacheError("data.cache.cap_gb and data.cache.free_floor_gb must not be negative")


@dataclass(frozen=True)
class RemoteFile:
    """One version of a remote file.

    Attributes:
        uri: Address with the endpoint, without credentials.
        size: Bytes as listed.
        mtime_ns: Time of change as listed, if the filesystem knows it.
        open: Opens it.
    """

    uri: str
    size: int
    mtime_ns: int | None
    open: Callable[[], pa.NativeFile]

    @cached_property
    def key(self) -> str:
        """Its name in the cache."""
        return hashlib.sha256(f"{self.uri}\0{self.size}\0{self.mtime_ns}".encode()).hexdigest()[:32]


class Tally:
    """Counts that threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._once: set[tuple[str, str]] = set()

    def add(self, name: str, n: int = 1) -> None:
        """Add to one count."""
        with self._lock:
            self._counts[name] += n

    def add_once(self, name: str, key: str, n: int) -> None:
        """Add to one count for what ``key`` names, unless that was done before."""
        with self._lock:
            if (name, key) not in self._once:
                self._once.add((name, key))
                self._counts[name] += n

    def __getitem__(self, name: str) -> int:
        return self._counts[name]


class FileCache:
    """The cached files of one folder, as one process sees them.

    Attributes:
        options: Where and how much.
        counts: Since the start of the process: ``hits`` and ``misses`` (files opened from the cache and not),
            ``bytes_from_cache`` and ``bytes_from_remote`` (read by the stream; of a store file that is mapped all its
            bytes, once), ``bytes_downloaded`` (into the cache).
    """

    def __init__(self, options: CacheOptions) -> None:
        self.options = options
        self.counts = Tally()
        self.folder = Path(options.folder).expanduser()
        self._sound: set[str] = set()  # keys of files that this process has verified
        self._given_up: set[str] = set()  # of those that it can neither use nor remove

    def path(self, file: RemoteFile) -> Path:
        """Where a file lies once it is cached."""
        return self.folder / f"{file.key}.parquet"

    def note(self, file: RemoteFile) -> Path:
        """Where it is written what a cached file is."""
        return self.folder / f"{file.key}.json"

    def find(self, file: RemoteFile) -> Path | None:
        """The local copy of a file, if there is a sound one; a damaged one is removed, with a warning."""
        if file.key in self._given_up:
            return None
        path = self.path(file)
        try:
            fault = self._fault(file, path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up(file, f"cannot be read ({error.strerror})")
            return None
        if not fault:
            self._sound.add(file.key)
            return path
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # such as another user's
            self._give_up(file, f"{fault} and cannot be removed ({error.strerror})")
        else:
            log.warning("cache: %s, the copy of %s, %s; removed", path, file.uri, fault)
        return None

    def open(self, file: RemoteFile, open_file: Callable[[str], _T]) -> _T | None:
        """What ``open_file`` makes of the local copy of a file, if there is a sound one that can be opened."""
        path = self.find(file)
        try:
            return open_file(str(path)) if path else None
        except FileNotFoundError:  # removed since it was found
            return None
        except OSError as error:
            self._give_up(file, f"cannot be opened ({error})")
            return None

    def _give_up(self, file: RemoteFile, fault: str) -> None:
        """Leave a copy alone from now on."""
        self._given_up.add(file.key)
        log.warning("cache: %s, the copy of %s, %s; it is not used", self.path(file), file.uri, fault)

    def _fault(self, file: RemoteFile, path: Path) -> str:
        """What is wrong with a cached file, or nothing."""
        size = path.stat().st_size
        if size != file.size:
            return f"has {size} bytes instead of {file.size}"
        if self.options.verify == "size" or file.key in self._sound:
            return ""
        noted = self._sha256_noted(file)
        if noted is None:
            return "has no readable note of its sha256"
        return "" if sha256(path) == noted else "does not have the sha256 that it was written with"

    def _sha256_noted(self, file: RemoteFile) -> str | None:
        try:
            return json.loads(self.note(file).read_text())["sha256"]
        except (FileNotFoundError, ValueError, LookupError, TypeError):  # gone, no JSON, or not as we write it
            return None
