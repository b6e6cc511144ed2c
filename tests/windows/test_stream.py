"""Windows on the stream of the stamps: exactly once, equal steps, seeded, resumable."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.stamps import plan
from dark_halo_scope.stamps.loaders import EvalLoader, TrainLoader
from dark_halo_scope.stamps.plan import PlanError, Share
from dark_halo_scope.stamps.quarantine import Quarantine
from dark_halo_scope.stamps.stream import StreamOptions
from dark_halo_scope.windows.index import WindowIndex, participant_key
from dark_halo_scope.windows.reader import window_reader
from tests.windows.datasets import window, write_study

TRAIN = np.setdiff1d(np.arange(40), [3, 4, 11, 30])
VAL = np.array([3, 30, 11, 44])


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> WindowIndex:
    index = WindowIndex.build(str(write_study(tmp_path_factory.mktemp("study"))))
    return index.with_parts({"train": TRAIN, "val": VAL})


def loader(index, split="train", *, batch_size=6, rank=0, world=1, threads=1, seed=0):
    quarantine = Quarantine(index, Path("never written"))
    options = StreamOptions(num_threads=threads, lanes=4)
    share = Share(batch_size, rank, world)
    if split == "train":
        return TrainLoader(index, split, quarantine, share, options, seed=seed, open_reader=window_reader)
    return EvalLoader(index, split, quarantine, share, options, open_reader=window_reader)


def rows_of(batches) -> list[list[int]]:
    return [batch["row"].tolist() for batch in batches]


def test_a_batch_holds_the_samples_labels_and_participants_of_its_rows(index):
    for batch in loader(index):
        rows = batch["row"].tolist()
        assert batch["window"].dtype == torch.float32
        np.testing.assert_array_equal(batch["window"], [window(row) for row in rows])
        assert batch["label"].tolist() == [index.label[row] for row in rows]
        assert batch["participant"].tolist() == [participant_key(f"p{row // 16}") for row in rows]


@pytest.mark.parametrize("full_shuffle_rows", [0, plan.FULL_SHUFFLE_ROWS], ids=["by lanes", "full shuffle"])
@settings(max_examples=8, deadline=None)
@given(world=st.integers(1, 4), threads=st.integers(1, 3), share=st.integers(1, 5), epoch=st.integers(0, 3))
def test_each_window_once_in_equal_steps(index, full_shuffle_rows, world, threads, share, epoch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "FULL_SHUFFLE_ROWS", full_shuffle_rows)

        def of_ranks(split: str) -> list[list[list[int]]]:
            loaders = [
                loader(index, split, batch_size=share * world, rank=rank, world=world, threads=threads)
                for rank in range(world)
            ]
            if split == "train":
                for one in loaders:
                    one.set_epoch(epoch)
            return [rows_of(one) for one in loaders]

        train, val = of_ranks("train"), of_ranks("val")
    assert {len(batches) for batches in train} == {36 // (share * world)}
    seen = list(chain(*chain(*train)))
    assert len(set(seen)) == len(seen) == 36 // (share * world) * share * world
    assert set(seen) <= set(TRAIN.tolist())
    assert len({len(batches) for batches in val}) == 1
    assert sorted(chain(*chain(*val))) == sorted(VAL.tolist())


def test_an_epoch_goes_on_where_the_state_says(index):
    whole, other = loader(index), loader(index, seed=1)
    whole.set_epoch(2)
    expected = rows_of(whole)
    resumed = loader(index, threads=3)
    resumed.load_state_dict({"epoch": 2, "next_batch": 4})
    assert rows_of(resumed) == expected[4:]
    other.set_epoch(2)
    assert rows_of(other) != expected


def test_a_part_that_is_too_small_is_refused(index):
    with pytest.raises(PlanError, match="the train split has 36 rows, fewer than one batch of 40"):
        loader(index, batch_size=40)
