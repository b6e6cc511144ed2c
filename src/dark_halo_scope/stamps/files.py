"""Where the parquet files of a dataset lie, locally or on S3, and how one is opened."""

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from dark_halo_scope.stamps.cache import FileCache, RemoteFile
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.remote import DEFAULT_RETRY, RetryingFile, RetryPolicy, with_timeouts

_T = TypeVar("_T")


@dataclass(frozen=True)
class StampFiles:
    """The parquet files below a root, sorted by name relative to it.

    Attributes:
        root: The root as given, for messages.
        names: Names relative to the root, which stay the same when the dataset moves.
        paths: The same files as the filesystem knows them.
        sizes: Bytes of each.
        mtimes_ns: When each was changed, if the filesystem knows it.
        retry: How often remote reads are tried.
        cache: Where copies of remote files lie, if they are kept.
    """

    root: str
    filesystem: fs.FileSystem
    names: tuple[str, ...]
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    mtimes_ns: tuple[int | None, ...]
    retry: RetryPolicy
    cache: FileCache | None = None

    @classmethod
    def find(cls, root: str, retry: RetryPolicy = DEFAULT_RETRY) -> "StampFiles":
        """List the parquet files of ``root``: a folder, a single file, or a URI such as ``s3://bucket/folder``.

        S3 credentials, region and endpoint come from the usual environment variables and files (``AWS_PROFILE``,
        ``AWS_ENDPOINT_URL`` ...); an endpoint may also stand in the URI
        (``s3://bucket/folder?endpoint_override=localhost:9000&scheme=http``). Files and folders whose name begins
        with ``.`` or ``_`` are not data.

        Raises:
            ContractError: When the root does not exist, holds no parquet, or carries credentials.
            RemoteReadError: When it cannot be listed.
        """
        filesystem, base = _open_root(root, retry)
        what = f"the list of data.root {root}"
        info = retry.run(what, lambda: filesystem.get_file_info(base))
        if info.type == fs.FileType.Directory:
            found = retry.run(what, lambda: filesystem.get_file_info(fs.FileSelector(base, recursive=True)))
            folder = base
        else:
            found, folder = [info], str(PurePosixPath(base).parent)
        if info.type == fs.FileType.NotFound:
            raise ContractError(f"data.root {root} does not exist; give the folder, file or s3:// URI of the dataset")
        names = {str(PurePosixPath(f.path).relative_to(folder)): f for f in found if f.type == fs.FileType.File}
        kept = {name: names[name] for name in sorted(names) if _is_data(name)}
        if not kept:
            raise ContractError(f"data.root {root} holds no .parquet file; give the folder that holds them")
        return cls(
            root=root,
            filesystem=filesystem,
            names=tuple(kept),
            paths=tuple(f.path for f in kept.values()),
            sizes=tuple(f.size for f in kept.values()),
            mtimes_ns=tuple(f.mtime_ns for f in kept.values()),
            retry=retry,
        )

    @property
    def is_local(self) -> bool:
        """Whether the files can be mapped into memory."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def read_beside(self, name: str) -> bytes | None:
        """The content of a file that lies with the data without being data, if it is there."""
        path = self.paths[0].removesuffix(self.names[0]) + name

        def read() -> bytes | None:
            if self.filesystem.get_file_info(path).type != fs.FileType.File:
                return None
            with self.filesystem.open_input_file(path) as file:
                return file.read()

        return self.retry.run(name, read)

    def source(self, number: int) -> pa.NativeFile:
        """Open file ``number`` for reading at any position.

        A local one is mapped into memory; a remote one is read from its copy in the cache, if there is one, or with
        retries from where it lies.

        Raises:
            ContractError: When a local one was changed or removed since it was listed.
        """
        if self.is_local:
            return self._opened(number, pa.memory_map)
        return pa.PythonFile(self._counted(number), mode="r")

    def map(self, number: int) -> mmap.mmap | None:
        """File ``number`` mapped into memory, itself or its copy in the cache; None if it is on no disk here.

        Raises:
            ContractError: When a local one was changed or removed since it was listed.
        """
        if self.is_local:
            return self._opened(number, _map)
        if not self.cache or not (copy := self.cache.open(remote := self.remote(number), _map)):
            return None
        self.cache.counts.add("hits")
        # What is read of a map, and when, is the system's affair; and it is mapped anew whenever it is needed again.
        self.cache.counts.add_once("bytes_from_cache", remote.key, remote.size)
        return copy

    def remote(self, number: int) -> RemoteFile:
        """File ``number`` as the cache knows it."""
        path = self.paths[number]
        return RemoteFile(
            uri=_address(self.root) + path,
            size=self.sizes[number],
            mtime_ns=self.mtimes_ns[number],
            open=lambda: self.filesystem.open_input_file(path),
        )

    def _counted(self, number: int) -> RetryingFile:
        file, cache = self.remote(number), self.cache
        copy = cache.open(file, pa.memory_map) if cache else None

        def count(n_bytes: int) -> None:
            if cache:
                cache.counts.add("bytes_from_cache" if copy else "bytes_from_remote", n_bytes)

        if cache:
            cache.counts.add("hits" if copy else "misses")
        open_file = (lambda: copy) if copy else file.open
        return RetryingFile(self.names[number], file.size, open_file, self.retry, count)

    def check_unchanged(self) -> None:
        """Look whether the local files, where they stay open, are still those that were listed.

        Raises:
            ContractError: When one was changed or removed.
        """
        if self.is_local:
            for number in range(len(self.paths)):
                self._check_unchanged(number)

    def _opened(self, number: int, open_file: Callable[[str], _T]) -> _T:
        try:
            file = open_file(self.paths[number])
        except FileNotFoundError:
            self._check_unchanged(number)
            raise
        self._check_unchanged(number)  # in this order no change slips in between
        return file

    def _check_unchanged(self, number: int) -> None:
        """A local file must be the one listed: in another, the row numbers may name other stamps."""
        path = self.paths[number]
        try:
            found = os.stat(path)
        except FileNotFoundError as error:
            raise ContractError(f"{path} was removed since it was indexed; copy it back, then resume") from error
        listed, now = (self.sizes[number], self.mtimes_ns[number]), (found.st_size, found.st_mtime_ns)
        if now != listed:
            raise ContractError(
                f"{path} changed since it was indexed (size and time of change, in ns: {listed} then, {now} now); "
                "start again, from an index of the files as they are, or copy the old one back before"
            )

    def parquet(self, number: int, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
        """Open file ``number`` as parquet; known ``metadata`` spare a reading of the footer.

        Raises:
            ContractError: When it is no parquet file, or not a whole one, or not the one that was listed.
        """
        try:
            # Fewer, larger requests pay on a network; on a memory map they would only copy.
            return pq.ParquetFile(self.source(number), metadata=metadata, pre_buffer=not self.is_local)
        except (pa.ArrowInvalid, OSError) as error:
            raise ContractError(
                f"{self.names[number]} ({self.sizes[number]} bytes) is no readable parquet file: {error}; it was cut "
                "short or overwritten: copy it again from its source"
            ) from error


def _map(path: str) -> mmap.mmap:
    with Path(path).open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _open_root(root: str, retry: RetryPolicy) -> tuple[fs.FileSystem, str]:
    if "://" not in root:
        return fs.LocalFileSystem(), str(Path(root).expanduser().absolute())
    if "@" in urlsplit(root).netloc:
        raise ContractError(
            "data.root carries credentials, which would be written to the log; "
            "give them by environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or AWS_PROFILE"
        )
    bare = root.split("?")[0]  # a part that pyarrow refuses may be a secret
    try:
        filesystem, path = retry.run(bare, lambda: fs.FileSystem.from_uri(root))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ContractError(f"data.root {bare} cannot be opened ({error})") from error
    return with_timeouts(filesystem), path.rstrip("/")


def _address(root: str) -> str:
    """Scheme and endpoint, which say with a path what a remote file is."""
    parts = urlsplit(root)
    named = parse_qs(parts.query).get("endpoint_override", [""])[0]
    endpoint = named or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    host = (urlsplit(endpoint).netloc or endpoint).rpartition("@")[2]
    return f"{parts.scheme}://{host}/" if host else f"{parts.scheme}://"


def _is_data(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".parquet" and not any(part.startswith((".", "_")) for part in path.parts)
