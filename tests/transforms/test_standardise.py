import numpy as np
import pytest
import torch

from dark_halo_scope.transforms.standardise import Standardise
from dark_halo_scope.windows.statistics import ChannelStatistics


def statistics(*participants: int, offset: float = 0.0) -> ChannelStatistics:
    """Participant k has the mean (k, -k) and the standard deviation (1 + k, 0)."""
    keys = np.array(participants, np.int64)
    mean = np.stack([keys + offset, -keys - offset], axis=1).astype(np.float64)
    variance = np.stack([(1.0 + keys) ** 2, np.zeros(len(keys))], axis=1)
    return ChannelStatistics(keys, np.full(len(keys), 100), mean, variance)


def test_each_window_by_the_numbers_of_its_participant():
    normalise = Standardise()
    normalise.fit(statistics(7, 2))
    windows = torch.arange(12.0).view(3, 2, 2)
    normal = normalise(windows, torch.tensor([2, 7, 2]))
    torch.testing.assert_close(normal[0, 0], (windows[0, 0] - 2) / 3)
    torch.testing.assert_close(normal[1, 0], (windows[1, 0] - 7) / 8)
    torch.testing.assert_close(normal[2, 1], windows[2, 1] + 2)  # a channel that stands still is not divided


def test_those_who_are_known_keep_their_numbers_and_others_are_learnt():
    normalise = Standardise()
    normalise.fit(statistics(7, 2))
    normalise.fit(statistics(5, 7, offset=100.0))
    assert normalise.participants.tolist() == [2, 5, 7]
    assert normalise.mean[:, 0].tolist() == [2, 105, 7]


def test_a_participant_without_numbers_is_known_before_and_never_normalised_wrongly():
    normalise = Standardise()
    normalise.fit(statistics(7, 2))
    assert normalise.unknown(torch.tensor([1, 2, 9])).tolist() == [1, 9]
    normal = normalise(torch.zeros(4, 2, 3), torch.tensor([1, 2, 9, 7]))
    assert normal.isnan().flatten(1).all(1).tolist() == [True, False, True, False]


def test_one_pair_of_numbers_for_everybody():
    normalise = Standardise(by="all")
    normalise.fit(statistics(1, 3))
    normalise.fit(statistics(50))
    assert len(normalise.mean) == 1
    # the mean of 1 and 3 is 2; the variance is that within (4 and 16) and that between them (1)
    windows = torch.randn(2, 2, 4)
    torch.testing.assert_close(normalise(windows, torch.tensor([3, 99]))[:, 0], (windows[:, 0] - 2) / 11**0.5)
    assert len(normalise.unknown(torch.tensor([3, 99]))) == 0


def test_windows_may_be_left_as_they_are():
    normalise = Standardise(by="none")
    normalise.fit(statistics(1))
    windows = torch.randn(2, 2, 4)
    assert normalise(windows, torch.tensor([3, 99])) is windows
    assert len(normalise.unknown(torch.tensor([3]))) == 0


@pytest.mark.parametrize("by", ["participant", "all", "none"])
def test_the_numbers_travel_with_the_weights(by, tmp_path):
    fitted, fresh, other = Standardise(by), Standardise(by), Standardise(by)
    fitted.fit(statistics(7, 2, 5))
    other.fit(statistics(1))
    torch.save(fitted.state_dict(), tmp_path / "weights.pt")
    windows, participants = torch.randn(3, 2, 4), torch.tensor([5, 2, 7])
    for target in (fresh, other):
        target.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        assert torch.equal(target(windows, participants), fitted(windows, participants))


def test_another_scheme_is_refused():
    with pytest.raises(ValueError, match="by='session' is not known: choose one of participant, all, none"):
        Standardise(by="session")
