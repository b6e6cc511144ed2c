import sys
from pathlib import Path

import numpy as np
import pytest

from dark_halo_scope.cli import main
from dark_halo_scope.files import sha256
from dark_halo_scope.stamps.store.options import StoreError, StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare
from dark_halo_scope.stamps.store.verify import verify
from tests.stamps.datasets import spoil, write_dataset


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("raw"), change=spoil(3, cutout_ok=0))


@pytest.fixture
def store(raw, tmp_path) -> Path:
    options = StoreOptions(precision="float32", shard_stamps=20, row_group_stamps=8)
    prepare(str(raw), tmp_path / "store", options, progress=False)
    return tmp_path / "store"


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_sound_store_is_compared_with_the_raw_stamps(raw, store):
    found = verify(str(raw), store, progress=False)
    assert (found.n_files, found.n_compared, found.out_of_reach) == (8, 95, None)


def test_without_the_raw_dataset_the_bytes_are_checked_and_that_is_said(tmp_path, store):
    found = verify(str(tmp_path / "gone"), store, progress=False)
    assert found.n_files == 8
    assert found.n_compared == 0
    assert "does not exist" in found.out_of_reach


@pytest.mark.parametrize("where", np.random.default_rng(0).random(4).tolist())
def test_a_changed_bit_is_found_wherever_it_is(raw, store, where):
    path = store / "val-00000-of-00002.parquet"
    flip(path, int(where * path.stat().st_size))
    with pytest.raises(StoreError, match=r"val-00000-of-00002\.parquet has other bytes"):
        verify(str(raw), store, progress=False)


def test_a_store_whose_stamps_are_not_the_raw_ones_is_found_though_its_checksums_fit(raw, store):
    path = store / "val-00000-of-00002.parquet"
    before = sha256(path)
    flip(path, path.stat().st_size // 2)
    manifest = store / "store.json"
    manifest.write_text(manifest.read_text().replace(before, sha256(path)))
    with pytest.raises(StoreError, match=r"1 of 95 sampled stamps are not those of .* \(first: part-001\.parquet, row"):
        verify(str(raw), store, progress=False)


def test_another_raw_dataset_and_no_store_are_told(tmp_path, store):
    other = write_dataset(tmp_path / "other", n_train=60)
    with pytest.raises(StoreError, match="was made from other data"):
        verify(str(other), store, progress=False)
    with pytest.raises(StoreError, match=r"is no training store \(it has no store\.json\)"):
        verify(str(other), other, progress=False)


def test_the_command_verifies_and_refuses(raw, store, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["halo", "prepare", str(raw), str(store), "--verify"])
    main()
    assert "8 files as they were written; 95 stamps equal to the raw ones" in capsys.readouterr().out
    flip(store / "test-00000-of-00002.parquet", 5000)
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "test-00000-of-00002.parquet has other bytes than store.json says" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*sys.argv, "precision=float32"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "a store is verified with the settings it was made with" in capsys.readouterr().err
