import shutil

import boto3
import numpy as np
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.loaders import TrainLoader
from dark_halo_scope.stamps.plan import Share
from dark_halo_scope.stamps.quarantine import Quarantine
from dark_halo_scope.stamps.reader import read_stamps
from dark_halo_scope.stamps.stream import StreamOptions
from tests.stamps.datasets import write_dataset


def test_files_are_found_below_a_folder_by_sorted_relative_name(tmp_path):
    for name in (
        "b/part-1.parquet",
        "a/part-2.parquet",
        "c.parquet",
        ".hidden.parquet",
        "_tmp/d.parquet",
        "survey.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
    files = StampFiles.find(str(tmp_path))
    assert files.names == ("a/part-2.parquet", "b/part-1.parquet", "c.parquet")
    assert files.sizes == (5, 5, 5)


def test_hidden_parents_of_the_root_do_not_hide_it(tmp_path):
    write_dataset(tmp_path / ".cache" / "_survey")
    assert len(StampFiles.find(str(tmp_path / ".cache" / "_survey")).names) == 2


def test_a_root_may_be_a_single_file_or_a_file_uri_or_relative(tmp_path, monkeypatch):
    file = write_dataset(tmp_path / "survey", n_files=1) / "part-000.parquet"
    monkeypatch.chdir(tmp_path)
    by_folder = StampIndex.build(str(file.parent)).fingerprint
    for root in (str(file), file.parent.as_uri(), "survey", f"{file.parent}/"):
        assert StampIndex.build(root).fingerprint == by_folder


@pytest.mark.parametrize(
    ("root", "told"),
    [
        ("nowhere", r"nowhere does not exist; give the folder"),
        ("s3://key:secret@bucket/stamps", "carries credentials"),
        ("gopher://host/stamps", "cannot be opened"),
    ],
)
def test_a_root_that_cannot_be_used(root, told):
    with pytest.raises(ContractError, match=told) as caught:
        StampFiles.find(root)
    assert "secret" not in str(caught.value)


def test_a_folder_without_parquet(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(ContractError, match=r"holds no \.parquet file"):
        StampFiles.find(str(tmp_path))


def test_a_local_file_that_changed_after_it_was_indexed_is_refused(tmp_path):
    file = write_dataset(tmp_path / "survey", n_files=1) / "part-000.parquet"
    index = StampIndex.build(str(file.parent))
    rows = np.arange(3)
    before = read_stamps(index, rows, 0.01)
    kept = shutil.copy2(file, tmp_path / "kept.parquet")
    table = pq.read_table(file)
    turned = table["stamp_npz"].take([2, 1, 0, *range(3, len(table))])
    file.unlink()
    pq.write_table(table.set_column(1, table.schema.field(1), turned), file, row_group_size=8)
    assert file.stat().st_size == index.files.sizes[0], "only content and time differ"
    told = r"part-000\.parquet changed since it was indexed .* start again"
    for read in (
        lambda: read_stamps(index, rows, 0.01),
        lambda: index.metadata(rows),
        lambda: index.files.source(0),
        lambda: index.files.map(0),
    ):
        with pytest.raises(ContractError, match=told):
            read()
    again = read_stamps(StampIndex.build(str(file.parent)), rows, 0.01)
    np.testing.assert_array_equal(again, before[::-1])
    shutil.copy2(kept, file)
    np.testing.assert_array_equal(read_stamps(index, rows, 0.01), before)
    file.unlink()
    for read in (index.files.source, index.files.map):
        with pytest.raises(ContractError, match=r"part-000\.parquet was removed since it was indexed"):
            read(0)


@pytest.fixture
def endpoint(monkeypatch):
    """A real S3 server on the loopback interface, with an empty bucket ``survey``."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anyone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="survey")
    yield f"{host}:{port}"
    server.stop()


def upload(endpoint: str, folder) -> None:
    client = boto3.client("s3", endpoint_url=f"http://{endpoint}")
    for file in folder.glob("*.parquet"):
        client.upload_file(str(file), "survey", f"dr10/stamps/{file.name}")


def test_s3_gives_the_same_rows_and_batches_as_the_local_folder(tmp_path, endpoint, monkeypatch):
    upload(endpoint, write_dataset(tmp_path / "local"))

    def batches(root):
        index = StampIndex.build(root)
        loader = TrainLoader(index, "train", Quarantine(index, tmp_path), Share(12), StreamOptions(), seed=3)
        return index.fingerprint, [(b["row"].tolist(), b["image"].numpy().tobytes()) for b in loader]

    local = batches(str(tmp_path / "local"))
    assert batches(f"s3://survey/dr10/stamps?endpoint_override={endpoint}&scheme=http") == local
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{endpoint}")
    assert batches("s3://survey/dr10/stamps") == local
    assert StampFiles.find("s3://survey/dr10/stamps/part-001.parquet").names == ("part-001.parquet",)


def test_a_missing_s3_prefix_or_bucket(endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{endpoint}")
    for root in ("s3://survey/nothing", "s3://nobucket/nothing"):
        with pytest.raises(ContractError, match=f"{root} does not exist"):
            StampFiles.find(root)
