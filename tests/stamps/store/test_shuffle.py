import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.stamps.contract import SPLITS
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store.shuffle import UNUSED, plan_shuffle
from tests.stamps.datasets import spoil, write_dataset


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return StampIndex.build(str(write_dataset(tmp_path_factory.mktemp("raw"), change=spoil(4, 60, cutout_ok=0))))


@settings(max_examples=10, deadline=None)
@given(
    n_files=st.integers(1, 4),
    row_group_size=st.integers(1, 30),
    shard_stamps=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_every_usable_row_has_one_place_in_a_shard_of_its_split(n_files, row_group_size, shard_stamps, seed):
    with tempfile.TemporaryDirectory() as folder:
        counts = {"n_train": 30, "n_val": 8, "n_test": 8}
        layout = {"n_files": n_files, "row_group_size": row_group_size}
        index = StampIndex.build(str(write_dataset(Path(folder), **counts, **layout, change=spoil(4, 33, cutout_ok=0))))
    plan = plan_shuffle(index, seed=seed, shard_stamps=shard_stamps)
    used = plan.destination != UNUSED
    assert set(np.flatnonzero(~used)) == {4, 33}
    assert sorted(plan.destination[used]) == list(range(plan.n_stamps)) == list(range(44))
    assert plan.shard_edges[0] == 0
    assert plan.shard_edges[-1] == 44
    sizes = np.diff(plan.shard_edges)
    assert sizes.min() >= 1
    assert sizes.max() <= shard_stamps
    shard = np.searchsorted(plan.shard_edges, plan.destination[used], "right") - 1
    split = [plan.shard_names[s].split("-")[0] for s in shard]
    assert split == [SPLITS[s] for s in index.split[used]]
    chunks = [plan.chunk_rows(chunk) for chunk in range(plan.n_chunks)]
    np.testing.assert_array_equal(np.concatenate(chunks), np.flatnonzero(used))
    assert np.isin(plan.chunk_edges, index.group_starts).all()


def test_the_shuffle_depends_on_data_and_seed_alone(index):
    first = plan_shuffle(index, seed=1, shard_stamps=10).destination
    np.testing.assert_array_equal(plan_shuffle(index, seed=1, shard_stamps=40).destination, first)
    assert (plan_shuffle(index, seed=2, shard_stamps=10).destination != first).mean() > 0.8
    other = replace(index, fingerprint="0" * 64)
    assert (plan_shuffle(other, seed=1, shard_stamps=10).destination != first).mean() > 0.8


def test_neighbours_in_the_sky_are_strangers_in_the_store(index):
    """What is constant over 6 neighbouring rows varies between row groups of the store as if drawn at random."""
    inflation = []
    for seed in range(200):
        place = plan_shuffle(index, seed=seed, shard_stamps=16).destination[index.rows("train")]
        region = np.random.default_rng(seed).normal(size=8)[np.arange(48) // 6][np.argsort(place)[: 47 - 47 % 8]]
        inflation.append(region.reshape(-1, 8).mean(axis=1).var(ddof=1) / (region.var(ddof=1) / 8))
    assert 0.9 < np.mean(inflation) < 1.1
