"""What is refused, by a sentence that says where and what to do."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.windows.contract import LAYOUT_KEY, WindowLayout
from dark_halo_scope.windows.index import WindowIndex
from tests.windows.datasets import LAYOUT, column, values, write_study

NAN = [0.0] * 20 + [float("nan")] + [0.0] * 11
BREACHES = {
    "no column": (lambda t: t.drop_columns(["time", "label"]), r"p2\.parquet: missing column time, label; write"),
    "no window": (lambda t: t.drop_columns(["window"]), r"p2\.parquet: missing column window"),
    "label of floats": (
        column("label", lambda c: pa.array(np.zeros(len(c)))),
        "column label has type double, but a string or integer is required",
    ),
    "time of text": (column("time", lambda c: c.cast(pa.string())), "column time has type string, but a number of sec"),
    "float64": (
        column("window", lambda c: c.cast(pa.list_(pa.float64(), 32))),
        r"column window has type fixed_size_list<.*double>\[32\], but a fixed-size list of float32 is required",
    ),
    "loose lists": (column("window", lambda c: c.cast(pa.list_(pa.float32()))), "a fixed-size list of float32 is req"),
    "no layout": (lambda t: t.replace_schema_metadata(None), "metadata have no key 'windows' with channels"),
    "no JSON": (lambda t: t.replace_schema_metadata({LAYOUT_KEY: b"{"}), "layout '{' in the file's metadata cannot"),
    "half a layout": (lambda t: t.replace_schema_metadata({LAYOUT_KEY: b'{"channels": ["a"]}'}), "'window_size'"),
    "other size": (
        lambda t: t.replace_schema_metadata(WindowLayout(("x", "y", "z"), 16, 8.0).schema().metadata),
        "a window has 32 numbers, but 3 channels of 16 samples make 48; write whole windows",
    ),
    "other layout": (
        lambda t: t.replace_schema_metadata(WindowLayout(("acc_x", "acc_y"), 16, 9.0).schema().metadata),
        r"p0\.parquet holds windows of 16 samples at 8 Hz of acc_x, acc_y, but p2\.parquet windows of 16 samples at 9",
    ),
    "NaN": (values(window=(7, NAN)), r"p2\.parquet: window 7 holds NaN or infinity in channel acc_y \(and 0 more"),
    "null sample": (
        column("window", lambda c: pa.array([[None] + [1.0] * 31, *c.to_pylist()[1:]], pa.list_(pa.float32(), 32))),
        "window 0 holds NaN or infinity in channel acc_x",
    ),
    "null window": (values(window=(9, None)), r"p2\.parquet: window 9 is null"),
    "null label": (values(label=(3, None)), r"column label is null in 1 rows \(first: row 3\); name them"),
    "no time": (values(time=(5, None)), "column time is null or not finite in row 5"),
    "shared session": (
        values(session=(0, "p1/s0")),
        r"1 sessions belong to more than one participant \(session p1/s0: p1, p2\); name them apart",
    ),
    "twice": (
        values(time=(3, 4.0)),
        r"1 windows begin when another of their session does \(first: rows 34 and 35, at 4",
    ),
    "mixed names": (
        column("participant", lambda c: pa.array([9] * len(c))),
        "column participant is an integer in some files and a string in others",
    ),
}


@pytest.mark.parametrize(("change", "told"), BREACHES.values(), ids=BREACHES)
def test_a_breach_is_named_with_file_place_and_remedy(change, told, tmp_path):
    with pytest.raises(ContractError, match=told):
        WindowIndex.build(str(write_study(tmp_path, change=change)))


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    folder = write_study(tmp_path, participants=1, change=column("label", lambda c: pa.array(["sit"] * len(c))))
    with pytest.raises(ContractError, match="every window has the label sit; there is nothing to tell apart"):
        WindowIndex.build(str(folder))


def test_a_label_that_is_no_class_is_refused(tmp_path):
    change = column("label", lambda c: pa.array([str(k) for k in range(len(c))]))
    with pytest.raises(ContractError, match="label holds 130 different values, more than 127 classes"):
        WindowIndex.build(str(write_study(tmp_path, participants=1, sessions=1, windows=130, change=change)))


def test_a_damaged_file_is_named(tmp_path):
    file = write_study(tmp_path) / "p1.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ContractError, match=r"p1\.parquet \(.* bytes\) is no readable parquet file"):
        WindowIndex.build(str(tmp_path))


@pytest.mark.parametrize(
    ("channels", "size", "rate"), [((), 16, 8.0), (("x", "x"), 16, 8.0), (("x",), 0, 8.0), (("x",), 16, 0.0)]
)
def test_a_layout_that_makes_no_sense_is_refused(channels, size, rate):
    with pytest.raises(ContractError):
        WindowLayout(channels, size, rate)


def test_integers_and_timestamps_are_taken_as_they_are(tmp_path):
    def change(table: pa.Table) -> pa.Table:
        for name in ("participant", "session", "label"):
            table = column(name, lambda c: pc.dictionary_encode(c).combine_chunks().indices.cast(pa.int16()))(table)
        milliseconds = pc.multiply(table["time"], 1000).cast(pa.int64()).cast(pa.timestamp("ms", "UTC"))
        return column("time", lambda c: milliseconds)(table)

    index = WindowIndex.build(str(write_study(tmp_path, participants=1, change=change)))
    assert index.classes == ("0", "1", "2")
    assert index.participants == ("0",)
    np.testing.assert_array_equal(index.time[[0, 1, 8, 9]], [0, 2, 1000, 1002])


def test_overlapping_windows_are_told(tmp_path, caplog):
    halved = column("time", lambda c: pc.multiply(c, 0.5))
    WindowIndex.build(str(write_study(tmp_path, change=halved)))
    assert "14 of 48 windows share samples with the one before; keep whole sessions in one part" in caplog.text
    assert LAYOUT.duration_s == 2.0
