"""A kept index is used while the dataset stays the same, and only then."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.stamps.index import LeakChecks, StampIndex
from dark_halo_scope.stamps.index_cache import cached_index
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare
from tests.stamps.datasets import SCHEMA, spoil, write_dataset

ARRAYS = ("file_starts", "group_starts", "file_groups", "label", "split", "exclusion")


@pytest.fixture
def survey(tmp_path) -> Path:
    return write_dataset(tmp_path / "survey", change=spoil(3, cutout_ok=0))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "kept"


def index_of(survey: Path, folder: Path, **checks) -> StampIndex:
    return cached_index(str(survey), str(folder), LeakChecks(**checks))


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.index"))


def assert_same(one: StampIndex, other: StampIndex) -> None:
    assert (one.fingerprint, one.id_columns, one.store) == (other.fingerprint, other.id_columns, other.store)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype


def test_the_second_run_reads_no_parquet(survey, folder, monkeypatch):
    first = index_of(survey, folder)
    assert_same(first, StampIndex.build(str(survey)))
    times = [os.stat(file) for file in sorted(survey.glob("*.parquet"))]
    for file, stat in zip(sorted(survey.glob("*.parquet")), times, strict=True):
        file.write_bytes(bytes(stat.st_size))  # nothing to be read, but listed as before
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert_same(index_of(survey, folder), first)


def test_a_changed_file_is_indexed_anew(survey, folder):
    first = index_of(survey, folder)
    write_dataset(survey, change=spoil(5, cutout_ok=0))
    assert_same(index_of(survey, folder), StampIndex.build(str(survey)))
    assert index_of(survey, folder).fingerprint != first.fingerprint
    assert len(kept(folder)) == 2


def test_a_file_more_is_indexed(survey, folder):
    index_of(survey, folder)
    pq.write_table(SCHEMA.empty_table(), survey / "part-999.parquet")
    assert len(index_of(survey, folder).files.names) == 3


def test_other_checks_have_an_index_of_their_own(survey, folder):
    index_of(survey, folder)
    with pytest.raises(ContractError, match="no column brick"):
        index_of(survey, folder, region_column="brick")
    index_of(survey, folder, on_split_leak="drop")
    assert len(kept(folder)) == 2


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data[:40] + b"x" + data[41:], lambda data: b""]
)
def test_a_damaged_index_is_built_again(survey, folder, damage, caplog):
    first = index_of(survey, folder)
    (path,) = kept(folder)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert_same(index_of(survey, folder), first)
    assert "is damaged: it is built again" in caplog.text
    assert path.read_bytes() == whole


def test_what_a_user_should_know_is_said_every_time(tmp_path, folder, caplog):
    survey = write_dataset(tmp_path / "survey", schema=SCHEMA.remove(SCHEMA.get_field_index("host_id")))
    for _ in range(2):
        index_of(survey, folder)
    assert caplog.text.count("hosts in two splits would go unseen") == 2


def test_a_folder_that_cannot_be_written_is_told(survey, tmp_path, caplog):
    (tmp_path / "taken").write_text("a file")
    assert_same(index_of(survey, tmp_path / "taken"), StampIndex.build(str(survey)))
    assert "cannot be written" in caplog.text


def test_a_store_is_kept_with_its_manifest(survey, folder, tmp_path):
    prepare(str(survey), tmp_path / "store", StoreOptions(shard_stamps=40, row_group_stamps=8), progress=False)
    first = index_of(tmp_path / "store", folder)
    again = index_of(tmp_path / "store", folder)
    assert again.store == first.store
    assert_same(again, first)


def build(survey: Path, folder: Path) -> str:
    return index_of(survey, folder).fingerprint


def test_several_processes_at_once_agree(survey, folder):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        fingerprints = pool.starmap(build, [(survey, folder)] * 3)
    assert set(fingerprints) == {StampIndex.build(str(survey)).fingerprint}
    assert len(kept(folder)) == 1


def test_the_datamodule_keeps_the_index(survey, folder, tmp_path):
    module = StampDataModule(str(survey), str(tmp_path / "run"), index_cache=str(folder))
    module.setup()
    assert_same(module.index, StampIndex.build(str(survey)))
    assert len(kept(folder)) == 1
