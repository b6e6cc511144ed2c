import gc
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.remote import RemoteReadError, RetryPolicy
from dark_halo_scope.stamps.row_groups import RowGroups
from tests.stamps.datasets import make_row, write_dataset


@pytest.fixture(scope="module")
def survey(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("survey"), row_group_size=24)


@pytest.fixture(scope="module")
def index(survey) -> StampIndex:
    return StampIndex.build(str(survey))


@settings(max_examples=100, deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 23)), max_size=40),
    capacity=st.integers(1, 4),
    rows_at_a_time=st.sampled_from([None, 1, 3, 50]),
)
def test_any_row_may_be_asked_for_at_any_time(index, places, capacity, rows_at_a_time):
    groups = RowGroups(index, capacity, rows_at_a_time)
    for group, i in places:
        row = int(index.group_starts[group]) + i
        assert b"".join(groups.stamp_bytes(group, i)) == make_row(row, "train", row % 2 == 1, 0)["stamp_npz"]


def test_a_row_that_does_not_exist_is_not_looked_for_for_ever(index):
    for rows_at_a_time in (None, 5):
        with pytest.raises(IndexError, match="beyond the 24"):
            RowGroups(index, 2, rows_at_a_time).stamp_bytes(0, 24)


def test_lanes_that_share_a_row_group_read_it_once_each(index):
    groups = RowGroups(index, 8, rows_at_a_time=2)
    for i in range(8):
        for start in (0, 8, 16):
            groups.stamp_bytes(1, start + i)
    assert len(groups._by_use) == 3


def test_a_row_group_in_use_is_not_read_again_when_others_end(index):
    groups = RowGroups(index, 2, rows_at_a_time=4)
    groups.stamp_bytes(0, 0)
    (reading,) = groups._open[0]
    for i in range(24):
        groups.stamp_bytes(0, i)
        groups.stamp_bytes(1 + i // 12, i)
    assert groups._open[0] == [reading]


def test_a_row_group_is_not_unpacked_for_its_first_row(index):
    groups = RowGroups(index, 2, rows_at_a_time=4)
    before = pa.total_allocated_bytes()
    groups.stamp_bytes(0, 0)
    assert pa.total_allocated_bytes() - before < 0.1 * index.files.sizes[0]


def test_every_thread_is_told_of_a_damaged_row_group(tmp_path):
    file = write_dataset(tmp_path, n_files=1) / "part-000.parquet"
    index = StampIndex.build(str(tmp_path))
    chunk = index.files.parquet(0).metadata.row_group(2).column(1)
    data = bytearray(file.read_bytes())
    start = min(offset for offset in (chunk.dictionary_page_offset, chunk.data_page_offset) if offset)
    data[start : start + 200] = bytes(200)
    file.write_bytes(data)
    groups = RowGroups(StampIndex.build(str(tmp_path)), 2, rows_at_a_time=4)
    for i in np.arange(3):
        with pytest.raises(ContractError, match="row group 2 cannot be read"):
            groups.stamp_bytes(2, int(i))


@pytest.mark.parametrize("rows_at_a_time", [None, 4])
def test_a_row_group_of_fewer_values_than_rows_is_refused(tmp_path, rows_at_a_time):
    file = write_dataset(tmp_path, n_files=1) / "part-000.parquet"
    chunk = StampIndex.build(str(tmp_path)).files.parquet(0).metadata.row_group(2).column(1)
    data = bytearray(file.read_bytes())
    data[chunk.dictionary_page_offset + 1] ^= 2  # a page of a type that is not known, which pyarrow passes over
    file.write_bytes(data)
    groups = RowGroups(StampIndex.build(str(tmp_path)), 2, rows_at_a_time)
    with pytest.raises(ContractError, match=r"part-000.parquet: row group 2 gives 0 of its 8 rows"):
        groups.stamp_bytes(2, 0)


@pytest.mark.parametrize("rows_at_a_time", [None, 4])
@pytest.mark.parametrize("compression", ["snappy", "none", "zstd"])
def test_what_was_read_keeps_no_file_open_and_no_memory(tmp_path, compression, rows_at_a_time):
    index = StampIndex.build(str(write_dataset(tmp_path, compression=compression)))
    n_groups = len(index.group_starts) - 1
    before, n_files = pa.total_allocated_bytes(), len(os.listdir("/proc/self/fd"))
    gc.disable()  # which frees what refers to itself, some time
    try:
        groups = RowGroups(index, n_groups, rows_at_a_time)
        for row in range(index.n_rows):
            group = int(index.group_of(np.array([row]))[0])
            groups.stamp_bytes(group, row - int(index.group_starts[group]))
        assert len(os.listdir("/proc/self/fd")) == n_files
        assert pa.total_allocated_bytes() - before < 1.1 * sum(index.files.sizes)
        groups.stamp_bytes(0, 0)  # once more from the start, and not to the end
        del groups
        assert pa.total_allocated_bytes() == before
        assert len(os.listdir("/proc/self/fd")) == n_files
    finally:
        gc.enable()


def test_every_thread_is_told_of_a_silent_network(bucket):
    index = StampIndex.build(bucket.root)
    index = replace(index, files=replace(index.files, retry=RetryPolicy(attempts=3, first_delay_s=0.1)))
    groups = RowGroups(index, 4)
    groups.stamp_bytes(0, 0)  # the footer is known
    bucket.proxy.always = "500"
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(groups.stamp_bytes, 1, i) for i in range(8)]
    for future in waiting:
        with pytest.raises(RemoteReadError, match=r"part-000.parquet could not be read in 3 attempts"):
            future.result()


def test_a_file_with_other_row_groups_than_were_indexed_is_refused(tmp_path):
    index = StampIndex.build(str(write_dataset(tmp_path, n_train=49)))  # six row groups and seven
    files = index.files
    swapped = {name: getattr(files, name)[::-1] for name in ("names", "paths", "sizes", "mtimes_ns")}
    groups = RowGroups(replace(index, files=replace(files, **swapped)), 4)
    with pytest.raises(ContractError, match=r"part-000.parquet has other row groups than when it was indexed"):
        groups.stamp_bytes(12, 0)
