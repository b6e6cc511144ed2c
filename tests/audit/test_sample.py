import numpy as np

from dark_halo_scope.audit.sample import draw_rows, read_sample
from dark_halo_scope.stamps.index import StampIndex
from tests.audit.planting import settings
from tests.stamps.datasets import spoil, write_dataset


def cells(index, rows):
    return np.bincount(index.split[rows] * 2 + index.label[rows], minlength=6).tolist()


def test_a_sample_has_its_shares_of_splits_and_classes(tmp_path):
    index = StampIndex.build(str(write_dataset(tmp_path / "d", n_train=400, n_val=200, n_test=20, row_group_size=40)))
    rows = draw_rows(index, 160, seed=0)
    assert cells(index, rows) == [40, 40, 20, 20, 10, 10]  # test has no more
    assert len(np.unique(rows)) == len(rows)
    assert np.array_equal(rows, draw_rows(index, 160, seed=0))
    assert not np.array_equal(rows, draw_rows(index, 160, seed=1))


def test_a_sample_touches_few_row_groups_but_not_one_only(tmp_path):
    index = StampIndex.build(str(write_dataset(tmp_path / "d", n_train=1200, n_val=48, n_test=48, row_group_size=60)))
    rows = draw_rows(index, 128, seed=0)
    train = rows[index.split[rows] == 0]
    assert 2 <= len(np.unique(index.group_of(train))) <= 4  # 32 of each class: 16 from each of two or three groups
    counts = np.bincount(index.group_of(train) * 2 + index.label[train])
    assert counts.max() <= 16


def test_every_stamp_is_compared_but_only_the_sample_measured(tmp_path):
    root = write_dataset(tmp_path / "d", n_train=64, n_val=32, n_test=32, change=spoil(5, stamp_npz=b"broken"))
    index = StampIndex.build(str(root))
    sample = read_sample(index, settings(n_stamps=40, all_stamps=True), progress=False)
    assert np.array_equal(sample.rows, np.arange(128))
    assert np.array_equal(sample.rows[sample.measured], draw_rows(index, 40, seed=0))
    assert np.flatnonzero(~sample.good).tolist() == [5]
    assert [fault.row for fault in sample.faults] == [5]
    assert len(np.unique(sample.hashes[sample.good])) == 127
    alone = read_sample(index, settings(n_stamps=40), progress=False)
    for name, values in alone.scalars.items():
        np.testing.assert_array_equal(values, sample.scalars[name], err_msg=name)
