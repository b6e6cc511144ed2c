"""Reading files over a network that fails now and then: what is tried again, how often, and what is not."""

import io
import logging
import random
import re
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

log = logging.getLogger(__name__)

_T = TypeVar("_T")
Sleep = Callable[[float], object]  # told the seconds

_JITTER = random.Random()  # of its own: a run's generators must not depend on the network
_CONNECT_TIMEOUT_S = 10.0
_SILENCE_TIMEOUT_S = 20.0  # without a byte; pyarrow's own default waits for ever
_REFUSALS = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "INVALID_CLIENT_TOKEN_ID",
    "MISSING_AUTHENTICATION_TOKEN",
    "NO_SUCH_BUCKET",
    "NO_SUCH_KEY",
    "RESOURCE_NOT_FOUND",
    "SIGNATURE_DOES_NOT_MATCH",
    "UNRECOGNIZED_CLIENT",
)
_STATUSES_WORTH_WAITING = (408, 429)
_SLEEP: ContextVar[Sleep] = ContextVar("sleep", default=time.sleep)  # of each thread


class RemoteReadError(ValueError):
    """A remote file that cannot be read, now or at all."""


class StoppedError(Exception):
    """Reading was stopped, by whoever has no more use for it."""


def sleep_until(stop: threading.Event) -> Sleep:
    """A sleep that ends with a `StoppedError` once ``stop`` is set."""

    def sleep(seconds: float) -> None:
        if stop.wait(seconds):
            raise StoppedError

    return sleep


def stop_this_thread_by(stop: threading.Event) -> None:
    """Once ``stop`` is set, let this thread, and whoever reads the files that it opened, wait for no further try."""
    _SLEEP.set(sleep_until(stop))


@dataclass(frozen=True)
class RetryPolicy:
    """How often a read is tried, and how long between: a random part of a span that doubles each time (full jitter).

    Attributes:
        attempts: Tries before giving up.
        first_delay_s: Longest wait after the first try.
        longest_delay_s: Longest wait after any.
    """

    attempts: int = 10  # a minute on average, two at most, beside the time that the attempts take
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0

    def run(self, what: str, read: Callable[[], _T], sleep: Sleep | None = None) -> _T:
        """What ``read`` returns, after as many tries as it takes.

        Args:
            what: Name of the file, for messages.
            read: Reads it, or raises ``OSError``.
            sleep: Waits between tries; None for the way of this thread.

        Raises:
            RemoteReadError: After the last try, or at once where another would not help.
            StoppedError: See `stop_this_thread_by`.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                return read()
            except OSError as error:
                if is_permanent(error):
                    raise RemoteReadError(
                        f"{what} is refused or gone ({error}); check that it is there and the credentials may read it"
                    ) from error
                if attempt == self.attempts:
                    raise RemoteReadError(
                        f"{what} could not be read in {attempt} attempts, the last of which met: {error}; "
                        "check the network and the endpoint, then resume"
                    ) from error
                delay = _JITTER.uniform(0, min(self.longest_delay_s, self.first_delay_s * 2 ** (attempt - 1)))
                log.warning("%s: attempt %d failed (%s); again in %.1f s", what, attempt, error, delay)
                (sleep or _SLEEP.get())(delay)
        raise ValueError(f"a retry policy of {self.attempts} attempts reads nothing; use at least 1")


DEFAULT_RETRY = RetryPolicy()


def is_permanent(error: OSError) -> bool:
    """Whether to try again is of no use: the file is not there, or not for these credentials."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return True
    status = re.search(r"HTTP status (\d{3})", str(error))
    if status and 400 <= int(status[1]) < 500:
        return int(status[1]) not in _STATUSES_WORTH_WAITING
    return any(refusal in str(error) for refusal in _REFUSALS)


def with_timeouts(filesystem: fs.FileSystem) -> fs.FileSystem:
    """The same filesystem; on S3, one that notices a dead connection and leaves all retries to `RetryPolicy`."""
    if not isinstance(filesystem, fs.S3FileSystem):
        return filesystem
    # How it is pickled is the only way to take over a region and an endpoint that were found in the environment.
    rebuild, (settings,) = filesystem.__reduce__()
    return rebuild(
        {
            **settings,
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "request_timeout": _SILENCE_TIMEOUT_S,
            "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=1),
        }
    )


class RetryingFile:
    """A file of known size, for `pyarrow.PythonFile`: every read is whole, or tried again, or an error.

    Args:
        name: What messages call it.
        size: Its bytes as listed.
        open_file: Opens it anew.
        retry: How often to try.
        on_read: Told the bytes of each read.
        sleep: Waits between attempts; None for the way of the thread that makes the object.

    Attributes:
        etag: What S3 calls this version of the content, without quotes; empty before the first read and elsewhere.
    """

    def __init__(
        self,
        name: str,
        size: int,
        open_file: Callable[[], pa.NativeFile],
        retry: RetryPolicy,
        on_read: Callable[[int], None],
        sleep: Sleep | None = None,
    ) -> None:
        self._name = name
        self._size = size
        self._open_file = open_file
        self._retry = retry
        self._on_read = on_read
        self._sleep = sleep or _SLEEP.get()  # pyarrow may read in threads of its own
        self._file: pa.NativeFile | None = None
        self._position = 0
        self.etag = ""
        self.closed = False

    def read_buffer(self, n_bytes: int = -1) -> pa.Buffer:
        """The next ``n_bytes``, fewer only at the end of the file; pyarrow prefers this to ``read``.

        Raises:
            RemoteReadError: When they cannot be read, or when the file is not what was listed.
            StoppedError: See `stop_this_thread_by`.
        """
        left = self._size - self._position
        wanted = max(0, left if n_bytes < 0 else min(n_bytes, left))
        buffer = self._retry.run(self._name, lambda: self._attempt(wanted), self._sleep)
        self._position += wanted
        self._on_read(wanted)
        return buffer

    def read(self, n_bytes: int = -1) -> bytes:
        """As `read_buffer`, in bytes of their own."""
        return self.read_buffer(n_bytes).to_pybytes()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, as any file does."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def close(self) -> None:
        """Let go of the connection."""
        self.closed = True
        self._file = None

    def _attempt(self, wanted: int) -> pa.Buffer:
        try:
            if self._file is None:
                self._file = self._open_as_listed()
            self._file.seek(self._position)
            buffer = self._file.read_buffer(wanted)
            if buffer.size < wanted:
                raise OSError(f"{buffer.size} of {wanted} bytes came")
        except OSError:
            self._file = None
            raise
        return buffer

    def _open_as_listed(self) -> pa.NativeFile:
        file = self._open_file()
        # Keys as S3 gives them; other filesystems give what they have, or nothing.
        etag = (file.metadata() or {}).get("ETag", b"").decode().strip('"')
        if file.size() != self._size or (self.etag and etag != self.etag):
            raise RemoteReadError(
                f"{self._name} changed since it was listed ({self._size} bytes then, {file.size()} now); "
                "start again when the dataset is complete"
            )
        self.etag = etag
        return file
