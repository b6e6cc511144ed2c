import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from dark_halo_scope.stamps.cache import CacheError, CacheOptions
from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.stamps.index import StampIndex
from tests.stamps.datasets import write_dataset
from tests.stamps.s3 import ENVIRONMENT, SECRET

N_FILES = 4
FILL = """
import sys
from dark_halo_scope.stamps.cache import CacheOptions, FileCache
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.prefetch import Prefetch
files = StampFiles.find(sys.argv[1])
cache = FileCache(CacheOptions(sys.argv[2], free_floor_gb=0, threads=2))
prefetch = Prefetch(cache, [files.remote(k) for k in range(len(files.names))], files.retry)
prefetch.start()
prefetch.wait()
print(cache.counts["bytes_downloaded"])
"""


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("survey"), n_train=24, n_val=12, n_test=12, n_files=N_FILES)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def datamodule(root, folder, tmp_path, **options):
    cache = CacheOptions(str(folder), **{"free_floor_gb": 0, **options})
    return StampDataModule(str(root), str(tmp_path), batch_size=8, cache=cache)


def batches(data):
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    return [(b["row"].tolist(), b["image"].numpy().tobytes()) for loader in loaders for b in loader]


def fill(data):
    """Set up and wait until the cache holds what it will."""
    data.setup()
    data._prefetch.wait()
    return data


def cached(folder):
    return sorted(folder.glob("*.parquet"))


def sizes(survey):
    return [file.stat().st_size for file in sorted(survey.glob("*.parquet"))]


def contents(folder):
    return sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.parquet"))


def test_a_cached_dataset_is_the_same_and_the_next_run_reads_it_from_disk(tmp_path, survey, bucket, folder):
    local = datamodule(survey, folder, tmp_path)
    local.setup()
    assert local.cache is None
    assert not folder.exists()

    streamed = StampIndex.build(bucket.root).fingerprint
    first = fill(datamodule(bucket.root, folder, tmp_path))
    assert first.cache.counts["bytes_downloaded"] == sum(sizes(survey))
    first.teardown()
    assert contents(folder) == contents(survey)
    for note in folder.glob("*.json"):
        assert (
            hashlib.sha256(note.with_suffix(".parquet").read_bytes()).hexdigest()
            == json.loads(note.read_text())["sha256"]
        )

    second = fill(datamodule(bucket.root, folder, tmp_path))
    bucket.proxy.gets.clear()
    bucket.proxy.always = "500"  # nothing but the cache is left
    assert batches(second) == batches(local)
    assert second.fingerprint == local.fingerprint == streamed
    counts = second.cache.counts
    assert counts["hits"] >= N_FILES
    assert counts["misses"] == counts["bytes_from_remote"] == counts["bytes_downloaded"] == 0
    assert 0.9 * sum(sizes(survey)) < counts["bytes_from_cache"]
    assert bucket.proxy.gets == []


def as_if_remote(survey, folder, tmp_path, **options):
    """A datamodule whose files lie on this disk, but are not local ones to pyarrow."""
    index = StampIndex.build(str(survey))
    below = fs.SubTreeFileSystem("/", fs.LocalFileSystem())
    data = datamodule(survey, folder, tmp_path, **options)
    data.index = replace(index, files=replace(index.files, filesystem=below))
    return data


def test_any_filesystem_of_pyarrow_is_cached(tmp_path, survey, folder):
    data = as_if_remote(survey, folder, tmp_path)
    fill(data).teardown()
    assert contents(folder) == contents(survey)
    local = datamodule(survey, folder, tmp_path)
    local.setup()
    assert batches(data) == batches(local)
    assert data.cache.counts["misses"] == 0


def test_what_is_not_cached_yet_is_streamed(tmp_path, survey, bucket, folder):
    local = datamodule(survey, folder, tmp_path)
    local.setup()
    data = datamodule(bucket.root, folder, tmp_path)
    data.index = StampIndex.build(bucket.root)
    bucket.proxy.faults.extend(["silent"] * 4)  # all four downloads hang
    data.setup()
    while len(bucket.proxy.gets) < 4 or bucket.proxy.faults:
        time.sleep(0.01)
    assert batches(data) == batches(local)
    assert data.cache.counts["hits"] == 0
    assert data.cache.counts["bytes_from_remote"] > 0.9 * sum(sizes(survey))
    bucket.proxy.closing.set()  # the hanging answers end, cut short
    data.teardown()
    assert list(folder.glob("*.partial")) == []


def test_a_changed_remote_file_is_not_served_stale(tmp_path, survey, bucket, folder):
    fill(datamodule(bucket.root, folder, tmp_path)).teardown()
    other = shutil.copytree(survey, tmp_path / "other")
    changed = other / "part-000.parquet"
    table = pq.read_table(changed)
    turned = table["stamp_npz"].take([2, 1, 0, *range(3, len(table))])
    pq.write_table(table.set_column(1, table.schema.field(1), turned), changed, row_group_size=8)
    assert sizes(other) == sizes(survey), "only content and time differ"
    time.sleep(1.1)  # S3 lists times to the second
    bucket.upload(other)
    local = datamodule(other, folder, tmp_path)
    local.setup()
    data = fill(datamodule(bucket.root, folder, tmp_path))
    assert batches(data) == batches(local)
    assert data.cache.counts["misses"] == 0
    data.teardown()


def test_a_bad_network_leaves_whole_files_only(tmp_path, survey, bucket, folder):
    data = datamodule(bucket.root, folder, tmp_path)
    data.index = StampIndex.build(bucket.root)
    bucket.proxy.faults.extend(["500", "cut", "slow", "flip", "503", "fine", "cut"])
    fill(data).teardown()
    assert contents(folder) == contents(survey)
    assert list(folder.glob("*.partial")) == []


def test_content_that_never_agrees_with_itself_is_not_cached(tmp_path, survey, bucket, folder, caplog):
    data = datamodule(bucket.root, folder, tmp_path, threads=1)
    data.index = StampIndex.build(bucket.root)
    bucket.proxy.faults.extend(["flip", "fine"])  # flipped once: read again and right
    fill(data).teardown()
    assert contents(folder) == contents(survey)
    shutil.rmtree(folder)
    bucket.proxy.etag = f'"{"0" * 32}"'
    bucket.proxy.faults.extend(["flip", "fine"])  # twice, differently, and neither is what the ETag says
    again = datamodule(bucket.root, folder, tmp_path, threads=1)
    again.index = data.index
    fill(again).teardown()
    assert len(cached(folder)) == N_FILES - 1
    assert "came with other content each of two times" in caplog.text


def test_an_etag_that_is_no_md5_is_found_out(tmp_path, survey, bucket, folder):
    data = datamodule(bucket.root, folder, tmp_path, threads=1)
    data.index = StampIndex.build(bucket.root)
    bucket.proxy.etag = f'"{"0" * 32}"'
    fill(data).teardown()
    assert contents(folder) == contents(survey)
    first, *others = sizes(survey)
    assert data.cache.counts["bytes_downloaded"] <= first + max(sizes(survey)) + sum(others)


def test_the_cap_holds_and_nothing_is_evicted(tmp_path, survey, bucket, folder, caplog):
    cap_gb = (sum(sorted(sizes(survey))[-2:]) + 10) / 1e9  # room for two files
    fill(datamodule(bucket.root, folder, tmp_path, cap_gb=cap_gb)).teardown()
    kept = cached(folder)
    assert len(kept) == 2
    assert caplog.text.count("nothing is evicted") == 1
    data = fill(datamodule(bucket.root, folder, tmp_path, cap_gb=cap_gb))
    local = datamodule(survey, folder, tmp_path)
    local.setup()
    assert batches(data) == batches(local)
    assert cached(folder) == kept
    assert data.cache.counts["hits"] > 0
    assert data.cache.counts["misses"] > 0


def test_the_disk_is_not_filled(tmp_path, survey, bucket, folder, caplog):
    data = fill(datamodule(bucket.root, folder, tmp_path, free_floor_gb=1e9))
    assert len(batches(data)) > 0
    assert data.cache.counts["hits"] == 0
    assert cached(folder) == list(folder.glob("*.partial")) == []
    assert "1e+09 GB to be left free" in caplog.text


@pytest.mark.parametrize("verify", ["size", "full"])
def test_a_damaged_copy_is_found_and_made_again(tmp_path, survey, bucket, folder, verify, caplog):
    fill(datamodule(bucket.root, folder, tmp_path)).teardown()
    victim = cached(folder)[0]
    content = bytearray(victim.read_bytes())
    if verify == "size":
        del content[-100:]
    else:
        content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    fill(datamodule(bucket.root, folder, tmp_path, verify=verify)).teardown()
    assert f"{victim}, the copy of s3://" in caplog.text
    assert contents(folder) == contents(survey)


@pytest.mark.parametrize("note", [b"", b'{"sha256"', b"\xff", b"[]", b"{}"])
def test_a_copy_whose_note_cannot_be_read_is_made_again(tmp_path, survey, folder, note, caplog):
    fill(as_if_remote(survey, folder, tmp_path)).teardown()
    victim = cached(folder)[0]
    victim.with_suffix(".json").write_bytes(note)
    fill(as_if_remote(survey, folder, tmp_path, verify="full")).teardown()
    assert f"{victim}, the copy of" in caplog.text
    assert "has no readable note of its sha256; removed" in caplog.text
    assert contents(folder) == contents(survey)
    assert json.loads(victim.with_suffix(".json").read_text())["size"] == victim.stat().st_size


def test_a_copy_that_can_be_neither_used_nor_removed_is_left_alone_and_streamed(tmp_path, survey, folder, caplog):
    fill(as_if_remote(survey, folder, tmp_path)).teardown()
    victim = cached(folder)[0]
    victim.unlink()
    victim.mkdir()  # as little to be removed as another user's file, even by root
    data = fill(as_if_remote(survey, folder, tmp_path))
    local = datamodule(survey, folder, tmp_path)
    local.setup()
    assert batches(data) == batches(local)
    data.teardown()
    assert caplog.text.count("and cannot be removed") == 1
    assert data.cache.counts["misses"] > 0 < data.cache.counts["hits"]


def test_a_copy_that_is_removed_once_it_was_opened_is_read_to_its_end(tmp_path, survey, folder):
    data = fill(as_if_remote(survey, folder, tmp_path))
    data.teardown()
    opened = [data.index.files.source(number) for number in range(N_FILES)]
    shutil.rmtree(folder)
    assert [file.read() for file in opened] == [file.read_bytes() for file in sorted(survey.glob("*.parquet"))]
    assert data.index.files.map(0) is None  # from here on it is streamed
    assert data.index.files.source(0).size() == sizes(survey)[0]


def test_a_copy_that_is_mapped_again_and_again_is_counted_once(tmp_path, survey, folder):
    data = fill(as_if_remote(survey, folder, tmp_path))
    data.teardown()
    before = data.cache.counts["bytes_from_cache"]
    for number in (0, 1, 0, 1, 0):
        assert data.index.files.map(number)[:4] == b"PAR1"
    assert data.cache.counts["bytes_from_cache"] - before == sum(sizes(survey)[:2])
    assert data.cache.counts["hits"] >= 5


def test_processes_share_the_work(survey, bucket, folder):
    bucket.proxy.always = "slow"
    command = [sys.executable, "-c", FILL, bucket.root, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    downloaded = [int(process.communicate(timeout=60)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(downloaded) == sum(sizes(survey))
    assert sorted(bucket.proxy.gets) == [f"/{bucket.name}/dr10/part-{k:03d}.parquet" for k in range(N_FILES)]
    assert contents(folder) == contents(survey)


def test_a_killed_download_leaves_nothing_that_is_used(tmp_path, survey, bucket, folder):
    bucket.proxy.faults.extend(["fine", "fine", "silent", "silent"])
    process = subprocess.Popen([sys.executable, "-c", FILL, bucket.root, str(folder)])
    while len(bucket.proxy.gets) < 4 or len(cached(folder)) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(folder.glob("*.partial"))) == 2
    assert set(contents(folder)) < set(contents(survey))

    data = fill(datamodule(bucket.root, folder, tmp_path))
    assert contents(folder) == contents(survey)
    assert list(folder.glob("*.partial")) == []
    local = datamodule(survey, folder, tmp_path)
    local.setup()
    assert batches(data) == batches(local)


def test_a_cache_that_cannot_be_used(tmp_path, bucket):
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"data.cache.folder=.*file/cache cannot be written"):
        datamodule(bucket.root, tmp_path / "file" / "cache", tmp_path).setup()
    for wrong in ({"verify": "md5"}, {"threads": 0}, {"cap_gb": -1}):
        with pytest.raises(CacheError, match=f"data.cache.{next(iter(wrong))}"):
            CacheOptions("cache", **wrong)


def test_a_refused_file_is_streamed_and_credentials_are_nowhere(tmp_path, bucket, folder, caplog):
    caplog.set_level("DEBUG")
    data = datamodule(bucket.root, folder, tmp_path)
    data.index = StampIndex.build(bucket.root)
    bucket.proxy.faults.extend(["403", "500"])
    fill(data).teardown()
    assert "is refused or gone" in caplog.text
    kept = caplog.text + "".join(f"{path}{path.read_text()}" for path in folder.glob("*.json"))
    kept += "".join(map(str, Path(folder).iterdir()))
    for secret in (SECRET, ENVIRONMENT["AWS_ACCESS_KEY_ID"]):
        assert secret not in kept
