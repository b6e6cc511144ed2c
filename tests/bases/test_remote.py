import itertools
import re

import boto3
import pytest

from dark_halo_scope.bases.export import export
from dark_halo_scope.bases.remote import RemoteStore, RemoteStoreError
from dark_halo_scope.bases.store import BaseStore, StoreError
from dark_halo_scope.stamps.remote import RemoteReadError, RetryPolicy
from tests.bases.specs import base_spec, train_nothing
from tests.stamps.s3 import ENVIRONMENT

SPEC = base_spec()
KEY = SPEC.key()
NUMBERS = itertools.count()


class Bucket:
    """A bucket with a store below ``bases/``."""

    def __init__(self, server):
        self.client = boto3.client("s3", endpoint_url=f"http://{server}")
        self.name = f"store-{next(NUMBERS)}"
        self.client.create_bucket(Bucket=self.name)
        self.uri = f"s3://{self.name}/bases?endpoint_override={server}&scheme=http"

    def names(self):
        listed = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return sorted(entry["Key"].removeprefix(f"bases/{KEY}/") for entry in listed)

    def put(self, name, content):
        self.client.put_object(Bucket=self.name, Key=f"bases/{KEY}/{name}", Body=content)


@pytest.fixture
def bucket(s3_server, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return Bucket(s3_server)


@pytest.fixture
def made(tmp_path):
    """A store with one base model, of a file in a folder too."""

    def train(spec, folder):
        (folder / "history").mkdir()
        (folder / "history" / "metrics.csv").write_text("epoch,loss\n")
        return train_nothing(spec, folder)

    store = BaseStore(tmp_path / "made")
    store.build(SPEC, train)
    return store


def refuse_to_train(spec, folder):
    pytest.fail("this base model is there already")


def test_what_was_exported_to_a_bucket_is_copied_in_and_not_trained(made, bucket, tmp_path):
    export(made, KEY, bucket.uri)
    assert {"manifest.json", "spec.json", "weights.pt", "history/metrics.csv"} <= set(bucket.names())
    far = BaseStore(tmp_path / "far", remote=bucket.uri)
    assert far.where(KEY) == "remote"
    base = far.build(SPEC, refuse_to_train)
    assert base.folder == tmp_path / "far" / KEY
    assert base.manifest == made.get(KEY).manifest
    assert (base.folder / "weights.pt").read_bytes() == (made.folder(KEY) / "weights.pt").read_bytes()
    assert far.check(KEY) == ""
    assert far.where(KEY) == "here"
    bucket.put("manifest.json", b"no longer needed")
    assert BaseStore(tmp_path / "far", remote=bucket.uri).get(KEY) == base
    assert list((tmp_path / "far" / "building").iterdir()) == []
    export(made, KEY, bucket.uri)
    assert far.get("0" * 64) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.pt", b"x" * 6400, r"weights\.pt does not have the bytes that it was written with"),
        ("weights.pt", b"x", "weights.pt has 1 bytes instead of 6400"),
        ("manifest.json", b"{}", r"manifest\.json is no manifest"),
    ],
)
def test_a_damaged_copy_is_not_used(made, bucket, tmp_path, caplog, name, content, message):
    export(made, KEY, bucket.uri)
    bucket.put(name, content)
    far = BaseStore(tmp_path / "far", remote=bucket.uri)
    assert far.get(KEY) is None
    assert re.search(f"is not used: .*{message}", caplog.text)
    assert list((tmp_path / "far" / "building").iterdir()) == []
    assert far.build(SPEC, train_nothing).metrics == {"val/loss": 0.25}


def test_a_half_exported_one_is_not_there(made, bucket, tmp_path):
    export(made, KEY, bucket.uri)
    bucket.client.delete_object(Bucket=bucket.name, Key=f"bases/{KEY}/manifest.json")
    assert BaseStore(tmp_path / "far", remote=bucket.uri).where(KEY) is None


def test_a_store_on_another_disk_is_copied_from_and_to(made, tmp_path):
    far = BaseStore(tmp_path / "far", remote=str(made.root))
    assert far.build(SPEC, refuse_to_train).key == KEY
    export(far, KEY, str(tmp_path / "third"))
    export(far, KEY, f"file://{tmp_path}/third")
    assert BaseStore(tmp_path / "third").check(KEY) == ""
    (far.folder(KEY) / "weights.pt").write_bytes(b"")
    with pytest.raises(StoreError, match="is damaged, or gone: train it again"):
        export(BaseStore(far.root), KEY, str(tmp_path / "fourth"))


def test_what_cannot_be_reached_is_told_and_nothing_trained_in_its_place(made, bucket, tmp_path):
    with pytest.raises(RemoteStoreError, match=r"s3://no-such-bucket/x/.* cannot be written .*bucket is there"):
        export(made, KEY, bucket.uri.replace(bucket.name, "no-such-bucket").replace("/bases", "/x"))
    with pytest.raises(RemoteStoreError, match="carries credentials, which would be written to the log"):
        RemoteStore("s3://key:secret@bucket/bases")
    with pytest.raises(RemoteStoreError, match="gopher://there/bases cannot be opened"):
        BaseStore(tmp_path, remote="gopher://there/bases").get(KEY)
    silent = bucket.uri.split("endpoint_override=")[0] + "endpoint_override=127.0.0.1:9&scheme=http"
    with pytest.raises(RemoteReadError, match="could not be read in 2 attempts"):
        RemoteStore(silent, RetryPolicy(attempts=2, first_delay_s=0.0)).has(KEY)
