"""Where the parquet files of a dataset lie, locally or on S3, and how one is opened."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from dark_halo_scope.stamps.contract import ContractError


@dataclass(frozen=True)
class StampFiles:
    """The parquet files below a root, sorted by name relative to it.

    Attributes:
        root: The root as given, for messages.
        names: Names relative to the root, which stay the same when the dataset moves.
        paths: The same files as the filesystem knows them.
        sizes: Bytes of each.
    """

    root: str
    filesystem: fs.FileSystem
    names: tuple[str, ...]
    paths: tuple[str, ...]
    sizes: tuple[int, ...]

    @classmethod
    def find(cls, root: str) -> "StampFiles":
        """List the parquet files of ``root``: a folder, a single file, or a URI such as ``s3://bucket/folder``.

        S3 credentials, region and endpoint come from the usual environment variables and files (``AWS_PROFILE``,
        ``AWS_ENDPOINT_URL`` ...); an endpoint may also stand in the URI
        (``s3://bucket/folder?endpoint_override=localhost:9000&scheme=http``). Files and folders whose name begins
        with ``.`` or ``_`` are not data.

        Raises:
            ContractError: When the root does not exist, cannot be listed, holds no parquet, or carries credentials.
        """
        filesystem, base = _open_root(root)
        try:
            info = filesystem.get_file_info(base)
            if info.type == fs.FileType.Directory:
                found = filesystem.get_file_info(fs.FileSelector(base, recursive=True))
            else:
                found, base = [info], str(PurePosixPath(base).parent)
        except OSError as error:
            raise ContractError(f"data.root {root} cannot be listed ({error})") from error
        if info.type == fs.FileType.NotFound:
            raise ContractError(f"data.root {root} does not exist; give the folder, file or s3:// URI of the dataset")
        names = {str(PurePosixPath(f.path).relative_to(base)): f for f in found if f.type == fs.FileType.File}
        kept = {name: names[name] for name in sorted(names) if _is_data(name)}
        if not kept:
            raise ContractError(f"data.root {root} holds no .parquet file; give the folder that holds them")
        return cls(
            root=root,
            filesystem=filesystem,
            names=tuple(kept),
            paths=tuple(f.path for f in kept.values()),
            sizes=tuple(f.size for f in kept.values()),
        )

    @property
    def _is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def source(self, number: int) -> pa.NativeFile:
        """Open file ``number`` for reading at any position; a local one is mapped into memory."""
        if self._is_local:
            return pa.memory_map(self.paths[number])
        return self.filesystem.open_input_file(self.paths[number])

    def parquet(self, number: int, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
        """Open file ``number`` as parquet; known ``metadata`` spare a reading of the footer.

        Raises:
            ContractError: When it is no parquet file, or not a whole one.
        """
        try:
            # Fewer, larger requests pay on a network; on a memory map they would only copy.
            return pq.ParquetFile(self.source(number), metadata=metadata, pre_buffer=not self._is_local)
        except (pa.ArrowInvalid, OSError) as error:
            raise ContractError(
                f"{self.names[number]} ({self.sizes[number]} bytes) is no readable parquet file: {error}; it was cut "
                "short or overwritten: copy it again from its source"
            ) from error


def _open_root(root: str) -> tuple[fs.FileSystem, str]:
    if "://" not in root:
        return fs.LocalFileSystem(), str(Path(root).expanduser().absolute())
    if "@" in urlsplit(root).netloc:
        raise ContractError(
            "data.root carries credentials, which would be written to the log; "
            "give them by environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or AWS_PROFILE"
        )
    try:
        filesystem, path = fs.FileSystem.from_uri(root)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise ContractError(f"data.root {root} cannot be opened ({error})") from error
    return filesystem, path.rstrip("/")


def _is_data(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".parquet" and not any(part.startswith((".", "_")) for part in path.parts)
