"""The values of a binary column chunk, one after the other, without a page of it held whole.

pyarrow writes up to 1,024 stamps as one page or, by default, as a dictionary and the numbers 0, 1, 2 ... that point
into it, and reads a page whole before it gives the first value: with 128 row groups of 640 stamps open, that takes 6 s
of a core and 8.6 GB. But what deflate has packed cannot be packed again, so that snappy leaves stamps as they are, in
literals of up to 64 KiB, and no more of them need be read than are asked for.

Format: Apache Parquet (parquet.thrift and Encodings.md of parquet-format).
"""

import struct
from array import array
from bisect import bisect_right
from collections.abc import Generator, Iterator
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dark_halo_scope.stamps.page_bytes import PageBytes, Piece, Span, UnusualPageError, joined

_LEAST_LEFT = 0.99  # of a chunk by its codec: where that finds more to save, a page is many short copies, and pyarrow's
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_PLAIN, _NUMBERS = 0, (2, 8)  # an encoding of two names
_LENGTH = struct.Struct("<I")

Value = tuple[Piece, Piece]  # its bytes, of which those in the second piece come after; mostly it is empty


def runs_through(footer: pq.FileMetaData, group: int, column: str) -> bool:
    """Whether `values_in_order` is worth a try on a column of a row group."""
    number = _number(footer, column)
    chunk = footer.row_group(group).column(number)
    return (
        chunk.physical_type == "BYTE_ARRAY"
        and chunk.compression in ("SNAPPY", "UNCOMPRESSED")
        and chunk.total_compressed_size >= _LEAST_LEFT * chunk.total_uncompressed_size
        and footer.schema.column(number).max_repetition_level == 0
        and chunk.is_stats_set
        and chunk.statistics.null_count == 0
    )


class Run:
    """Values that lie one after the other in pieces of a file, each looked up when it is asked for.

    Copies that are held would cost a page fault for every 4 kB (25 us a stamp), and objects for each value or piece the
    garbage collector's time (5 us).
    """

    def __init__(self, begun: Span | None = None) -> None:
        self._buffers: list[Piece] = []  # of the pieces; most share one
        self._shifts = array("q")  # from a place in the run to that in the buffer
        self._starts = array("q", (0,))  # of the pieces in the run and, last, where it ends
        self._end = 0  # of the last value
        self._edges = array("q")  # start and stop of each value
        if begun:
            self._add(begun)

    def __len__(self) -> int:
        """Number of values."""
        return len(self._edges) // 2

    def __getitem__(self, i: int) -> Value:
        """Value ``i``: views of the pieces it lies in; what is in more than two is put together."""
        start, stop = self._edges[2 * i], self._edges[2 * i + 1]
        k = self._piece(start)
        edge = self._starts[k + 1]
        if stop <= edge:
            return self._part(k, start, stop), b""
        rest = self._part(k + 1, edge, stop) if stop <= self._starts[k + 2] else self._joined(edge, stop)
        return self._part(k, start, edge), rest

    def take(self, content: Iterator[Span]) -> None:
        """Add the next value of a page, the rest of whose content comes in pieces."""
        start = self._end + _LENGTH.size
        self._reach(start, content)
        if self._end >= self._starts[-2]:
            (length,) = _LENGTH.unpack_from(self._buffers[-1], self._end + self._shifts[-1])
        else:
            (length,) = _LENGTH.unpack(self._joined(self._end, start))
        self._end = start + length
        self._reach(self._end, content)
        self._edges.extend((start, self._end))

    def rest(self) -> Span | None:
        """What has come after the last value."""
        if self._end == self._starts[-1]:
            return None
        shift = self._shifts[-1]
        return self._buffers[-1], self._end + shift, self._starts[-1] + shift

    def _reach(self, end: int, content: Iterator[Span]) -> None:
        while self._starts[-1] < end:
            span = next(content, None)
            if span is None:
                raise UnusualPageError("a page of fewer values")
            self._add(span)

    def _add(self, span: Span) -> None:
        buffer, start, stop = span
        self._buffers.append(buffer)
        self._shifts.append(start - self._starts[-1])
        self._starts.append(self._starts[-1] + stop - start)

    def _piece(self, place: int) -> int:
        return bisect_right(self._starts, place, hi=len(self._buffers)) - 1

    def _part(self, k: int, start: int, stop: int) -> Piece:
        return self._buffers[k][start + self._shifts[k] : stop + self._shifts[k]]

    def _joined(self, start: int, stop: int) -> bytes:
        parts = []
        while start < stop:
            k = self._piece(start)
            end = min(stop, self._starts[k + 1])
            parts.append(self._part(k, start, end))
            start = end
        return b"".join(parts)


def values_in_order(
    source: pa.NativeFile, footer: pq.FileMetaData, group: int, column: str, *, rows: int, read_bytes: int
) -> Generator[Run, None, None]:
    """The values of a chunk that `runs_through`, ``rows`` at a time.

    It ends early at a page that is laid out in another way, or is damaged: pyarrow can tell which.

    Args:
        source: The file; a memory map is not copied.
        footer: Its footer.
        group: Number of the row group in the file.
        column: Name of the column.
        rows: Values to give at a time.
        read_bytes: Bytes to read at a time.
    """
    number = _number(footer, column)
    chunk = footer.row_group(group).column(number)
    has_levels = footer.schema.column(number).max_definition_level > 0
    run = Run()
    try:
        for page in _pages(source, chunk, read_bytes, has_levels):
            content = page.content()
            for _ in range(page.n_values):
                if len(run) == rows:
                    yield run
                    run = Run(run.rest())
                run.take(content)
            if run.rest() or next(content, None):
                raise UnusualPageError("a page of more values")
    except UnusualPageError:
        return
    if len(run):
        yield run


class _Page:
    """A page whose header was read, and whose content comes next; ``has_levels`` is of the column."""

    def __init__(self, data: PageBytes, is_packed: bool, has_levels: bool) -> None:
        header = data.numbers()
        try:
            self.kind = header[1,]
            told = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7}.get(self.kind, 0)
            self._bytes, self.packed_bytes = header[2,], header[3,]
            self.n_values, self.encoding = header[told, 1], header[told, 2]
        except KeyError as error:
            raise UnusualPageError(f"a page of type {header.get((1,))}") from error
        self._data = data
        self._is_packed = is_packed
        self._has_levels = has_levels and self.kind == _DATA_PAGE

    def content(self) -> Iterator[Span]:
        """Where what it holds lies, unpacked, piece by piece.

        Definition levels are left out: they say nothing of a column without nulls.
        """
        content = self._data.unpacked(self._bytes) if self._is_packed else self._data.plain(self._bytes)
        if self._has_levels:
            yield _after_levels(content)
        yield from content


def _after_levels(content: Iterator[Span]) -> Span:
    """What comes first after the definition levels, which are preceded by their length."""
    head: Span = b"", 0, 0
    for span in content:
        head = span if head[1] == head[2] else (joined([head, span]), 0, head[2] - head[1] + span[2] - span[1])
        buffer, start, stop = head
        if stop - start >= _LENGTH.size:
            start += _LENGTH.size + _LENGTH.unpack_from(buffer, start)[0]
            if start <= stop:
                return buffer, start, stop
    raise UnusualPageError("a page of levels only")


def _pages(
    source: pa.NativeFile, chunk: pq.ColumnChunkMetaData, read_bytes: int, has_levels: bool
) -> Generator[_Page, None, None]:
    """The pages with the values of a chunk in their order, each to be read to its end before the next."""
    end = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size
    data = PageBytes(source, end - chunk.total_compressed_size, end, read_bytes)
    is_packed = chunk.compression == "SNAPPY"
    left = chunk.num_values
    numbers: _Page | None = None
    while left > 0:
        page = _Page(data, is_packed, has_levels)
        if page.kind == _DICTIONARY_PAGE:
            numbers = _Page(PageBytes(source, chunk.data_page_offset, end, read_bytes), is_packed, has_levels)
            if not _counts_up(numbers, page.n_values):
                raise UnusualPageError("a dictionary that is not the values in their order")
        elif page.encoding in _NUMBERS and numbers:
            numbers = None  # those that were looked at; any others are unusual
            data.take(page.packed_bytes)
            continue
        elif page.encoding != _PLAIN:
            raise UnusualPageError(f"encoding {page.encoding}")
        yield page
        left -= page.n_values


def _number(footer: pq.FileMetaData, column: str) -> int:
    """Where a column without children stands among the leaves of the schema."""
    return next(k for k in count() if footer.schema.column(k).path == column)


def _counts_up(page: _Page, n: int) -> bool:
    """Whether a page holds the numbers 0, 1, 2 ... n - 1: runs of one number, and packed bits of eight at a time."""
    if page.encoding not in _NUMBERS or page.n_values != n:
        return False
    packed = joined(page.content())
    data = PageBytes(pa.BufferReader(packed), 0, len(packed), len(packed))
    (width,) = data.take(1)
    if width not in range(1, 33):
        return width == 0 and n == 1
    numbers: list[int] = []
    while len(numbers) < n:
        head = data.varint()
        if head & 1:
            bits = np.unpackbits(np.frombuffer(data.take((head >> 1) * width), np.uint8), bitorder="little")
            numbers += (bits.reshape(-1, width) @ (1 << np.arange(width))).tolist()
        else:
            numbers += [int.from_bytes(data.take((width + 7) // 8), "little")] * min(head >> 1, n)
    return numbers[:n] == list(range(n))
