import contextlib
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.stamps.codec import StampError, _decode_usual, decode_stamp, encode_stamp
from dark_halo_scope.stamps.contract import BANDS, STAMP_SHAPE
from tests.stamps.datasets import stamp_image

IMAGE = stamp_image(7, is_lens=True)
GOOD = encode_stamp(IMAGE)
N_END = 22 + 3 * (46 + 11)  # end record and directory of a stamp


def npz(savez=np.savez_compressed, **arrays) -> bytes:
    buffer = io.BytesIO()
    savez(buffer, **arrays)
    return buffer.getvalue()


def bands(**changed) -> dict[str, np.ndarray]:
    return {f"image_{band}": IMAGE[i] for i, band in enumerate(BANDS)} | changed


def decode(data: bytes, split: int | None = None) -> np.ndarray:
    out = np.full(STAMP_SHAPE, np.nan, np.float32)
    if split is None:
        decode_stamp(data, out)
    else:
        decode_stamp(memoryview(data)[:split], out, memoryview(data)[split:])
    return out


def reason(data: bytes) -> str:
    with pytest.raises(StampError) as caught:
        decode(data)
    assert str(caught.value)
    return caught.value.reason


def test_what_numpy_writes_takes_the_short_way():
    out = np.empty(STAMP_SHAPE, np.float32)
    assert _decode_usual(GOOD, b"", out.data.cast("B"))
    assert np.array_equal(out, IMAGE)
    assert not _decode_usual(npz(**bands(), other=IMAGE[0]), b"", out.data.cast("B"))


def test_a_stamp_may_lie_in_two_places():
    """At every byte of headers and directory, and between and within the bands."""
    for split in {*range(300), *range(300, len(GOOD), 997), *range(len(GOOD) - 300, len(GOOD) + 1)}:
        assert np.array_equal(decode(GOOD, split), IMAGE)


def test_numpy_reads_what_is_encoded_and_equal_pixels_give_equal_bytes():
    with np.load(io.BytesIO(GOOD)) as stamp:
        np.testing.assert_array_equal(np.stack([stamp[f"image_{band}"] for band in BANDS]), IMAGE)
    assert encode_stamp(IMAGE.copy()) == GOOD


def test_only_a_stamp_is_encoded():
    with pytest.raises(ValueError, match="float64"):
        encode_stamp(IMAGE.astype(np.float64))


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        npz(savez=np.savez, **bands()),
        npz(**bands(image_i=np.zeros(3), notes=np.array("a field star"))),
        npz(**{name: array.astype(">f4") for name, array in bands().items()}),
        npz(**{name: np.asfortranarray(array) for name, array in bands().items()}),
    ],
    ids=["usual", "stored", "further arrays", "big-endian", "fortran"],
)
def test_decodes_bit_for_bit(data):
    assert decode(data).tobytes() == IMAGE.tobytes()


def test_special_float_values_survive():
    image = IMAGE.copy()
    image[0, 0, :4] = np.nan, np.inf, -0.0, 1e-42
    assert decode(encode_stamp(image)).tobytes() == image.tobytes()


def test_decodes_from_a_slice_of_a_larger_buffer():
    assert decode(memoryview(b"x" * 13 + GOOD + b"y" * 5)[13:-5]).tobytes() == IMAGE.tobytes()


def test_a_missing_band_is_named():
    only_r = npz(image_r=IMAGE[1])
    assert reason(only_r) == "missing_band"
    with pytest.raises(StampError, match="no array image_g; the npz holds image_r"):
        decode(only_r)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((32, 32), np.float32), "wrong_shape"),
        (np.zeros((64, 64, 1), np.float32), "wrong_shape"),
        (np.zeros((128, 128), np.float32), "wrong_shape"),
        (np.zeros((), np.float32), "wrong_shape"),
        (np.zeros((64, 64)), "wrong_dtype"),
        (np.zeros((64, 64), np.int32), "wrong_dtype"),
        (np.zeros((64, 64), np.float16), "wrong_dtype"),
        (np.zeros((64, 64), [("flux", "<f4")]), "not_an_array"),
        (np.array([[{"flux": 1}]], dtype=object), "pickled"),
        (np.zeros((1024, 1024), np.float32), "oversized"),
    ],
)
def test_a_wrong_array_is_refused_by_its_reason(array, expected):
    assert reason(npz(**bands(image_r=array))) == expected


def test_pickled_objects_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    bare = io.BytesIO()
    with zipfile.ZipFile(bare, "w") as archive:
        for band in BANDS:
            archive.writestr(f"image_{band}.npy", pickle.dumps(Trap()))
    assert reason(bare.getvalue()) == "not_an_array"
    assert reason(npz(**bands(image_g=np.array([Trap()], dtype=object)))) == "pickled"
    assert not tmp_path.joinpath("sprung").exists()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not_a_zip"),
        (b"SIMPLE  =                    T" * 100, "not_a_zip"),
        (GOOD[:-1], "not_a_zip"),
        (GOOD[1000:], "corrupt"),
    ],
)
def test_what_is_no_zip_is_refused(data, expected):
    assert reason(data) == expected


def test_a_flipped_pixel_bit_fails_its_checksum():
    for position in (200, len(GOOD) // 2, len(GOOD) - 1000):
        data = bytearray(GOOD)
        data[position] ^= 0x10
        assert reason(bytes(data)) == "corrupt"


def zip_of(method: int, content: bytes, names=tuple(f"image_{band}.npy" for band in BANDS)) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_zip_bomb_is_refused_before_it_is_inflated():
    assert reason(zip_of(zipfile.ZIP_DEFLATED, bytes(1 << 28), names=("image_g.npy",))) == "oversized"


def test_a_zip_bomb_that_lies_about_its_size_is_not_inflated_past_what_it_declares():
    honest = zip_of(zipfile.ZIP_DEFLATED, bytes(1 << 24))
    lying = honest.replace((1 << 24).to_bytes(4, "little"), (16512).to_bytes(4, "little"))
    assert lying != honest
    assert reason(lying) == "corrupt"


def test_a_zip_of_very_many_arrays_is_refused():
    assert reason(zip_of(zipfile.ZIP_STORED, b"", names=tuple(map(str, range(1000))))) == "oversized"


def test_an_entry_that_points_to_another_band_is_refused():
    usual = bytearray(GOOD)
    usual[-N_END + 57 : -N_END + 103] = usual[-N_END : -N_END + 46]  # image_r with all but the name of image_g
    with pytest.raises(StampError, match=r"image_r\.npy is not where the zip directory says"):
        decode(bytes(usual))


def test_a_directory_that_leaves_a_gap_is_refused():
    assert reason(GOOD[:-22] + bytes(5) + GOOD[-22:]) == "corrupt"


def test_an_unknown_compression_is_refused():
    assert reason(zip_of(zipfile.ZIP_LZMA, bytes(100))) == "unknown_compression"


FUZZ_INPUTS = int(os.environ.get("HALO_FUZZ_INPUTS", "3000"))


@settings(max_examples=FUZZ_INPUTS // 10, deadline=None)
@given(st.binary(max_size=2000))
def test_random_bytes_raise_only_stamp_errors(data):
    reason(data)


SEEDS = {
    "usual": GOOD,
    "stored": npz(savez=np.savez, **bands()),
    "another directory": npz(**bands(image_i=np.zeros(3))),
    "big-endian": npz(**{name: array.astype(">f4") for name, array in bands().items()}),
}
OTHER = encode_stamp(stamp_image(8, is_lens=False))


@st.composite
def near_valid(draw):
    """A stamp with some of: bits flipped, bytes set, a run cut out or put in twice, the ends cut, a spliced directory.

    Directory, headers and npy dictionaries are where a parser can go wrong, so that most of it happens there; the
    pixels have a checksum.
    """
    data = bytearray(draw(st.sampled_from(list(SEEDS.values()))))
    structure = st.one_of(st.integers(0, 200), st.integers(len(data) - 260, len(data) - 1))
    anywhere = st.one_of(structure, structure, structure, st.integers(0, len(data) - 1))
    for _ in range(draw(st.integers(1, 4))):
        at = min(draw(anywhere), max(0, len(data) - 1))
        match draw(st.sampled_from(["flip", "set", "number", "cut", "double", "head", "tail", "splice", "swap"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if data:
                data[at] = draw(st.integers(0, 255))
            case "number":
                data[at : at + 4] = draw(st.sampled_from([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])).to_bytes(4, "little")
            case "cut":
                del data[at : at + draw(st.integers(1, 64))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
            case "head":
                del data[: draw(st.integers(0, 300))]
            case "tail":
                del data[len(data) - draw(st.integers(0, min(300, len(data)))) :]
            case "splice":
                data[-N_END:] = OTHER[-N_END:]
            case "swap":
                data[-N_END:-22] = data[-N_END + 57 : -22] + data[-N_END : -N_END + 57]
    return bytes(data)


@settings(max_examples=FUZZ_INPUTS, deadline=None)
@given(near_valid(), st.none() | st.integers(0, len(GOOD)))
def test_near_valid_stamps_raise_only_stamp_errors_or_keep_their_pixels(data, split):
    """3,000 inputs; for a long run: ``HALO_FUZZ_INPUTS=200000 pytest -n 0 tests/stamps/test_codec.py -k near_valid``.

    What decodes decodes to the very pixels: every one is under a CRC.
    """
    with contextlib.suppress(StampError):
        assert decode(data, split).tobytes() == IMAGE.tobytes()


@settings(max_examples=FUZZ_INPUTS // 15, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=100))
def test_any_npy_header_raises_only_stamp_errors(header, tail):
    usual = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (64, 64), }"
    for content in (header + tail, usual[:8] + header + tail, usual[: len(header)] + tail):
        reason(zip_of(zipfile.ZIP_STORED, content))
