import math

import pytest
import torch
from scipy.stats import kstest

from dark_halo_scope.transforms.draws import draw_keys, normals, splitmix64
from dark_halo_scope.transforms.window_augment import WindowAugment, rotation

ROWS = torch.arange(2000)
TRIPLES = [[0, 1, 2], [4, 5, 6]]


def only(**amounts) -> WindowAugment:
    return WindowAugment(**({"jitter": 0.0, "scale": 0.0, "rotate_deg": 0.0, "triples": TRIPLES} | amounts))


@pytest.fixture
def windows() -> torch.Tensor:
    return torch.randn(len(ROWS), 8, 16, generator=torch.Generator().manual_seed(1)) + 3


def test_a_rotation_turns_every_three_axes_of_a_window_alike_and_leaves_the_others(windows):
    turned = only(rotate_deg=20.0)(windows, draw_keys(1, 0, ROWS))
    assert torch.equal(turned[:, [3, 7]], windows[:, [3, 7]])
    for triple in TRIPLES:
        torch.testing.assert_close(turned[:, triple].norm(dim=1), windows[:, triple].norm(dim=1))
    twice = windows.clone()
    twice[:, 4:7] = windows[:, :3]
    same = only(rotate_deg=20.0)(twice, draw_keys(1, 0, ROWS))
    torch.testing.assert_close(same[:, 4:7], same[:, :3])


def test_angles_are_uniform_up_to_the_largest_and_axes_point_anywhere():
    axes = torch.eye(3).expand(len(ROWS), 3, 3)  # the three unit vectors, as three samples of x, y, z
    turns = only(rotate_deg=20.0, triples=[[0, 1, 2]])(axes, draw_keys(1, 0, ROWS)).double()
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).double().expand_as(turns), rtol=0, atol=1e-5)
    axis = torch.stack([turns[:, i, j] - turns[:, j, i] for i, j in ((2, 1), (0, 2), (1, 0))], dim=1) / 2
    angle = torch.asin(axis.norm(dim=1)).rad2deg()
    assert kstest(angle / 20, "uniform").pvalue > 1e-3
    assert kstest(axis[:, 2] / axis.norm(dim=1), "uniform", (-1, 2)).pvalue > 1e-3  # Archimedes: heights are uniform


def test_a_quarter_turn_about_z_takes_x_to_y():
    turn = rotation(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[math.pi / 2]]))
    torch.testing.assert_close(turn[0] @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), rtol=0, atol=1e-6)


def test_scales_and_jitter_have_the_spread_asked_for(windows):
    keys = draw_keys(1, 0, ROWS)
    factor = only(scale=0.1)(windows, keys) / windows
    torch.testing.assert_close(factor.std(dim=2), torch.zeros(len(ROWS), 8), rtol=0, atol=1e-5)  # one for a channel
    assert factor[..., 0].std() == pytest.approx(0.1, rel=0.03)
    noise = (only(jitter=0.2)(windows, keys) - windows) / windows.std(dim=2, keepdim=True)
    assert noise.std() == pytest.approx(0.2, rel=0.01)
    still = torch.full((4, 8, 16), 9.81)
    assert torch.equal(only(jitter=0.2)(still, keys[:4]), still)


def test_gains_do_not_follow_the_angle_of_the_rotation():
    """The angle with the sign of the axis' z: the two together are one draw."""
    keys = draw_keys(1, 0, ROWS)
    turned = only(rotate_deg=20.0, triples=[[0, 1, 2]])(torch.eye(3).expand(len(ROWS), 3, 3), keys)
    angle = torch.acos(((turned.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1))
    axis_z = turned[:, 1, 0] - turned[:, 0, 1]
    axis_z_drawn = normals(splitmix64(keys), 3)[:, 2]
    signed = angle * torch.sign(axis_z * axis_z_drawn)
    gains = only(scale=0.1, rotate_deg=1e-9)(torch.ones(len(ROWS), 8, 1), keys)[..., 0] - 1
    correlation = torch.corrcoef(torch.cat([signed[None], gains.square().T]))[0, 1:]
    assert correlation.abs().max() < 4 / len(ROWS) ** 0.5


def test_a_window_is_augmented_alike_in_any_batch_and_otherwise_in_another_epoch(windows):
    augment = WindowAugment(triples=TRIPLES)
    together = augment(windows[:9], draw_keys(4, 2, ROWS[:9]))
    alone = [augment(windows[k : k + 1], draw_keys(4, 2, ROWS[k : k + 1])) for k in range(9)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-6, atol=1e-6)
    assert not torch.isclose(together, augment(windows[:9], draw_keys(4, 3, ROWS[:9]))).all(dim=(1, 2)).any()


def test_nothing_is_changed_when_nothing_is_asked(windows):
    keys = draw_keys(0, 0, ROWS)
    assert WindowAugment(use_augmentation=False, triples=TRIPLES)(windows, keys) is windows
    assert only()(windows, keys) is windows
    assert WindowAugment(jitter=0.0, scale=0.0, triples=[])(windows, keys) is windows


def test_float32_stays_exact_under_autocast(windows):
    augment, keys = WindowAugment(triples=TRIPLES), draw_keys(0, 0, ROWS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = augment(windows, keys)
    assert torch.equal(mixed, augment(windows, keys))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"jitter": -0.1}, r"transforms\.augment\.jitter=-0.1 must not be negative"),
        ({"triples": [[0, 1]]}, r"triples=\[\[0, 1\]\] must be threes of channels"),
        ({"triples": [[0, 1, 2], [2, 3, 4]]}, "each channel at most once"),
    ],
)
def test_impossible_options_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        WindowAugment(**options)
