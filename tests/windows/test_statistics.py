import numpy as np

from dark_halo_scope.windows.index import WindowIndex, participant_key
from dark_halo_scope.windows.statistics import channel_statistics
from tests.windows.datasets import values, window, write_study


def test_each_participant_by_their_own_windows_and_no_others(tmp_path):
    index = WindowIndex.build(str(write_study(tmp_path)))
    rows = np.array([2, 7, 20, 1])
    found = channel_statistics(index, rows)
    assert found.participants.tolist() == [participant_key("p0"), participant_key("p1")]
    assert found.count.tolist() == [48, 16]
    own = np.stack([window(row) for row in (1, 2, 7)]).astype(np.float64)
    np.testing.assert_allclose(found.mean, [own.mean(axis=(0, 2)), window(20).astype(np.float64).mean(axis=1)])
    np.testing.assert_allclose(found.variance[0], own.var(axis=(0, 2)))


def test_everybody_together_is_what_all_samples_give(tmp_path):
    index = WindowIndex.build(str(write_study(tmp_path)))
    rows = np.array([2, 7, 20, 1, 40])
    everybody = channel_statistics(index, rows).pooled()
    samples = np.stack([window(row) for row in rows]).astype(np.float64)
    np.testing.assert_allclose(everybody.mean, [samples.mean(axis=(0, 2))])
    np.testing.assert_allclose(everybody.variance, [samples.var(axis=(0, 2))])
    assert everybody.participants.tolist() == [0]


def test_windows_that_are_not_given_do_not_count(tmp_path):
    quiet = WindowIndex.build(str(write_study(tmp_path / "quiet")))
    loud = WindowIndex.build(str(write_study(tmp_path / "loud", change=values(window=(15, [1e6] * 32)))))
    without_the_last = np.arange(47)
    one, other = (channel_statistics(index, without_the_last) for index in (quiet, loud))
    np.testing.assert_array_equal(one.mean, other.mean)
    assert (channel_statistics(loud, np.arange(48)).mean[2] > one.mean[2] + 1e4).all()
