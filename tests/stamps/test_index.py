import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.index import StampIndex
from tests.stamps.datasets import SCHEMA, Row, spoil, write_dataset


def build(folder, **options) -> StampIndex:
    return StampIndex.build(str(folder), **options)


def test_rows_follow_the_sorted_files(tmp_path):
    index = build(write_dataset(tmp_path, n_files=3, row_group_size=7))
    table = pa.concat_tables(pq.read_table(file) for file in sorted(tmp_path.glob("*.parquet")))
    split = np.array(table["region_split"].to_pylist())
    for name in ("train", "val", "test"):
        np.testing.assert_array_equal(index.rows(name), np.flatnonzero(split == name))
    assert index.n_rows == 96
    assert index.class_counts("val") == {"control": 12, "lens": 12}
    np.testing.assert_array_equal(index.label, [m != "CONTROL" for m in table["lens_model"].to_pylist()])
    assert index.locate(0) == ("part-000.parquet", 0)
    assert index.locate(95) == ("part-002.parquet", 31)
    assert index.id_columns == ("stamp_id", "region_id", "host_id", "ra", "dec")


def test_the_index_keeps_three_bytes_a_row(tmp_path):
    index = build(write_dataset(tmp_path))
    assert index.label.nbytes + index.split.nbytes + index.exclusion.nbytes == 3 * index.n_rows


def test_metadata_comes_in_the_order_of_the_rows_without_pixels(tmp_path, capsys):
    index = build(write_dataset(tmp_path, n_files=3, row_group_size=5))
    rows = np.random.default_rng(0).permutation(index.n_rows)[:50]
    rows[7] = rows[3]
    table = index.metadata(rows, progress=True)
    assert "50/50" in capsys.readouterr().out
    assert table["stamp_id"].to_pylist() == [f"s{row:06d}" for row in rows]
    assert set(table.column_names) == set(SCHEMA.names) - {"stamp_npz"}
    in_file_order = index.metadata(np.sort(rows))
    assert in_file_order["stamp_id"].to_pylist() == [f"s{row:06d}" for row in np.sort(rows)]
    few = index.metadata(rows[:4], ["dec", "region_id"])
    assert few.column_names == ["region_id", "dec"]


def rewrite(file, name: str, column) -> None:
    table = pq.read_table(file)
    pq.write_table(table.set_column(table.column_names.index(name), name, column(table[name])), file)


def test_files_that_write_a_column_differently_make_one_table(tmp_path):
    write_dataset(tmp_path, n_files=2)
    file = tmp_path / "part-001.parquet"
    rewrite(file, "lens_model", lambda column: column.dictionary_encode())
    rewrite(file, "src_dmag", lambda column: column.cast(pa.float64()))
    table = build(tmp_path).metadata(np.arange(96))
    assert table.schema.field("lens_model").type == pa.string()
    assert table.schema.field("src_dmag").type == pa.float64()


def test_a_column_that_cannot_be_one_is_refused_before_anything_is_trained(tmp_path):
    write_dataset(tmp_path, n_files=2)
    rewrite(tmp_path / "part-001.parquet", "ra", lambda column: column.cast(pa.string()))
    with pytest.raises(ContractError, match=r"files disagree on a column .*ra.*; write it alike"):
        build(tmp_path)


def test_columns_that_only_some_files_have_are_kept(tmp_path):
    write_dataset(tmp_path, n_files=2)
    file = tmp_path / "part-001.parquet"
    table = pq.read_table(file)
    pq.write_table(table.append_column("brickname", pa.array(["0001m002"] * len(table))), file)
    names = build(tmp_path).metadata(np.array([0, 95]))["brickname"].to_pylist()
    assert names == [None, "0001m002"]


def test_unusable_cutouts_are_left_out_and_counted(tmp_path):
    index = build(write_dataset(tmp_path, change=spoil(0, 1, 3, 50, cutout_ok=0)))
    assert not set(index.rows("train")) & {0, 1, 3}
    assert index.n_rows == 96
    assert index.excluded() == {
        "cutout_not_ok": {
            "train": {"control": 1, "lens": 2},
            "val": {"control": 1, "lens": 0},
            "test": {"control": 0, "lens": 0},
        }
    }


def test_leaking_regions_are_kept_in_the_first_split_on_request(tmp_path, caplog):
    def change(number: int, row: Row) -> None:
        if number in (50, 51, 80):
            row["region_id"] = 3  # of train
        if number == 90:
            row["region_id"] = 10  # of val
        if number in (20, 60):
            row["host_id"] = 5

    index = build(write_dataset(tmp_path, change=change), on_split_leak="drop")
    assert set(np.flatnonzero(index.exclusion)) == {50, 51, 80, 90, 60}
    assert len(index.rows("train")) == 48
    excluded = index.excluded()
    assert excluded["region_in_two_splits"]["val"] == {"control": 1, "lens": 1}
    assert excluded["region_in_two_splits"]["test"] == {"control": 2, "lens": 0}
    assert excluded["host_in_two_splits"]["val"] == {"control": 1, "lens": 0}
    assert "left out 4 rows whose region_id lies in an earlier split too" in caplog.text


def test_unusable_rows_and_rows_without_a_host_do_not_leak(tmp_path):
    def change(number: int, row: Row) -> None:
        if number == 60:
            row.update(region_id=1, cutout_ok=0)
        if number in (10, 61):
            row["host_id"] = None

    assert len(build(write_dataset(tmp_path, change=change)).rows("val")) == 23


def test_hosts_may_be_unknown_but_not_silently(tmp_path, caplog):
    build(write_dataset(tmp_path, schema=SCHEMA.remove(SCHEMA.get_field_index("host_id"))))
    assert "no column host_id in every file, so that hosts in two splits would go unseen" in caplog.text


def test_the_fingerprint_stays_when_the_dataset_moves(tmp_path):
    write_dataset(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere" / "b")
    assert build(tmp_path / "a").fingerprint == build(tmp_path / "elsewhere" / "b").fingerprint


def test_the_fingerprint_tells_datasets_apart(tmp_path):
    changes = {
        "same": None,
        "label": spoil(1, lens_model="CONTROL", theta_e_arcsec=0.0),
        "flag": spoil(1, cutout_ok=0),
        "further column": spoil(1, src_dmag=-1.0),
        "pixels": lambda number, row: row.update(stamp_npz=row["stamp_npz"] + b"x") if number == 5 else None,
    }
    seen = {name: build(write_dataset(tmp_path / name, change=change)).fingerprint for name, change in changes.items()}
    renamed = write_dataset(tmp_path / "renamed")
    (renamed / "part-001.parquet").rename(renamed / "part-002.parquet")
    seen["renamed"] = build(renamed).fingerprint
    assert len(set(seen.values())) == len(seen)
    assert build(write_dataset(tmp_path / "again")).fingerprint == seen["same"]


def test_an_empty_file_among_others_changes_no_row(tmp_path):
    write_dataset(tmp_path)
    pq.write_table(SCHEMA.empty_table(), tmp_path / "part-0005.parquet")
    index = build(tmp_path)
    assert index.n_rows == 96
    assert index.locate(48) == ("part-001.parquet", 0)
    assert index.metadata(np.array([48]))["stamp_id"].to_pylist() == ["s000048"]
