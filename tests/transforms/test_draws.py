import pytest
import torch
from scipy.stats import kstest

from dark_halo_scope.transforms.draws import draw_keys, normals, split_keys, splitmix64, uniforms

ROWS = torch.arange(4000)


def test_splitmix64_gives_the_published_sequence():
    golden = 0x9E3779B97F4A7C15 - (1 << 64)
    state, outputs = torch.tensor(1234567), []
    for _ in range(4):
        outputs.append(int(splitmix64(state)) % (1 << 64))
        state = state + golden
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]


def test_the_first_uniforms_of_a_key_are_the_generators_outputs():
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    drawn = uniforms(torch.tensor([1234567]), 3)[0].tolist()
    assert drawn == [(word >> 40) / 2**24 for word in expected]


@pytest.mark.parametrize(("draw", "law"), [(uniforms, "uniform"), (normals, "norm")])
def test_draws_follow_their_law_and_do_not_depend_on_each_other(draw, law):
    drawn = draw(draw_keys(3, 1, ROWS), 5)
    assert kstest(drawn.flatten().numpy(), law).pvalue > 1e-3
    correlation = torch.corrcoef(torch.cat([drawn, drawn.square()], dim=1).T) - torch.eye(10)
    correlation[torch.arange(5), torch.arange(5) + 5] = correlation[torch.arange(5) + 5, torch.arange(5)] = 0
    assert correlation.abs().max() < 5 / len(ROWS) ** 0.5


def test_a_stamp_draws_the_same_alone_and_in_a_batch():
    keys = draw_keys(3, 1, ROWS[:50])
    for draw in (uniforms, normals):
        assert torch.equal(draw(keys, 7)[20:21], draw(keys[20:21], 7))


def test_streams_and_neighbouring_epochs_share_nothing():
    keys = draw_keys(3, 1, ROWS)
    drawn = [uniforms(k, 1)[:, 0] for k in (split_keys(keys, 0), split_keys(keys, 1), draw_keys(3, 2, ROWS))]
    assert torch.corrcoef(torch.stack(drawn)).triu(1).abs().max() < 5 / len(ROWS) ** 0.5
