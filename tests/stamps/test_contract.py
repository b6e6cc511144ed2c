"""Each breach of contract is refused before a pixel is read, in a sentence that names what, where and what to do."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dark_halo_scope.stamps.contract import REQUIRED_COLUMNS, ContractError
from dark_halo_scope.stamps.index import StampIndex
from tests.stamps.datasets import SCHEMA, Row, spoil, write_dataset


def refused(folder, **options) -> str:
    with pytest.raises(ContractError) as caught:
        StampIndex.build(str(folder), **options)
    return str(caught.value)


def with_type(name: str, kind: pa.DataType) -> pa.Schema:
    return SCHEMA.set(SCHEMA.get_field_index(name), pa.field(name, kind))


@pytest.mark.parametrize("column", REQUIRED_COLUMNS)
def test_a_missing_column(tmp_path, column):
    schema = SCHEMA.remove(SCHEMA.get_field_index(column))
    message = refused(write_dataset(tmp_path, n_train=4, n_val=4, n_test=4, n_files=1, schema=schema))
    assert message.startswith(f"part-000.parquet: missing column {column};")


@pytest.mark.parametrize(
    ("column", "kind", "wanted"),
    [
        ("stamp_npz", pa.string(), "binary"),
        ("lens_model", pa.binary(), "string"),
        ("cutout_ok", pa.string(), "integer"),
        ("cutout_ok", pa.float32(), "integer"),
        ("theta_e_arcsec", pa.int64(), "float"),
        ("arc_snr", pa.int64(), "float"),
    ],
)
def test_a_wrong_type(tmp_path, column, kind, wanted):
    def change(number: int, row: Row) -> None:
        values = {pa.string(): "1", pa.binary(): b"SIE", pa.int64(): 1, pa.float32(): 1.0}
        row[column] = values[kind]

    schema = with_type(column, kind)
    message = refused(write_dataset(tmp_path, n_train=4, n_val=4, n_test=4, n_files=1, schema=schema, change=change))
    assert message.startswith(f"part-000.parquet: column {column} has type {kind}, but {wanted} is required")


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("stamp_npz", pa.large_binary()),
        ("lens_model", pa.large_string()),
        ("lens_model", pa.dictionary(pa.int32(), pa.string())),
        ("region_split", pa.dictionary(pa.int32(), pa.string())),
        ("region_id", pa.uint16()),
        ("cutout_ok", pa.int64()),
        ("theta_e_arcsec", pa.float64()),
    ],
)
def test_other_encodings_of_the_right_type_are_read_alike(tmp_path, column, kind):
    usual = StampIndex.build(str(write_dataset(tmp_path / "usual")))
    other = StampIndex.build(str(write_dataset(tmp_path / "other", schema=with_type(column, kind))))
    assert (other.label == usual.label).all()
    assert (other.split == usual.split).all()


def test_a_file_of_controls_only_may_have_an_arc_snr_of_null_type(tmp_path):
    def change(number: int, row: Row) -> None:
        row["arc_snr"] = None

    write_dataset(tmp_path, schema=with_type("arc_snr", pa.null()), change=change)
    assert StampIndex.build(str(tmp_path)).n_rows == 96


@pytest.mark.parametrize("value", ["SPIRAL", "control", "", None])
def test_an_unknown_lens_model(tmp_path, value):
    message = refused(write_dataset(tmp_path, change=spoil(50, 52, lens_model=value)))
    assert message.startswith(f"part-001.parquet: column lens_model holds {value!r} (2 rows); only 'CONTROL', 'SIE'")


def test_an_unknown_split(tmp_path):
    message = refused(write_dataset(tmp_path, change=spoil(1, region_split="holdout")))
    assert "column region_split holds 'holdout' (1 rows); only 'train', 'val', 'test' are known" in message


@pytest.mark.parametrize("value", [2, None])
def test_an_unknown_cutout_flag(tmp_path, value):
    assert f"column cutout_ok holds {value} (1 rows)" in refused(
        write_dataset(tmp_path, change=spoil(1, cutout_ok=value))
    )


@pytest.mark.parametrize("theta", [1.2, -1.0, math.nan, None])
def test_a_control_with_an_einstein_radius(tmp_path, theta):
    message = refused(write_dataset(tmp_path, change=spoil(2, 4, theta_e_arcsec=theta)))
    assert "part-000.parquet: 2 rows have lens_model CONTROL but theta_e_arcsec other than 0 (first: row 2" in message


@pytest.mark.parametrize("theta", [0.0, -1.0, math.nan, None])
def test_an_injection_without_an_einstein_radius(tmp_path, theta):
    message = refused(write_dataset(tmp_path, change=spoil(3, theta_e_arcsec=theta)))
    assert "1 rows have an injected lens but theta_e_arcsec not above 0 (first: row 3" in message


def test_a_failed_cutout_may_lack_its_einstein_radius(tmp_path):
    write_dataset(tmp_path, change=spoil(3, theta_e_arcsec=None, cutout_ok=0))
    assert StampIndex.build(str(tmp_path)).excluded()["cutout_not_ok"]["train"] == {"control": 0, "lens": 1}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split(tmp_path, split):
    message = refused(write_dataset(tmp_path, **{f"n_{split}": 0}))
    assert f"split {split} is empty" in message


def test_a_split_whose_stamps_are_all_unusable_is_empty(tmp_path):
    message = refused(write_dataset(tmp_path, change=spoil(*range(48, 72), cutout_ok=0)))
    assert "split val is empty (no usable row" in message


@pytest.mark.parametrize(("split", "first", "last"), [("train", 0, 48), ("val", 48, 72), ("test", 72, 96)])
def test_one_class_only(tmp_path, split, first, last):
    change = spoil(*range(first, last), lens_model="CONTROL", theta_e_arcsec=0.0)
    message = refused(write_dataset(tmp_path, change=change))
    assert f"split {split} holds one class only ({last - first} usable rows, all control)" in message


def test_a_region_in_two_splits(tmp_path):
    message = refused(write_dataset(tmp_path, change=spoil(50, 51, 80, region_id=3)))
    assert "the same region_id lies in two splits (3 in train and val and test; 3 rows)" in message
    assert "data.on_split_leak=drop" in message


def test_a_host_in_two_splits(tmp_path):
    message = refused(write_dataset(tmp_path, change=spoil(10, 60, host_id=77)))
    assert "the same host_id lies in two splits (77 in train and val; 1 rows)" in message


def test_many_leaking_regions_are_summed_up(tmp_path):
    def change(number: int, row: Row) -> None:
        row["region_id"] = number % 8

    assert "0 in train and val and test" in (message := refused(write_dataset(tmp_path, change=change)))
    assert ", and 3 more; 48 rows" in message


def test_a_dataset_without_regions(tmp_path):
    write_dataset(tmp_path, schema=SCHEMA.remove(SCHEMA.get_field_index("region_id")))
    message = refused(tmp_path)
    assert "no column region_id" in message
    assert "data.region_column=" in message
    assert StampIndex.build(str(tmp_path), region_column="stamp_id").n_rows == 96


def test_a_region_column_of_a_type_that_names_nothing(tmp_path):
    assert "column ra has type double, but an integer or a string" in refused(
        write_dataset(tmp_path), region_column="ra"
    )


def test_a_region_column_of_two_types(tmp_path):
    def change(number: int, row: Row) -> None:
        row["region_id"] = str(row["region_id"])

    write_dataset(tmp_path / "a")
    write_dataset(tmp_path / "b", schema=with_type("region_id", pa.string()), change=change)
    assert "column region_id is an integer in some files and a string in others" in refused(tmp_path)


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.001])
def test_a_truncated_file(tmp_path, kept):
    file = write_dataset(tmp_path) / "part-001.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * kept)])
    message = refused(tmp_path)
    assert message.startswith("part-001.parquet (")
    assert "no readable parquet file" in message
    assert "copy it again" in message


def test_a_file_damaged_in_its_metadata_columns(tmp_path):
    file = write_dataset(tmp_path) / "part-001.parquet"
    data = bytearray(file.read_bytes())
    chunk = pq.ParquetFile(file).metadata.row_group(0).column(2)
    assert chunk.path_in_schema == "lens_model"
    start = chunk.dictionary_page_offset
    data[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    file.write_bytes(data)
    assert "part-001.parquet cannot be read" in refused(tmp_path)


def test_an_unknown_leak_policy(tmp_path):
    with pytest.raises(ValueError, match=r"data\.on_split_leak='warn' is unknown; use stop or drop"):
        StampIndex.build(str(write_dataset(tmp_path)), on_split_leak="warn")
