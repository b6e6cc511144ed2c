"""Fills the cache ahead of need, in threads beside the stream."""

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from dark_halo_scope.files import WriteError
from dark_halo_scope.stamps import plan
from dark_halo_scope.stamps.cache import CacheError, FileCache, RemoteFile
from dark_halo_scope.stamps.download import Downloader, Outcome, sweep
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.remote import RemoteReadError, RetryPolicy, StoppedError

log = logging.getLogger(__name__)

_WAIT_FOR_OTHERS_S = 0.5


class Prefetch:
    """Downloads ``files`` one after the other, several at a time, until all are cached or there is no more room.

    What cannot be downloaded is streamed, as if there were no cache. Processes that share the folder share the work.

    Args:
        cache: Where to.
        files: In the order in which they will be needed.
        retry: How often to try each read.
    """

    def __init__(self, cache: FileCache, files: Sequence[RemoteFile], retry: RetryPolicy) -> None:
        self._cache = cache
        self._todo = deque(files)
        self._retry = retry
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._n_busy = 0  # files in a row that others were at
        self._is_full = False

    def start(self) -> None:
        """Begin, or go on after `stop`.

        Raises:
            CacheError: When the folder cannot be written.
        """
        if self._threads:
            return
        try:
            self._cache.folder.mkdir(parents=True, exist_ok=True)
            sweep(self._cache.folder)
        except OSError as error:
            raise CacheError(
                f"data.cache.folder={self._cache.folder} cannot be written ({error.strerror}); "
                "choose another, or data.cache=null to read from the remote only"
            ) from error
        self._stop.clear()
        downloader = Downloader(self._cache, self._retry, self._stop)
        self._threads = [
            threading.Thread(target=self._work, args=[downloader.download], name=f"cache-{k}", daemon=True)
            for k in range(self._cache.options.threads)
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self.stop)  # before the S3 client is shut down under the threads

    def stop(self) -> None:
        """End the threads; an unfinished download is given up."""
        self._stop.set()
        self.wait()
        self._threads = []
        atexit.unregister(self.stop)

    def wait(self) -> None:
        """Until all is done."""
        for thread in self._threads:
            thread.join()

    def _work(self, download: Callable[[RemoteFile], Outcome]) -> None:
        while not self._stop.is_set():
            try:
                file = self._todo.popleft()
            except IndexError:
                return
            try:
                outcome = download(file)
            except StoppedError:
                self._todo.appendleft(file)
            except RemoteReadError as error:
                log.warning("cache: %s; it is streamed", error)
            except (OSError, WriteError) as error:
                log.warning("cache: %s does not take %s (%s); streaming", self._cache.folder, file.uri, error)
            else:
                self._settle(file, outcome)

    def _settle(self, file: RemoteFile, outcome: Outcome) -> None:
        if outcome is Outcome.BUSY:
            self._todo.append(file)  # should its downloader die, the turn comes back here
            self._n_busy += 1
            if self._n_busy >= len(self._todo):
                self._stop.wait(_WAIT_FOR_OTHERS_S)
            return
        self._n_busy = 0
        if outcome is Outcome.NO_ROOM and not self._is_full:
            self._is_full = True
            log.warning(
                "cache: no room in %s for %s below its cap of %g GB and above the %g GB to be left free: what does not "
                "fit is streamed, nothing is evicted",
                self._cache.folder,
                file.uri,
                self._cache.options.cap_gb,
                self._cache.options.free_floor_gb,
            )


def files_by_first_use(index: StampIndex, *, seed: int, lanes: int) -> list[int]:
    """File numbers in the order in which the first epoch of training needs them, then the others."""
    groups = plan.epoch_order(index.split_rows("train"), seed=seed, epoch=0, lanes=lanes).groups_by_first_use()
    used, first_use = np.unique(np.searchsorted(index.file_groups, groups, "right") - 1, return_index=True)
    others = np.setdiff1d(np.arange(len(index.files.names)), used)
    return [*used[np.argsort(first_use)].tolist(), *others.tolist()]
