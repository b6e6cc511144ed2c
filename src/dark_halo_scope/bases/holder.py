"""Who holds a lease, and whether that process is proven to be dead: see `lease`."""

import contextlib
import fcntl
import io
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from dark_halo_scope.bases.disk import is_same
from dark_halo_scope.monitoring.process import ProcessName

HOLDER = "holder.json"  # in the folder of a lease

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LONGEST_BYTES = 4096


@dataclass(frozen=True)
class Holder:
    """What a lease says of who holds it.

    Attributes:
        host: Name of its machine, for people.
        pid: Number of its process there, for people.
        since: Seconds since 1970 by its clock, for people.
        boot_id: Of the kernel that it runs on.
        locked: Whether it could lock the file.
    """

    host: str
    pid: int
    since: float
    boot_id: str
    locked: bool

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @classmethod
    def sign(cls, lease: Path) -> io.FileIO:
        """Write into a lease that this process holds it; the open file, locked where the disk knows locks."""
        file = io.FileIO(lease / HOLDER, "x")
        with contextlib.ExitStack() as undo:
            undo.enter_context(file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except OSError:  # a disk without locks says so in one of several ways
                locked = False
            own = ProcessName.own()
            holder = cls(own.host, own.pid, time.time(), _boot_id(), locked)
            file.write(json.dumps(asdict(holder)).encode())
            os.fsync(file.fileno())
            undo.pop_all()
        return file

    @classmethod
    def read(cls, file: io.FileIO) -> "Holder | None":
        """Who holds a lease, from its open file; None where a full disk or a power cut left it without a word."""
        try:
            return cls(**json.loads(os.pread(file.fileno(), _LONGEST_BYTES, 0)))
        except (ValueError, TypeError):
            return None

    def is_dead(self, lease: Path, file: io.FileIO) -> bool:
        """Whether its death is proven: its lock can be had, on the kernel that it took it on.

        The lock asked for is a shared one: an NFS client gives no other on a file opened for reading, and to write into
        another user's lease may not be allowed.
        """
        if not self.locked or self.boot_id != _boot_id():
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        return is_same(lease / HOLDER, file.fileno())  # else it was given back between opening and locking


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()
