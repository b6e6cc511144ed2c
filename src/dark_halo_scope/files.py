"""Files that are either complete or absent, and their hashes."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any


class WriteError(ValueError):
    """The disk does not take a file: it is full, read-only or gone."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, on the disk before the old file goes.

    Raises:
        WriteError: The disk does not take it; what was there before is untouched.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(
            f"cannot write {path} ({len(content) / 2**20:.1f} MiB, {_free_mib(path)} MiB free on its disk): "
            f"{error.strerror}; what was there before is untouched: make room there, then resume"
        ) from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write standard JSON; NaN and infinity, which JSON does not know, are refused."""
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_at(descriptor: int, content: memoryview, position: int) -> None:
    """Write all of ``content`` into an open file; a system may take a part of it at a time."""
    left = content.cast("B")
    while left:
        n_written = os.pwrite(descriptor, left, position)
        position, left = position + n_written, left[n_written:]


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _free_mib(path: Path) -> str:
    existing = next(folder for folder in path.parents if folder.exists())
    return f"{shutil.disk_usage(existing).free / 2**20:.1f}"
