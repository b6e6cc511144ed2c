"""The bytes of parquet pages from the front: headers (Thrift's compact protocol) and snappy, undone piece by piece.

Formats: Thrift's compact protocol, and format_description.txt of google/snappy.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

Piece = bytes | memoryview
Span = tuple[Piece, int, int]  # bytes start ... stop - 1 of a buffer

_INTEGERS, _TRUTHS, _BINARY, _STRUCT = (4, 5, 6), (1, 2), 8, 12  # kinds of fields
_DEEPEST = 2  # statistics in the header of a data page in the header of a page
_SNAPPY_WINDOW = 1 << 16  # how far its copies reach back: known writers pack blocks of this size, each on its own


class UnusualPageError(ValueError):
    """A page that is laid out in another way, or damaged."""


class PageBytes:
    """Bytes ``start`` ... ``end`` of a file, taken from the front; a memory map is not copied.

    Args:
        source: The file.
        start: First byte.
        end: After the last.
        read_bytes: Bytes to read at a time.
    """

    def __init__(self, source: pa.NativeFile, start: int, end: int, read_bytes: int) -> None:
        self._stream = source.get_stream(start, end - start)
        self._left = end - start
        self._read: Piece = b""
        self._at = 0  # what was read up to here is taken
        self._read_bytes = read_bytes

    def take(self, n: int) -> Piece:
        """The next ``n`` bytes."""
        read, start, stop = self.span(n)
        return read[start:stop]

    def byte(self) -> int:
        """The next byte."""
        read, start, _ = self.span(1)
        return read[start]

    def span(self, n: int) -> Span:
        """Where the next ``n`` bytes lie.

        Many spans share a buffer: a view of each would be an object that the garbage collector goes through.
        """
        if not 0 <= n <= self._left:
            raise UnusualPageError(f"{n} bytes where {self._left} are left")
        self._left -= n
        start, stop = self._at, self._at + n
        if stop > len(self._read):
            return self._span_of_next(n)
        self._at = stop
        return self._read, start, stop

    def _span_of_next(self, n: int) -> Span:
        """Where ``n`` bytes lie that were not all read."""
        head = self._read[self._at :]
        missing = n - len(head)
        more = memoryview(self._stream.read_buffer(max(self._read_bytes, missing))).cast("B")
        if len(more) < missing:
            raise UnusualPageError("a file that ends early")
        self._read, self._at = more, missing
        return (b"".join((head, more[:missing])), 0, n) if head else (more, 0, n)

    def varint(self) -> int:
        """A number of seven bits a byte, the lowest first."""
        number = 0
        for shift in range(0, 64, 7):
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise UnusualPageError("a number without end")

    def numbers(self, path: tuple[int, ...] = ()) -> dict[tuple[int, ...], int]:
        """The integers of a Thrift struct by field number, and of the structs in it by path."""
        found: dict[tuple[int, ...], int] = {}
        field = 0
        while head := self.byte():
            field = field + (head >> 4) if head >> 4 else _zigzag(self.varint())
            kind = head & 0x0F
            if kind in _INTEGERS:
                found[(*path, field)] = _zigzag(self.varint())
            elif kind == _BINARY:
                self.take(self.varint())
            elif kind == _STRUCT and len(path) < _DEEPEST:
                found |= self.numbers((*path, field))
            elif kind not in _TRUTHS:  # whose value is their kind
                raise UnusualPageError(f"a page header with a field of kind {kind}")
        return found

    def plain(self, size: int) -> Iterator[Span]:
        """A page of ``size`` bytes that is not packed, as much at a time as is read."""
        while size > 0:
            n = min(size, len(self._read) - self._at or self._read_bytes)
            size -= n
            yield self.span(n)

    def unpacked(self, size: int) -> Iterator[Span]:
        """A page of ``size`` bytes packed by snappy: literals, as they lie in the file, and copies of earlier bytes."""
        if self.varint() != size:
            raise UnusualPageError("a packed page of another length")
        recent: deque[Span] = deque()
        n_recent = 0
        while size > 0:
            tag = self.byte()
            kind, length = tag & 3, (tag >> 2) + 1
            if kind == 0:
                if length > 60:
                    length = int.from_bytes(self.take(length - 60), "little") + 1
                span = self.span(length)
            else:
                if kind == 1:
                    offset, length = (tag >> 5) << 8 | self.byte(), 4 + (tag >> 2 & 7)
                else:
                    offset = int.from_bytes(self.take(2 if kind == 2 else 4), "little")
                span = _copied(recent, offset, length), 0, length
            size -= length
            recent.append(span)
            n_recent += length
            while (others := n_recent - recent[0][2] + recent[0][1]) >= _SNAPPY_WINDOW:
                n_recent = others
                recent.popleft()
            yield span
        if size:
            raise UnusualPageError("a packed page that runs over")


def _copied(recent: Sequence[Span], offset: int, length: int) -> bytes:
    """``length`` bytes from ``offset`` bytes back on, which may be among those that are being written."""
    source_end = max(0, offset - length)  # like `offset` and `after` counted from the end
    parts: list[Piece] = []
    after = 0
    for buffer, start, stop in reversed(recent):
        if after >= offset:
            break
        before = after + stop - start
        if before > source_end:
            parts.append(buffer[max(start, stop + after - offset) : min(stop, stop + after - source_end)])
        after = before
    if not 0 < offset <= after:
        raise UnusualPageError("a copy from too far back")
    back = b"".join(reversed(parts))
    return (back * (length // offset + 1))[:length]


def joined(spans: Iterable[Span]) -> bytes:
    """What lies there, put together."""
    return b"".join(buffer[start:stop] for buffer, start, stop in spans)


def _zigzag(number: int) -> int:
    return number >> 1 ^ -(number & 1)
