"""The bytes of ``stamp_npz``: three 64x64 float32 bands in a compressed npz, in nanomaggies.

The reader is strict and needs no pickle, no eval and no ``zipfile``: it walks the zip directory, refuses any
member that declares more than `MAX_MEMBER_BYTES` before inflating it, inflates with libdeflate (which releases the
GIL and never writes past the declared size) and checks the CRC. Whatever the bytes are, only `StampError` leaves
`decode_stamp`. The directory that ``np.savez_compressed`` always writes for a stamp is taken apart in one step; any
other, or a damaged one, goes the long way.
"""

import io
import re
import struct
from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple

import deflate
import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import BANDS, STAMP_SHAPE, STAMP_SIZE

MAX_MEMBER_BYTES = (
    1 << 20
)  # one band is 16.5 kB; up to here a wrong array is still opened, to say what is wrong with it
MAX_MEMBERS = 64

_END = struct.Struct("<4s4H2LH")
_DIRECTORY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s22x2H")
_STORED, _DEFLATED, _ENCRYPTED = 0, 8, 0x1

_MEMBER_OF_BAND = tuple(f"image_{band}.npy".encode() for band in BANDS)
_BAND_SHAPE = (STAMP_SIZE, STAMP_SIZE)
_NPY_MAGIC = b"\x93NUMPY"
_NPY_FIELDS = re.compile(rb"\{'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(([0-9, ]{0,64})\),? ?\}\s*")


def _npy_header(array: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(array))
    return buffer.getvalue()


_USUAL_HEADER = _npy_header(np.empty(_BAND_SHAPE, "<f4"))  # numpy writes exactly these 128 bytes before every good band
_BAND_BYTES = STAMP_SIZE * STAMP_SIZE * 4
_USUAL_SIZE = len(_USUAL_HEADER) + _BAND_BYTES

# The usual headers and directory, whole. Of a header magic, lengths of name and extra field, name; of an entry of the
# directory magic, flags and method, CRC, packed size, size, lengths of name, extra field and comment, header offset,
# name; then the end record. Skipped are versions, dates, attributes and what a header repeats, which the long way does
# not look at either. All but CRC, packed size and the two kinds of offset is the same in every usual stamp.
_USUAL_LOCAL = struct.Struct("<4s22x2H11s20x")
_USUAL_LOCALS = tuple((b"PK\x03\x04", 11, 20, name) for name in _MEMBER_OF_BAND)
_USUAL = struct.Struct("<" + "4s4x4s4x3L6s8xL11s" * len(BANDS) + "12s2L2s")
_USUAL_CONSTANTS = itemgetter(*(8 * k + field for k in range(len(BANDS)) for field in (0, 1, 4, 5, 7)), 24, 25, 27)
_USUAL_VALUES = (
    *(
        value
        for name in _MEMBER_OF_BAND
        for value in (b"PK\x01\x02", struct.pack("<2H", 0, _DEFLATED), _USUAL_SIZE, struct.pack("<3H", 11, 0, 0), name)
    ),
    b"PK\x05\x06" + struct.pack("<4H", 0, 0, len(BANDS), len(BANDS)),
    _USUAL.size - _END.size,
    bytes(2),
)


class StampError(ValueError):
    """A stamp that cannot be used.

    Attributes:
        reason: One short machine word (``not_a_zip``, ``missing_band``, ``corrupt`` ...), under which it is counted.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Member(NamedTuple):
    method: int
    crc: int
    packed_size: int
    size: int
    header_offset: int


def encode_stamp(image: NDArray[np.float32]) -> bytes:
    """Pack a stamp (3, 64, 64) float32, bands g, r, z, as ``np.savez_compressed`` does; equal pixels, equal bytes."""
    if image.shape != STAMP_SHAPE or image.dtype != np.float32:
        raise ValueError(f"a stamp is float32 of shape {STAMP_SHAPE}, not {image.dtype} of shape {image.shape}")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{f"image_{band}": image[i] for i, band in enumerate(BANDS)})
    return buffer.getvalue()


def decode_stamp(buffer: bytes | memoryview, out: NDArray[np.float32], rest: bytes | memoryview = b"") -> None:
    """Unpack ``stamp_npz`` bytes into ``out``, bit for bit as ``np.load`` would read them.

    Args:
        buffer: The bytes.
        out: A (3, 64, 64) float32 array, contiguous.
        rest: The bytes that come after ``buffer``, where they lie in two places.

    Raises:
        StampError: Whatever is wrong with the bytes. ``out`` is then partly written and must not be used.
    """
    pixels = out.data.cast("B")
    if _decode_usual(buffer, rest, pixels):
        return
    view = memoryview(b"".join((buffer, rest)) if rest else buffer)
    end = 0
    for name, member in zip(_MEMBER_OF_BAND, _members_of_bands(view), strict=True):
        start, end = end, end + _BAND_BYTES
        pixels[start:end] = _parse_npy(_inflate(view, name, member), name.decode()).astype("<f4").tobytes()


def _decode_usual(first: bytes | memoryview, second: bytes | memoryview, pixels: memoryview) -> bool:
    """Unpack a stamp that is laid out as ``np.savez_compressed`` does it to the byte.

    Where it lies in two places, only the band that lies in both is put together.
    False when anything is different or damaged: the long way says what.
    """
    split = len(first)
    directory = split + len(second) - _USUAL.size
    if directory < 0 or (second and directory < split):
        return False
    fields = _USUAL.unpack_from(second or first, directory - split if second else directory)
    if _USUAL_CONSTANTS(fields) != _USUAL_VALUES or fields[26] != directory:
        return False
    ends = (fields[14], fields[22], directory)  # a member ends where the next begins
    for k, (local, end) in enumerate(zip(_USUAL_LOCALS, ends, strict=True)):
        crc, packed_size, offset = fields[8 * k + 2], fields[8 * k + 3], fields[8 * k + 6]
        if offset + _USUAL_LOCAL.size + packed_size != end or end > directory:
            return False
        if end <= split:
            member = memoryview(first)[offset:end]
        elif offset >= split:
            member = memoryview(second)[offset - split : end - split]
        else:
            member = memoryview(b"".join((first[offset:], second[: end - split])))
        if _USUAL_LOCAL.unpack_from(member) != local:
            return False
        try:
            raw = deflate.deflate_decompress(member[_USUAL_LOCAL.size :], _USUAL_SIZE)
        except deflate.DeflateError:
            return False
        if len(raw) != _USUAL_SIZE or deflate.crc32(raw, 0) != crc or not raw.startswith(_USUAL_HEADER):
            return False
        pixels[k * _BAND_BYTES : (k + 1) * _BAND_BYTES] = memoryview(raw)[len(_USUAL_HEADER) :]  # little-endian
    return True


def _members_of_bands(view: memoryview) -> Iterator[_Member]:
    """Where the three bands lie by any directory."""
    members = _directory(view)
    for name in _MEMBER_OF_BAND:
        if name not in members:
            raise StampError("missing_band", f"no array {name.decode()[:-4]}; the npz holds {_listed(members)}")
        yield members[name]


def _directory(view: memoryview) -> dict[bytes, _Member]:
    """The zip's central directory by member name."""
    if len(view) < _END.size:
        raise StampError("not_a_zip", f"{len(view)} bytes are too few for a zip")
    magic, disk, start_disk, here, count, length, start, comment = _END.unpack_from(view, len(view) - _END.size)
    if magic != b"PK\x05\x06" or disk or start_disk or here != count or comment:
        raise StampError("not_a_zip", "the bytes do not end with a zip directory (cut short, or not an npz)")
    if count > MAX_MEMBERS:
        raise StampError("oversized", f"the npz declares {count} arrays; {MAX_MEMBERS} is the most that is read")
    members: dict[bytes, _Member] = {}
    end = len(view) - _END.size
    if start + length != end:
        raise StampError("corrupt", "the zip directory is not where its end record says")
    for _ in range(count):
        if start + _DIRECTORY.size > end:
            raise StampError("corrupt", "the zip directory runs past its end")
        entry = _DIRECTORY.unpack_from(view, start)
        magic, flags, method = entry[0], entry[3], entry[4]
        name_length, extra_length, comment_length = entry[10:13]
        if magic != b"PK\x01\x02":
            raise StampError("corrupt", "the zip directory holds something that is no entry")
        if flags & _ENCRYPTED:
            raise StampError("encrypted", "the npz is encrypted")
        name = bytes(view[start + _DIRECTORY.size : start + _DIRECTORY.size + name_length])
        if name in members:
            raise StampError("corrupt", f"the npz holds {name!r} twice")
        members[name] = _Member(method, entry[7], entry[8], entry[9], entry[16])
        start += _DIRECTORY.size + name_length + extra_length + comment_length
    return members


def _inflate(view: memoryview, name: bytes, member: _Member) -> bytes | bytearray:
    """The bytes of one member, its size bounded before and its CRC checked after inflating."""
    method, crc, packed_size, size, start = member
    if size > MAX_MEMBER_BYTES:
        raise StampError(
            "oversized", f"{name.decode()} declares {size} bytes; {MAX_MEMBER_BYTES} is the most that is read"
        )
    if start + _LOCAL.size > len(view):
        raise StampError("corrupt", f"{name.decode()} lies past the end of the npz")
    magic, name_length, extra_length = _LOCAL.unpack_from(view, start)
    start += _LOCAL.size + name_length
    local_name = view[start - name_length : start]
    start += extra_length
    packed = view[start : start + packed_size]
    if magic != b"PK\x03\x04" or local_name != name or len(packed) != packed_size:
        raise StampError("corrupt", f"{name.decode()} is not where the zip directory says")
    raw: bytes | bytearray
    if method == _DEFLATED:
        try:
            raw = deflate.deflate_decompress(packed, size)
        except deflate.DeflateError as error:
            raise StampError("corrupt", f"{name.decode()} does not inflate to the {size} bytes it declares") from error
    elif method == _STORED:
        raw = bytes(packed)
    else:
        raise StampError("unknown_compression", f"{name.decode()} is packed by zip method {method}; npz uses 0 or 8")
    if len(raw) != size or deflate.crc32(raw, 0) != crc:
        raise StampError("corrupt", f"{name.decode()} fails its checksum")
    return raw


def _parse_npy(raw: bytes | bytearray, label: str) -> NDArray[np.float32]:
    """A band whose header is not the usual one: big-endian, Fortran order, npy version 2 - or wrong."""
    if len(raw) < 12 or not raw.startswith(_NPY_MAGIC) or raw[6] not in (1, 2, 3):
        raise StampError("not_an_array", f"{label} holds no npy array")
    start, length_format = (10, "<H") if raw[6] == 1 else (12, "<L")
    (length,) = struct.unpack_from(length_format, raw, 8)
    fields = _NPY_FIELDS.fullmatch(raw[start : start + min(length, 1024)])
    if fields is None:
        raise StampError("not_an_array", f"{label} has an npy header that describes no plain array")
    dtype, shape = fields[1].decode("latin-1"), tuple(int(n) for n in fields[3].split(b",") if n.strip())
    if "O" in dtype:
        raise StampError("pickled", f"{label} holds pickled Python objects, which are never opened")
    if dtype not in ("<f4", ">f4"):
        raise StampError("wrong_dtype", f"{label} has dtype {dtype!r}; float32 is required")
    if shape != _BAND_SHAPE:
        raise StampError("wrong_shape", f"{label} has shape {shape}; {_BAND_SHAPE} is required")
    pixels = raw[start + length :]
    if len(pixels) != STAMP_SIZE * STAMP_SIZE * 4:
        raise StampError("corrupt", f"{label} holds {len(pixels)} bytes of pixels for shape {shape}")
    band = np.frombuffer(pixels, dtype).reshape(_BAND_SHAPE)
    return band.T if fields[2] == b"True" else band


def _listed(members: dict[bytes, _Member]) -> str:
    names = [name.decode("utf-8", "replace").removesuffix(".npy") for name in members]
    return ", ".join(names[:8]) or "nothing"
