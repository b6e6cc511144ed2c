import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.stamps.contract import SPLITS, ContractError
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.loaders import EvalLoader, TrainLoader
from dark_halo_scope.stamps.plan import Share
from dark_halo_scope.stamps.quarantine import Quarantine
from dark_halo_scope.stamps.reader import read_stamps
from dark_halo_scope.stamps.store.layout import BATCH_STATISTICS, plain_groups
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare
from dark_halo_scope.stamps.store.reader import StoreReader
from dark_halo_scope.stamps.stream import StreamOptions
from tests.stamps.datasets import SCHEMA, spoil, stamp_image, write_dataset


def make(raw: Path, out: Path, **changes) -> StampIndex:
    small = {"shard_stamps": 20, "row_group_stamps": 8}
    prepare(str(raw), out, StoreOptions(**(small | changes)), progress=False)
    return StampIndex.build(str(out))


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("raw"), change=spoil(3, cutout_ok=0))


@pytest.fixture(scope="module")
def float32(raw, tmp_path_factory) -> StampIndex:
    return make(raw, tmp_path_factory.mktemp("stores") / "float32", precision="float32")


def stamps_of(index: StampIndex, rows: np.ndarray) -> np.ndarray:
    """The pixels that the raw dataset has for rows of a store."""
    numbers = [int(name[1:]) for name in index.metadata(rows, ["stamp_id"])["stamp_id"].to_pylist()]
    return np.stack([stamp_image(n, n % 2 == 1) for n in numbers])


def read(index: StampIndex, rows: np.ndarray, open_row_groups: int = 2) -> dict[str, np.ndarray]:
    reader = StoreReader(index, open_row_groups=open_row_groups)
    out = {name: np.ones((len(rows), *shape), dtype) for name, (shape, dtype) in reader.fields.items()}
    assert reader.read(rows, out) == []
    return out


def nanomaggies(fields: dict[str, np.ndarray]) -> np.ndarray:
    exponent = fields.get("exponent", np.zeros(len(fields["image"]), np.int8)).astype(np.int32)
    return np.ldexp(fields["image"].astype(np.float32), exponent[:, None, None, None])


def maps_of(index: StampIndex) -> int:
    """Files of a store that this process has mapped."""
    return sum(index.files.root in line for line in Path("/proc/self/maps").read_text().splitlines())


@settings(max_examples=8, deadline=None)
@given(
    n_train=st.integers(2, 30),
    n_files=st.integers(1, 3),
    row_group_size=st.integers(1, 20),
    shard_stamps=st.integers(1, 40),
    row_group_stamps=st.integers(1, 40),
    precision=st.sampled_from(["float32", "float16"]),
)
def test_any_layout_gives_every_stamp_back(n_train, n_files, row_group_size, shard_stamps, row_group_stamps, precision):
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        write_dataset(raw, n_train=n_train, n_val=4, n_test=4, n_files=n_files, row_group_size=row_group_size)
        sizes = {"shard_stamps": shard_stamps, "row_group_stamps": row_group_stamps}
        index = make(raw, Path(folder) / "store", precision=precision, **sizes)
        rows = np.random.default_rng(0).permutation(index.n_rows)
        fields, expected = read(index, rows), stamps_of(index, rows)
        images = nanomaggies(fields)
        if precision == "float32":
            np.testing.assert_array_equal(images.view(np.uint32), expected.view(np.uint32))
        else:
            np.testing.assert_allclose(images, expected, rtol=2**-11, atol=1e-9)
        columns = index.metadata(rows)
        for name in BATCH_STATISTICS:
            stored = np.stack([columns[f"stamp_{name}_{band}"].to_numpy() for band in "grz"], axis=1)
            np.testing.assert_array_equal(fields[name], stored)
        if precision == "float16":
            np.testing.assert_array_equal(fields["exponent"], columns["stamp_exponent"].to_numpy())
        for number, name in enumerate(index.files.names):
            assert plain_groups(index.files.parquet(number).metadata, precision) is not None, name


def test_a_file_is_mapped_while_one_of_its_row_groups_is_in_use(float32):
    reader = StoreReader(float32, open_row_groups=2)
    out = {name: np.empty((1, *shape), dtype) for name, (shape, dtype) in reader.fields.items()}
    for row in np.random.default_rng(0).permutation(float32.n_rows):
        reader.read(np.array([row]), out)
        assert 1 <= maps_of(float32) <= 2
    del reader
    assert maps_of(float32) == 0


def test_no_rows_are_no_stamps(raw, float32):
    for index in (StampIndex.build(str(raw)), float32):
        images = read_stamps(index, np.zeros(0, np.int64), max_nonfinite_fraction=0.01)
        assert images.shape == (0, 3, 64, 64)


def test_labels_splits_and_metadata_are_those_of_the_raw_rows(raw, float32):
    raw_index = StampIndex.build(str(raw))
    assert float32.class_counts("train") == raw_index.class_counts("train")
    assert float32.excluded() == raw_index.excluded()
    for split in SPLITS:
        table = float32.metadata(float32.rows(split))
        source = np.array([int(name[1:]) for name in table["stamp_id"].to_pylist()])
        assert sorted(source) == raw_index.rows(split).tolist()
        np.testing.assert_array_equal(float32.label[float32.rows(split)], raw_index.label[source])
        columns = [name for name in SCHEMA.names if name != "stamp_npz"]
        assert table.select(columns).equals(raw_index.metadata(source, columns).cast(table.select(columns).schema))
    assert float32.fingerprint != raw_index.fingerprint


def test_a_loader_gives_the_stamps_of_the_raw_dataset(float32, tmp_path):
    quarantine = Quarantine(float32, tmp_path)
    train = TrainLoader(float32, "train", quarantine, Share(16), StreamOptions(num_threads=3), seed=1)
    val = EvalLoader(float32, "val", quarantine, Share(10), StreamOptions())
    for loader, n_stamps in ((train, 32), (val, 24)):
        batches = list(loader)
        rows = np.concatenate([batch["row"] for batch in batches])
        assert len(set(rows)) == n_stamps
        images = np.concatenate([batch["image"] for batch in batches])
        np.testing.assert_array_equal(images, stamps_of(float32, rows))
        np.testing.assert_array_equal(np.concatenate([b["label"] for b in batches]), float32.label[rows])


@pytest.mark.parametrize("how", [{"compression": "zstd"}, {"data_page_size": 50_000, "write_batch_size": 1}, {}])
def test_a_store_written_anew_by_another_program_is_read_as_parquet(raw, tmp_path, how):
    index = make(raw, tmp_path / "store", precision="float16")
    rows = np.arange(0, index.n_rows, 3)
    expected = read(index, rows)
    for path in index.files.paths:
        pq.write_table(pq.read_table(path), path, row_group_size=8, **how)
        assert plain_groups(pq.read_metadata(path), "float16") is None
    index = replace(index, files=StampFiles.find(index.files.root))
    for name, values in read(index, rows).items():
        np.testing.assert_array_equal(values, expected[name])


def test_columns_that_may_be_null_are_not_taken_for_arrays(raw, tmp_path):
    index = make(raw, tmp_path / "store", precision="float16")
    table = pq.read_table(index.files.paths[0])
    nullable = pa.schema([field.with_nullable(True) for field in table.schema])
    settings = {"compression": "none", "use_dictionary": False, "write_statistics": False, "row_group_size": 8}
    for schema, is_plain in ((table.schema, True), (nullable, False)):
        pq.write_table(table.cast(schema), tmp_path / "anew.parquet", **settings)
        assert (plain_groups(pq.read_metadata(tmp_path / "anew.parquet"), "float16") is not None) == is_plain


@pytest.mark.parametrize("damage", ["missing", "cut", "left over"])
def test_a_store_that_is_not_whole_is_refused(raw, tmp_path, damage):
    index = make(raw, tmp_path / "store")
    path = Path(index.files.paths[1])
    match damage:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-1])
        case "left over":
            shutil.copy(path, path.with_name("train-00009-of-00003.parquet"))
    with pytest.raises(ContractError, match=r"bytes where store\.json says .* copy it again, or prepare it again"):
        StampIndex.build(str(tmp_path / "store"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace('"format_version": 2', '"format_version": 9'), "of format 9"),
        (lambda text: "[]", "no manifest"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(raw, tmp_path, change, told):
    make(raw, tmp_path / "store")
    manifest = tmp_path / "store" / "store.json"
    manifest.write_text(change(manifest.read_text()))
    with pytest.raises(ContractError, match=told):
        StampIndex.build(str(tmp_path / "store"))
