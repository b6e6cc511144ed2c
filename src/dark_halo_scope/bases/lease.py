"""Who is building a key, so that nobody else spends hours on the same.

A lease saves work and nothing more: that a key holds one whole artefact is the doing of the rename in `store` alone, so
whatever fails here costs at worst a second training, whose result is dropped. What a lease has to do is two things: as
long as its holder lives, keep others waiting; once it is dead, however it died, let one of them on.

It is a folder, ``<key>.<number>``, with a file that says who holds it and a workspace. It is made under another name
and renamed, which a local or shared disk refuses where such a folder is: one taker gets it, and nobody ever sees one
that does not say whose it is. Whether its holder lives is judged by two signs:

- The holder keeps a lock (flock) on the file. The kernel lifts it with the process, so on the same kernel, known by its
  boot id, a lock that can be had proves the holder dead, at once and without a clock, in whatever container it ran.
  From another kernel it proves nothing: some shared disks keep locks to the machine, some refuse them. There, and where
  the holder could not lock, the lock is not asked.
- The holder sets the file's time every few seconds. Who waits looks whether that time *changes*, by a monotonic clock
  of its own: times of two machines are never compared, so clocks may disagree. No change for `Beat.dead_after_s` counts
  as death. It is the only sign from another machine, or of a process that hangs, and the last one where a lock outlives
  its holder in a child that it forked or on a file server.

Both fail towards waiting, but for a holder that is stopped for longer than `dead_after_s` and goes on afterwards: then
two train, and the rename in `store` decides.

A dead one's lease is followed, not taken away and made again, which two could do to each other: who makes the folder of
the next number holds the key next. The holder of a key is that of the highest number. As somebody quicker may have come
and gone between the look at a lease and the making of the next, who has made it looks again: it holds the key only if
its number is the highest, and what it follows is still there; else it gives its own back and begins anew. The folder of
a proven dead is removed by its follower; that of one that is only silent stays, since its holder may come back to its
workspace.

A file on NFS is opened, and a folder listed, before its times and names are believed, which makes the client ask the
server: see `disk.is_there`.
"""

import contextlib
import io
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from errno import EEXIST, ENOTEMPTY
from pathlib import Path
from types import TracebackType

from dark_halo_scope.bases.disk import is_same
from dark_halo_scope.bases.holder import HOLDER, Holder

log = logging.getLogger(__name__)

_WORKSPACE = "work"
_SHORTEST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True)
class Beat:
    """How a holder shows that it lives; the same for all who use a store.

    Attributes:
        every_s: Seconds between two signs.
        dead_after_s: Seconds without one after which it counts as dead.
    """

    every_s: float = 10.0
    dead_after_s: float = 120.0


class Lease:
    """A key held by this process until the end of a `with` block.

    Attributes:
        workspace: Empty folder to build in, removed at the end if it is still there.
    """

    def __init__(self, folder: Path, file: io.FileIO, beat: Beat) -> None:
        self.workspace = folder / _WORKSPACE
        self._folder = folder
        self._file = file
        self._beat = beat
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._show_life, daemon=True, name="lease")

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self.give_back()

    def give_back(self) -> None:
        """Let another have it; the end of the `with` block does this."""
        with self._file:  # closed after it is gone: a free lock on one that is there means death
            if self.workspace.exists():
                shutil.rmtree(self.workspace)
            (self._folder / HOLDER).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # on NFS, who looks at the file keeps it; a lease without it is nobody's
            self._folder.rmdir()

    def _show_life(self) -> None:
        while not self._end.wait(self._beat.every_s):
            try:
                os.utime(self._file.fileno())
            except OSError as error:  # such as a file server that is gone
                log.warning("%s cannot be kept (%s): another process may train the same", self._folder, error)
                return


def take(folder: Path, key: str, beat: Beat, is_made: Callable[[], bool]) -> Lease | None:
    """Wait for the lease of a key, or until another holder has made what it is for.

    Args:
        folder: Of leases, on the disk of the store.
        key: What is to be made.
        beat: See `Beat`.
        is_made: Whether it is there by now. Look again once the lease is held: it may have come in between.

    Returns:
        The lease, to be entered at once; None once `is_made`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    watch, pause_s = _Watch(key, beat), _SHORTEST_PAUSE_S
    while not is_made():
        number = _newest(folder, key)
        lease = _follow(folder, key, number, watch) if number else _create(folder, key, 1, beat, lambda: True)
        if lease is not None:
            return lease
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return None


class _Watch:
    """For how long a lease has shown no life, by the clock of who looks."""

    def __init__(self, key: str, beat: Beat) -> None:
        self.beat = beat
        self._key = key
        self._seen: tuple[int, int] | None = None
        self._since = 0.0
        self._told: Holder | None = None

    def is_silent(self, file: io.FileIO) -> bool:
        status, now = os.fstat(file.fileno()), time.monotonic()
        if (status.st_ino, status.st_mtime_ns) != self._seen:
            self._seen, self._since = (status.st_ino, status.st_mtime_ns), now
        return now - self._since > self.beat.dead_after_s

    def tell(self, holder: Holder | None) -> None:
        if holder != self._told:
            log.info("%s is being made by %s: waiting for it", self._key[:12], holder)
            self._told = holder


def _newest(folder: Path, key: str) -> int:
    """Number of the lease of a key, 0 if it has none."""
    suffixes = [path.name.rpartition(".")[2] for path in folder.glob(f"{key}.*")]
    return max((int(suffix) for suffix in suffixes if suffix.isdecimal()), default=0)


def _create(folder: Path, key: str, number: int, beat: Beat, is_next: Callable[[], bool]) -> Lease | None:
    """The lease of this number; None if another has it, or a later one, or if it is not the next any more."""
    unnamed, path = folder / f"{key}.new-{secrets.token_hex(8)}", folder / f"{key}.{number}"
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, unnamed, ignore_errors=True)
        (unnamed / _WORKSPACE).mkdir(parents=True)
        file = undo.enter_context(Holder.sign(unnamed))
        try:
            unnamed.rename(path)
        except OSError as error:
            if error.errno in (ENOTEMPTY, EEXIST):
                return None
            raise
        undo.pop_all()
    lease = Lease(path, file, beat)
    if is_next() and _newest(folder, key) == number:
        return lease
    lease.give_back()
    return None


def _follow(folder: Path, key: str, number: int, watch: _Watch) -> Lease | None:
    """The lease after a dead holder's; None while the holder may live, or where another was first to follow."""
    path = folder / f"{key}.{number}"
    try:
        file = io.FileIO(path / HOLDER)
    except FileNotFoundError:  # given back, but for the folder
        return _create(folder, key, number + 1, watch.beat, lambda: path.exists() and not (path / HOLDER).exists())
    with file:
        holder = Holder.read(file)
        is_dead = holder is not None and holder.is_dead(path, file)
        is_silent = watch.is_silent(file)
        if not (is_dead or is_silent):
            watch.tell(holder)
            return None
        lease = _create(folder, key, number + 1, watch.beat, lambda: is_same(path / HOLDER, file.fileno()))
    if lease is not None:
        state = "is dead" if is_dead else "has shown no life for long"
        log.warning("%s was being made by %s, which %s: begun anew", key[:12], holder, state)
        if is_dead:
            shutil.rmtree(path, ignore_errors=True)  # another user's may have to stay
    return lease
