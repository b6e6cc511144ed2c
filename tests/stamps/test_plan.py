import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.stamps import plan


@st.composite
def layouts(draw):
    """Row groups of any lengths, empty ones included, and the ascending rows of a split among them."""
    lengths = draw(st.lists(st.integers(0, 40), min_size=1, max_size=30))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    n = int(starts[-1])
    chosen = np.random.default_rng(draw(st.integers(0, 2**32))).random(n) < draw(st.sampled_from([0.1, 0.5, 1.0]))
    return starts, np.flatnonzero(chosen)


@settings(max_examples=150, deadline=None)
@given(layouts(), st.integers(0, 3), st.integers(0, 3), st.integers(1, 40))
def test_an_epoch_is_a_permutation_and_a_function_of_seed_and_epoch(layout, seed, epoch, open_row_groups):
    starts, rows = layout
    if not len(rows):
        return
    order = plan.epoch_order(rows, starts, seed=seed, epoch=epoch, open_row_groups=open_row_groups)
    np.testing.assert_array_equal(np.sort(order), rows)
    again = plan.epoch_order(rows, starts, seed=seed, epoch=epoch, open_row_groups=open_row_groups)
    np.testing.assert_array_equal(order, again)


def test_epochs_and_seeds_differ():
    rows, starts = np.arange(1000), np.arange(0, 1001, 10)
    orders = {
        plan.epoch_order(rows, starts, seed=seed, epoch=epoch, open_row_groups=8).tobytes()
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def groups_open(order: np.ndarray, group_size: int) -> np.ndarray:
    """How many row groups have begun and not ended at each moment of an epoch, wrapping groups counted twice."""
    group = order // group_size
    n_open = np.zeros(len(order))
    for g in np.unique(group):
        moments = np.flatnonzero(group == g)
        gaps = np.flatnonzero(np.diff(moments) > len(order) // 2)  # round the corner: open at both ends
        for part in np.split(moments, gaps + 1):
            n_open[part[0] : part[-1] + 1] += 1
    return n_open


def test_few_row_groups_are_open_at_a_time():
    rows, starts = np.arange(20_000), np.arange(0, 20_001, 100)
    order = plan.epoch_order(rows, starts, seed=1, epoch=0, open_row_groups=16)
    n_open = groups_open(order, 100)
    assert n_open.max() <= 16 + 2
    assert np.median(n_open) >= 14


def test_a_batch_mixes_all_open_row_groups():
    rows, starts = np.arange(20_000), np.arange(0, 20_001, 100)
    order = plan.epoch_order(rows, starts, seed=1, epoch=0, open_row_groups=64)
    n_groups = [len(np.unique(batch // 100)) for batch in order[: 20_000 // 128 * 128].reshape(-1, 128)]
    assert min(n_groups) > 40


def test_a_split_that_fits_is_shuffled_fully():
    rows, starts = np.arange(4000), np.arange(0, 4001, 100)
    order = plan.epoch_order(rows, starts, seed=1, epoch=0, open_row_groups=40)
    assert abs(np.corrcoef(order, np.arange(4000))[0, 1]) < 0.06
    first_batch = order[:256] // 100
    assert len(np.unique(first_batch)) >= 38


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 8), st.integers(1, 12))
def test_training_takes_each_stamp_at_most_once_in_equal_steps(n, world, share):
    batch_size = share * world
    order = np.random.default_rng(0).permutation(n)
    if n < batch_size:
        with pytest.raises(plan.PlanError, match=f"has {n} stamps, fewer than one batch of {batch_size}"):
            plan.train_batches(order, plan.Share(batch_size, 0, world))
        return
    ranks = [plan.train_batches(order, plan.Share(batch_size, r, world)) for r in range(world)]
    assert {len(batches) for batches in ranks} == {n // batch_size}
    assert {len(batch) for batches in ranks for batch in batches} == {share}
    one = plan.train_batches(order, plan.Share(batch_size))
    for step, whole in enumerate(one):  # the same optimisation whatever the number of ranks
        np.testing.assert_array_equal(np.concatenate([batches[step] for batches in ranks]), whole)
    assert len(np.unique(np.concatenate(one))) == n // batch_size * batch_size


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 500), st.integers(1, 9), st.integers(1, 12))
def test_evaluation_takes_every_stamp_once_in_equal_steps(n, world, share):
    rows = np.arange(n) * 3
    if n < world:
        with pytest.raises(plan.PlanError, match=f"{n} stamps cannot be shared by {world} ranks"):
            plan.eval_batches(rows, plan.Share(share * world, 0, world))
        return
    ranks = [plan.eval_batches(rows, plan.Share(share * world, r, world)) for r in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    lengths = [len(batch) for batches in ranks for batch in batches]
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1
    np.testing.assert_array_equal(np.concatenate([batch for batches in ranks for batch in batches]), rows)


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(plan.PlanError, match="10 stamps cannot be shared evenly by 4 ranks; choose a multiple"):
        plan.Share(10, rank=0, world=4)
