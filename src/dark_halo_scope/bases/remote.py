"""A store that is read from afar: S3, another disk, anything that pyarrow opens. Same folders, one a key.

Nothing there can be renamed in one step, so the manifest is written last and read first: what has none is not there.
"""

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from dark_halo_scope.bases.manifest import MANIFEST, DamagedError, Manifest
from dark_halo_scope.files import write_atomically
from dark_halo_scope.stamps.remote import DEFAULT_RETRY, RetryingFile, RetryPolicy, with_timeouts

_CHUNK = 16 << 20  # bytes of a request


class RemoteStoreError(ValueError):
    """A remote store that cannot be opened or written."""


class RemoteStore:
    """The artefacts below an address.

    Args:
        uri: A folder, or a URI such as ``s3://bucket/bases``; credentials and endpoint come from the environment, or
            the endpoint from the URI (``s3://bucket/bases?endpoint_override=localhost:9000&scheme=http``).
        retry: How often reads are tried.

    Raises:
        RemoteStoreError: On construction, when it cannot be opened.
    """

    def __init__(self, uri: str, retry: RetryPolicy = DEFAULT_RETRY) -> None:
        self.uri = uri.split("?")[0]  # the rest may hold a secret
        self._retry = retry
        self._writer, self._base = self._open(uri)
        self._reader = with_timeouts(self._writer)

    @property
    def folder(self) -> Path | None:
        """The store's folder, where it lies on a disk of this machine."""
        return Path(self._base) if isinstance(self._writer, fs.LocalFileSystem) else None

    def has(self, key: str) -> bool:
        """Whether an artefact of this name is there; its bytes are not verified yet.

        Raises:
            RemoteReadError: It cannot be asked.
        """
        return self._size(key, MANIFEST) is not None

    def fetch(self, key: str, folder: Path) -> None:
        """Copy an artefact into an empty folder, where its bytes are to be verified.

        Raises:
            DamagedError: It is not whole there.
            RemoteReadError: It cannot be read.
            OSError, WriteError: The disk does not take it.
        """
        text = self._file(key, MANIFEST, self._size(key, MANIFEST) or 0).read()
        for name, entry in Manifest.from_bytes(text, f"{self.uri}/{key}/{MANIFEST}").files.items():
            there = self._size(key, name)
            if there != entry["bytes"]:
                raise DamagedError(f"{name} has {'no' if there is None else there} bytes instead of {entry['bytes']}")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("wb") as file:
                shutil.copyfileobj(self._file(key, name, entry["bytes"]), file, _CHUNK)
        write_atomically(folder / MANIFEST, text)

    def put(self, key: str, folder: Path) -> None:
        """Write a verified artefact there.

        Raises:
            RemoteStoreError: It cannot be written.
        """
        try:
            for name in (*Manifest.read(folder).files, MANIFEST):
                with (folder / name).open("rb") as file, self._writer.open_output_stream(self._path(key, name)) as out:
                    shutil.copyfileobj(file, out, _CHUNK)
        except OSError as error:
            raise RemoteStoreError(
                f"{self.uri}/{key} cannot be written ({error}): check that the bucket is there and the credentials may "
                "write to it"
            ) from error

    def _open(self, uri: str) -> tuple[fs.FileSystem, str]:
        if "://" not in uri:
            return fs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
        if "@" in urlsplit(uri).netloc:
            raise RemoteStoreError(
                "the address of the remote store carries credentials, which would be written to the log; give them by "
                "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or AWS_PROFILE"
            )
        try:
            filesystem, path = self._retry.run(self.uri, lambda: fs.FileSystem.from_uri(uri))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise RemoteStoreError(f"the remote store {self.uri} cannot be opened ({error})") from error
        return filesystem, path.rstrip("/")

    def _path(self, key: str, name: str) -> str:
        return f"{self._base}/{key}/{name}"

    def _size(self, key: str, name: str) -> int | None:
        """Bytes of a file, None if it is not there."""
        path = self._path(key, name)
        info = self._retry.run(f"{self.uri}/{key}/{name}", lambda: self._reader.get_file_info(path))
        return int(info.size) if info.type == fs.FileType.File else None

    def _file(self, key: str, name: str, size: int) -> RetryingFile:
        path = self._path(key, name)
        return RetryingFile(
            f"{self.uri}/{key}/{name}",
            size,
            lambda: self._reader.open_input_file(path),
            self._retry,
            on_read=lambda n_bytes: None,
        )
