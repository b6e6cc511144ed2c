from dataclasses import replace

import numpy as np
import pytest

from dark_halo_scope.review.sharding import WORLDS, share_out, train_breaches
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.plan import PlanError, Share, TrainBatches, epoch_order
from tests.stamps.datasets import write_dataset

PLAN = {"batch_size": 16, "eval_batch_size": 8, "seed": 3, "lanes": 4}


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> StampIndex:
    root = write_dataset(tmp_path_factory.mktemp("data"), n_train=68, n_val=22, n_test=26, row_group_size=6)
    return StampIndex.build(str(root))


def ranks_of(index: StampIndex, shares: list[Share]) -> list[TrainBatches]:
    split = index.split_rows("train")
    order = epoch_order(split, seed=0, epoch=0, lanes=4)
    return [TrainBatches(len(split), order, share) for share in shares]


@pytest.mark.parametrize("world", WORLDS)
def test_each_stamp_comes_once_on_any_number_of_ranks(index, world):
    found = share_out(index, world, **PLAN)
    assert found.breaches == ()
    assert (found.train_steps, found.left_over, found.evaluated) == (4, 4, 48)


def test_a_batch_that_cannot_be_shared_is_refused(index):
    with pytest.raises(PlanError, match="a batch of 16 rows cannot be shared evenly by 3 ranks"):
        share_out(index, 3, **PLAN)


def test_a_rank_that_reads_what_another_reads_is_named(index):
    same = ranks_of(index, [Share(16, 0, 2), Share(16, 0, 2)])
    assert train_breaches(index, same, 16) == ["train: 32 stamps come twice in an epoch"]


def test_a_rank_with_more_steps_is_named(index):
    uneven = ranks_of(index, [Share(16, 0, 2), Share(8, 1, 2)])
    assert "train: the ranks take different numbers of steps" in train_breaches(index, uneven, 16)


def test_stamps_of_another_split_are_named(index):
    ranks = ranks_of(index, [Share(16)])
    moved = index.split.copy()
    moved[np.sort(ranks[0][0])[:1]] = 2
    assert train_breaches(replace(index, split=moved), ranks, 16) == [
        "train: stamps of another split, or left-out ones, are read"
    ]
