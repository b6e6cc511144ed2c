"""A raw dataset, and a store, behind a real S3 endpoint."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dark_halo_scope.files import sha256
from dark_halo_scope.stamps.cache import CacheOptions, FileCache
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.prefetch import Prefetch
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare
from dark_halo_scope.stamps.store.verify import verify
from tests.stamps.datasets import write_dataset
from tests.stamps.store.test_reader import read

OPTIONS = StoreOptions(shard_stamps=20, row_group_stamps=8)


@pytest.fixture(scope="module")
def survey(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("survey"))


def test_a_raw_dataset_on_s3_makes_the_same_store(survey, bucket, tmp_path):
    prepare(bucket.root, tmp_path / "remote", OPTIONS, progress=False)
    prepare(str(survey), tmp_path / "local", OPTIONS, progress=False)
    shards = sorted((tmp_path / "local").glob("*.parquet"))
    assert len(shards) == 7
    for shard in shards:
        assert sha256(tmp_path / "remote" / shard.name) == sha256(shard)
    assert verify(bucket.root, tmp_path / "local", progress=False).n_compared == 96


def test_a_store_on_s3_gives_the_same_pixels(survey, bucket, tmp_path):
    store = tmp_path / "store"
    prepare(str(survey), store, OPTIONS, progress=False)
    for file in store.iterdir():
        bucket._client.put_object(Bucket=bucket.name, Key=f"store/{file.name}", Body=file.read_bytes())
    local, remote = StampIndex.build(str(store)), StampIndex.build(bucket.root.replace("/dr10?", "/store?"))
    assert remote.fingerprint == local.fingerprint
    rows = np.random.default_rng(0).permutation(96)
    expected, streamed = read(local, rows), read(remote, rows)

    cache = FileCache(CacheOptions(str(tmp_path / "cache"), free_floor_gb=0))
    cached = replace(remote, files=replace(remote.files, cache=cache))
    assert [cached.files.map(number) for number in range(len(remote.files.names))] == [None] * 7
    prefetch = Prefetch(cache, [remote.files.remote(number) for number in range(7)], remote.files.retry)
    prefetch.start()
    prefetch.wait()
    bucket.proxy.gets.clear()
    bucket.proxy.always = "500"  # nothing but the cache is left
    mapped = read(cached, rows)
    assert bucket.proxy.gets == []
    assert cache.counts["hits"] >= 7
    assert cache.counts["misses"] <= 7, "only where the footers are read"
    for name, values in expected.items():
        np.testing.assert_array_equal(streamed[name], values)
        np.testing.assert_array_equal(mapped[name], values)
