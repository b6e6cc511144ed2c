import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from dark_halo_scope.transforms.augment import Augment, RandomD4, RandomShift
from dark_halo_scope.transforms.draws import draw_keys, splitmix64

ROWS = torch.arange(16_000)


def test_the_eight_elements_of_d4_come_equally_often():
    square = torch.arange(9.0).reshape(3, 3)
    turns = [torch.rot90(square, k) for k in range(4)]
    d4 = {tuple(turned.flatten().tolist()) for turn in turns for turned in (turn, turn.flip(1))}
    assert len(d4) == 8
    images = square.expand(len(ROWS), 1, 3, 3)
    found, counts = np.unique(RandomD4()(images, draw_keys(1, 0, ROWS)).flatten(1), axis=0, return_counts=True)
    assert {tuple(row) for row in found.tolist()} == d4
    assert chisquare(counts).pvalue > 1e-3


def test_shifts_are_whole_pixels_and_uniform():
    pixel = torch.zeros(1, 1, 9, 9)
    pixel[..., 4, 4] = 1
    shifted = RandomShift(2)(pixel.expand(len(ROWS), 1, 9, 9), draw_keys(1, 0, ROWS)).squeeze(1)
    assert (shifted.sum(dim=(1, 2)) == 1).all()
    _, y, x = shifted.nonzero(as_tuple=True)
    table = np.zeros((5, 5))
    np.add.at(table, (y.numpy() - 2, x.numpy() - 2), 1)
    assert chisquare(table.flatten()).pvalue > 1e-3


def test_a_shift_reflects_the_border():
    image = torch.arange(5.0).expand(1, 1, 5, 5)
    results = {tuple(RandomShift(2)(image, draw_keys(0, 0, ROWS[i : i + 1]))[0, 0, 0].tolist()) for i in range(60)}
    assert results == {
        (0, 1, 2, 3, 4),
        (1, 0, 1, 2, 3),
        (2, 1, 0, 1, 2),
        (1, 2, 3, 4, 3),
        (2, 3, 4, 3, 2),
    }


@given(st.integers(0, 2**63 - 1), st.integers(0, 10_000), st.permutations(list(range(12))))
def test_a_stamp_is_augmented_alike_in_any_batch(seed, epoch, order):
    images = torch.arange(12 * 75.0).reshape(12, 3, 5, 5)
    rows = torch.arange(12) * 1_000_003
    augment = Augment(d4=True, max_shift_px=1)
    together = augment(images, draw_keys(seed, epoch, rows))
    alone = [augment(images[i : i + 1], draw_keys(seed, epoch, rows[i : i + 1])) for i in order]
    assert torch.equal(together[order], torch.cat(alone))


def test_epochs_seeds_and_parts_draw_independently():
    keys = draw_keys(5, 0, ROWS)
    for other in (draw_keys(5, 1, ROWS), draw_keys(6, 0, ROWS), splitmix64(keys)):
        equal_d4 = ((keys & 7) == (other & 7)).double().mean()
        assert equal_d4 == pytest.approx(1 / 8, abs=0.015)  # 5 sigma
    assert len(keys.unique()) == len(ROWS)


def test_nothing_is_moved_when_nothing_is_asked():
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(Augment(d4=False, max_shift_px=0)(images, draw_keys(0, 0, ROWS[:4])), images)
    with pytest.raises(ValueError, match="must not be negative"):
        Augment(max_shift_px=-1)


def test_float32_stays_float32_under_autocast():
    images = torch.randn(4, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        augmented = Augment(max_shift_px=2)(images, draw_keys(0, 0, ROWS[:4]))
    assert augmented.dtype == torch.float32
