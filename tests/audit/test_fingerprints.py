import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dark_halo_scope.audit.duplicates import MAX_DIFFERENT_BITS
from dark_halo_scope.audit.fingerprints import N_BITS, N_WORDS, pixel_hash, signatures
from dark_halo_scope.stamps.store.statistics import stamp_statistics
from tests.stamps.datasets import stamp_image


def signature(image):
    images = np.ascontiguousarray(image, np.float32)[None]
    statistics = stamp_statistics(images)
    return signatures(images, np.stack([statistics[f"stamp_sky_sigma_{band}"] for band in "grz"], axis=1))


def different_bits(one, other):
    return int(np.unpackbits((signature(one) ^ signature(other)).view(np.uint8)).sum())


@given(
    number=st.integers(0, 10**6),
    turns=st.integers(0, 3),
    mirror=st.booleans(),
    gain=st.tuples(*[st.floats(0.2, 5)] * 3),
    level=st.floats(-1, 1),
)
def test_turned_mirrored_rescaled_and_offset_stamps_keep_their_signature(number, turns, mirror, gain, level):
    image = stamp_image(number, is_lens=number % 2 == 1)
    handled = np.rot90(image, turns, (1, 2))[..., :: -1 if mirror else 1] * np.array(gain)[:, None, None] + level
    assert different_bits(image, handled) <= 6  # of float32: cells whose sign hangs on the last digits


@pytest.mark.parametrize("shift", [(1, 0), (0, -1), (2, 2), (-2, 1)])
def test_moved_stamps_are_known_again(shift):
    """A few are lost: noise makes another pixel the brightest, or the other orientation the standard one."""
    known = 0
    for number in range(40):
        wide = np.pad(stamp_image(number, is_lens=False), ((0, 0), (2, 2), (2, 2)), mode="wrap")
        y, x = shift
        moved = wide[:, 2 + y : 66 + y, 2 + x : 66 + x]
        known += different_bits(wide[:, 2:66, 2:66], moved) <= MAX_DIFFERENT_BITS
    assert known >= 34


def test_stamps_that_look_alike_share_nothing():
    """The same galaxy in other noise."""
    drawn = np.concatenate([signature(stamp_image(number, is_lens=False)) for number in range(100)])
    bits = np.unpackbits(drawn.view(np.uint8), axis=1)
    distances = [(bits[i] != bits[j]).sum() for i in range(100) for j in range(i)]
    assert min(distances) > 1.5 * MAX_DIFFERENT_BITS


def test_a_signature_has_whole_words():
    assert signature(stamp_image(0, is_lens=True)).shape == (1, N_WORDS)
    assert N_WORDS * 32 == N_BITS


def test_hashes_tell_a_single_pixel():
    image = stamp_image(3, is_lens=False)
    other = image.copy()
    other[2, 40, 40] = np.nextafter(other[2, 40, 40], np.float32(9))
    assert pixel_hash(image) == pixel_hash(image.copy()) != pixel_hash(other)
