"""What stays open from epoch to epoch of a split that is shuffled fully."""

import os
from dataclasses import replace
from itertools import islice

import pytest
import torch

from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.loaders import TrainLoader
from dark_halo_scope.stamps.plan import Share
from dark_halo_scope.stamps.quarantine import Quarantine
from dark_halo_scope.stamps.remote import RemoteReadError, RetryPolicy
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare
from dark_halo_scope.stamps.stream import StreamOptions
from tests.stamps.datasets import write_dataset


def train_loader(index, folder) -> TrainLoader:
    return TrainLoader(index, "train", Quarantine(index, folder / "quarantine"), Share(8), StreamOptions(), seed=3)


def epoch(loader, number):
    """The batches as Lightning takes them: their number is known, and the end is not waited for."""
    loader.set_epoch(number)
    return list(islice(iter(loader), len(loader)))


def same(batches, others) -> bool:
    return all(torch.equal(a[k], b[k]) for a, b in zip(batches, others, strict=True) for k in a)


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("survey"))


@pytest.fixture(params=["raw", "store"])
def root(request, tmp_path):
    raw = write_dataset(tmp_path / "raw")
    if request.param == "store":
        prepare(str(raw), tmp_path / "store", StoreOptions(shard_stamps=16, row_group_stamps=4), progress=False)
    return tmp_path / request.param


def test_epochs_are_those_of_a_loader_that_begins_with_them(root, tmp_path):
    index = StampIndex.build(str(root))
    loader = train_loader(index, tmp_path)
    for number in range(3):
        assert same(epoch(loader, number), epoch(train_loader(index, tmp_path), number))


def test_a_second_epoch_reads_nothing_of_a_remote_dataset_again(bucket, tmp_path):
    index = StampIndex.build(bucket.root)
    index = replace(index, files=replace(index.files, retry=RetryPolicy(attempts=2, first_delay_s=0.01)))
    loader = train_loader(index, tmp_path)
    epoch(loader, 0)
    bucket.proxy.always = "500"
    assert len(epoch(loader, 1)) == len(loader)
    with pytest.raises(RemoteReadError):
        epoch(train_loader(index, tmp_path), 1)


def test_an_epoch_that_was_broken_off_leaves_no_trace(bucket, tmp_path):
    index = StampIndex.build(bucket.root)
    loader = train_loader(index, tmp_path)
    bucket.proxy.faults.extend(["slow"] * 4)  # so that threads are stopped while they read
    loader.set_epoch(0)
    batches = iter(loader)
    next(batches)
    batches.close()
    bucket.proxy.faults.clear()
    assert same(epoch(loader, 1), epoch(train_loader(index, tmp_path), 1))


def test_a_file_that_changed_between_epochs_stops_the_run(root, tmp_path):
    loader = train_loader(index := StampIndex.build(str(root)), tmp_path)
    epoch(loader, 0)
    path = index.files.paths[0]
    os.utime(path, (1, 1))
    with pytest.raises(ContractError, match="changed since it was indexed"):
        epoch(loader, 1)
    os.unlink(path)
    with pytest.raises(ContractError, match="was removed since it was indexed"):
        epoch(loader, 2)
