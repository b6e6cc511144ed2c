"""What a store asks of its disk, local or shared: names as they are now, content that outlives a power cut."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

_NO_ROOM = (ENOSPC, EDQUOT, EFBIG)


class NoRoomError(ValueError):
    """The disk of a store is full."""


class DiskError(OSError, ValueError):
    """The disk of a store does not take what is to be written; like any error of a disk, it may pass."""


def is_there(path: Path) -> bool:
    """Whether a name stands in its folder at this moment, for other machines too.

    An NFS client answers for up to a minute from memory that a name is missing, unless the folder was opened: then it
    asks the server (close-to-open consistency, nfs(5)).
    """
    try:
        os.close(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return path.exists()


def sync_tree(folder: Path) -> None:
    """Let all files and names below a folder reach the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is inside before what it is in
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Let a file's content, or a folder's names, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def n_bytes(folder: Path) -> int:
    """Of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def is_same(path: Path, descriptor: int) -> bool:
    """Whether a name still is that of an open file or folder."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def refusal_told(root: Path, what: str) -> Iterator[None]:
    """Tell in a sentence why ``what`` cannot be written into the store at ``root``."""
    with room_told(root, what):
        try:
            yield
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise
            raise DiskError(
                f"{what} cannot be written into the store {root} ({error}): see to its disk and its permissions, or "
                "only read from it (read_only)"
            ) from error


@contextmanager
def room_told(root: Path, what: str) -> Iterator[None]:
    """Tell in a sentence that there is no room for ``what`` in the store at ``root``; hand on any other error."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        free = shutil.disk_usage(next(path for path in (root, *root.parents) if path.exists())).free / 2**20
        raise NoRoomError(
            f"there is no room for {what} in the store {root} ({error}; {free:,.1f} MiB free): nothing of it is kept; "
            "make room, then give the same command again"
        ) from error
