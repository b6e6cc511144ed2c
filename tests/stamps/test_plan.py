import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.stamps import plan
from dark_halo_scope.stamps.plan import EvalBatches, FullShuffle, Lanes, PlanError, Share, TrainBatches
from dark_halo_scope.stamps.split_rows import SplitRows

LANES = st.sampled_from([1, 2, 4, 8, 16])


@st.composite
def splits(draw, min_rows=1):
    """A split among row groups of any lengths, empty ones included, and its rows, ascending."""
    lengths = draw(st.lists(st.integers(0, 40), min_size=1, max_size=30))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    density = draw(st.sampled_from([0.1, 0.5, 1.0]))
    in_use = np.random.default_rng(draw(st.integers(0, 2**32))).random(int(starts[-1])) < density
    if in_use.sum() < min_rows:
        starts, in_use = np.append(starts, starts[-1] + min_rows), np.append(in_use, np.ones(min_rows, bool))
    return SplitRows(in_use, starts), np.flatnonzero(in_use)


def uniform(n_rows: int, group_rows: int) -> SplitRows:
    return SplitRows(np.ones(n_rows, bool), np.append(np.arange(0, n_rows, group_rows), n_rows))


@settings(max_examples=200, deadline=None)
@given(splits(), st.data())
def test_rows_of_a_split_are_known_by_their_place(split_and_rows, data):
    split, rows = split_and_rows
    assert len(split) == len(rows)
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    np.testing.assert_array_equal(split.slice(start, stop), rows[start:stop])
    assert split.lengths(split.groups).sum() == len(rows)
    group = np.repeat(split.groups, split.lengths(split.groups))
    k = np.concatenate([np.arange(n) for n in split.lengths(split.groups)])
    np.testing.assert_array_equal(split.rows(group, k), rows)
    np.testing.assert_array_equal(split.group_of(rows), group)


@settings(max_examples=300, deadline=None)
@given(splits(min_rows=16), LANES, st.integers(0, 3), st.integers(0, 3), st.integers(1, 50))
def test_an_epoch_is_a_permutation_and_a_function_of_seed_and_epoch(split_and_rows, lanes, seed, epoch, step):
    split, rows = split_and_rows
    for order in (Lanes(split, seed=seed, epoch=epoch, lanes=lanes), FullShuffle(split, seed=seed, epoch=epoch)):
        pieces = [order.rows(k, min(k + step, len(rows))) for k in range(0, len(rows), step)]
        np.testing.assert_array_equal(np.sort(np.concatenate(pieces)), rows)
        again = type(order)(split, seed=seed, epoch=epoch, **({"lanes": lanes} if isinstance(order, Lanes) else {}))
        np.testing.assert_array_equal(again.rows(3, len(rows)), order.rows(3, len(rows)))


@settings(max_examples=200, deadline=None)
@given(splits(min_rows=16), LANES)
def test_files_are_asked_for_as_the_epoch_uses_them(split_and_rows, lanes):
    split, rows = split_and_rows
    for order in (Lanes(split, seed=0, epoch=0, lanes=lanes), FullShuffle(split, seed=0, epoch=0)):
        one_by_one = np.concatenate([order.rows(k, k + 1) for k in range(len(rows))])
        _, first = np.unique(split.group_of(one_by_one), return_index=True)
        use = dict(zip(split.groups.tolist(), first.tolist(), strict=True))
        told = [use[group] for group in order.groups_by_first_use().tolist()]
        assert sorted(told) == sorted(use.values())
        off = np.diff(told)
        assert (off > -2 * lanes).all()  # within a round of the lanes, and one row's difference of their lengths


def test_a_small_split_is_shuffled_fully_and_a_large_one_by_lanes():
    small = uniform(plan.FULL_SHUFFLE_ROWS, 100)
    order = plan.epoch_order(small, seed=3, epoch=7, lanes=8)
    everything = np.random.default_rng([3, 7]).permutation(len(small))
    np.testing.assert_array_equal(order.rows(0, len(small)), everything)
    large = uniform(plan.FULL_SHUFFLE_ROWS + 1, 100)
    assert isinstance(plan.epoch_order(large, seed=3, epoch=7, lanes=8), Lanes)
    assert isinstance(plan.epoch_order(large, seed=3, epoch=7, lanes=512), FullShuffle)  # 328 row groups


def test_epochs_and_seeds_differ():
    split = uniform(40_000, 10)
    orders = {
        plan.epoch_order(split, seed=seed, epoch=epoch, lanes=8).rows(0, 500).tobytes()
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(16, 40), LANES, st.integers(0, 9))
def test_a_lane_reads_each_row_group_from_its_first_row_on(group_rows, n_groups, lanes, seed):
    split = uniform(group_rows * n_groups, group_rows)
    order = Lanes(split, seed=seed, epoch=0, lanes=lanes)
    rows = np.concatenate([order.rows(k, k + 1) for k in range(len(split))])
    by_group = [rows[rows // group_rows == group] for group in range(n_groups)]
    shared = sum((np.diff(in_group) <= 0).any() for in_group in by_group)
    assert shared < lanes  # those that the ends of lanes cut
    begun_late = sum(in_group[0] % group_rows != 0 for in_group in by_group)
    assert begun_late == 0


def inflation(order: plan.EpochOrder, n_rows: int, batch_size: int, unit: np.ndarray) -> float:
    """Variance of the batch mean over that of independent draws, for a quantity constant over a ``unit`` of the sky.

    For unit k with n(k) stamps of a batch of B, and a share p(k) of the split, it is
    (sum (n(k) / B)^2 - sum p(k)^2) / ((1 - sum p(k)^2) / B), averaged over the batches of an epoch.
    """
    p = np.bincount(unit) / len(unit)
    moments = []
    for start in range(0, n_rows - batch_size + 1, batch_size):
        n = np.bincount(unit[order.rows(start, start + batch_size)], minlength=len(p))
        moments.append(((n / batch_size) ** 2).sum())
    return (np.mean(moments) - (p**2).sum()) / ((1 - (p**2).sum()) / batch_size)


GROUP, BRICK, FILE = 640, 2_000, 12_800  # rows: of a row group, of a sky brick, of a file, all in sky order
N_ROWS = 60 * FILE


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("batch_size", [128, 256])
def test_batches_of_sky_ordered_files_are_nearly_independent(batch_size, epoch):
    order = Lanes(uniform(N_ROWS, GROUP), seed=0, epoch=epoch, lanes=128)
    bricks, files = (np.arange(N_ROWS) // size for size in (BRICK, FILE))
    assert inflation(order, N_ROWS, batch_size, bricks) <= 3
    assert inflation(order, N_ROWS, batch_size, files) <= 3


def test_batches_of_a_store_are_independent():
    order = Lanes(uniform(N_ROWS, 256), seed=0, epoch=0, lanes=128)
    sky_row = np.random.default_rng(0).permutation(N_ROWS)  # a store is shuffled when it is made
    for size in (BRICK, FILE):
        assert inflation(order, N_ROWS, 256, sky_row // size) <= 1.1


def test_every_part_of_an_epoch_mixes_as_well_as_any_other():
    order = Lanes(uniform(N_ROWS, GROUP), seed=0, epoch=0, lanes=128)
    n_groups = [len(np.unique(order.rows(start, start + 256) // GROUP)) for start in range(0, N_ROWS - 255, 256)]
    assert min(n_groups) >= 120


@settings(max_examples=200, deadline=None)
@given(splits(), st.integers(1, 8), st.integers(1, 12), LANES)
def test_training_takes_each_stamp_at_most_once_in_equal_steps(split_and_rows, world, share, lanes):
    split, rows = split_and_rows
    batch_size = share * world
    if len(rows) < batch_size:
        with pytest.raises(PlanError, match=f"has {len(rows)} rows, fewer than one batch of {batch_size}"):
            plan.train_steps(len(rows), Share(batch_size, 0, world))
        return
    order = Lanes(split, seed=1, epoch=2, lanes=lanes) if len(rows) >= lanes else FullShuffle(split, seed=1, epoch=2)
    ranks = [TrainBatches(len(rows), order, Share(batch_size, r, world)) for r in range(world)]
    assert {len(batches) for batches in ranks} == {len(rows) // batch_size}
    assert {batches.n_rows for batches in ranks} == {len(rows) // batch_size * share}
    one = TrainBatches(len(rows), order, Share(batch_size))
    seen = []
    for step in range(len(one)):  # the same optimisation whatever the number of ranks
        parts = [batches[step] for batches in ranks]
        assert {len(part) for part in parts} == {share}
        np.testing.assert_array_equal(np.concatenate(parts), one[step])
        seen.append(one[step])
    assert len(np.unique(np.concatenate(seen))) == len(rows) // batch_size * batch_size


@pytest.mark.parametrize("world", [2, 4, 8])
def test_ranks_share_out_the_row_groups(world):
    split = uniform(64_000, 100)
    order = Lanes(split, seed=0, epoch=0, lanes=64)
    ranks = [TrainBatches(64_000, order, Share(128, r, world)) for r in range(world)]
    n_groups = [len(np.unique(np.concatenate([b[k] for k in range(len(b))]) // 100)) for b in ranks]
    assert sum(n_groups) <= 640 + world


@settings(max_examples=300, deadline=None)
@given(splits(), st.integers(1, 9), st.integers(1, 12))
def test_evaluation_takes_every_stamp_once_in_equal_steps(split_and_rows, world, share):
    split, rows = split_and_rows
    if len(rows) < world:
        with pytest.raises(PlanError, match=f"{len(rows)} rows cannot be shared by {world} ranks"):
            EvalBatches(split, Share(share * world, 0, world))
        return
    ranks = [EvalBatches(split, Share(share * world, r, world)) for r in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    batches = [[rank[k] for k in range(len(rank))] for rank in ranks]
    lengths = [len(batch) for rank in batches for batch in rank]
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1
    np.testing.assert_array_equal(np.concatenate([batch for rank in batches for batch in rank]), rows)
    assert [rank.n_rows for rank in ranks] == [sum(map(len, rank)) for rank in batches]


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(PlanError, match="10 rows cannot be shared evenly by 4 ranks; choose a multiple"):
        Share(10, rank=0, world=4)


def test_bits_are_reversed():
    assert plan.bit_reversal(8).tolist() == [0, 4, 2, 6, 1, 5, 3, 7]
