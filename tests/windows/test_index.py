import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dark_halo_scope.stamps.row_index import PartsError
from dark_halo_scope.windows.index import WindowIndex, participant_key
from dark_halo_scope.windows.reader import read_windows
from tests.windows.datasets import column, values, window, write_study


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> WindowIndex:
    return WindowIndex.build(str(write_study(tmp_path_factory.mktemp("study"))))


def test_rows_follow_the_sorted_files_and_classes_are_sorted(index):
    assert (index.n_rows, index.classes, index.participants) == (48, ("lie", "sit", "walk"), ("p0", "p1", "p2"))
    assert [index.classes[k] for k in index.label[:4]] == ["sit", "walk", "lie", "sit"]
    np.testing.assert_array_equal(index.participant, np.repeat([0, 1, 2], 16))
    assert [index.sessions[k] for k in index.session[[0, 8, 16]]] == ["p0/s0", "p0/s1", "p1/s0"]
    assert index.time[9] == 1002.0
    assert index.locate(20) == ("p1.parquet", 4)
    assert index.notes == ()


def test_integers_are_sorted_by_value(tmp_path):
    labels = column("label", lambda c: pa.array([10, 9] * (len(c) // 2)))
    assert WindowIndex.build(str(write_study(tmp_path, participants=1, change=labels))).classes == ("9", "10")


def test_samples_are_read_in_the_order_asked_for(index):
    rows = np.array([40, 3, 17, 3, 0])
    np.testing.assert_array_equal(read_windows(index, rows), [window(row) for row in rows])


def test_of_rows_in_many_row_groups_no_more_than_one_is_held(tmp_path):
    index = WindowIndex.build(str(write_study(tmp_path, participants=1, windows=400, row_group_size=40)))
    firsts = index.group_starts[:-1]
    usual, pool = pa.default_memory_pool(), pa.system_memory_pool()  # one that nothing else has taken from
    pa.set_memory_pool(pool)
    try:
        read_windows(index, firsts[:2])
        most = pool.max_memory()
        read_windows(index, firsts)
    finally:
        pa.set_memory_pool(usual)
    assert len(firsts) == 20
    assert pool.max_memory() < 1.2 * most


def test_metadata_comes_in_the_order_of_the_rows_without_samples(index):
    table = index.metadata(np.array([33, 2]), ["session", "label"])
    assert table.to_pylist() == [{"session": "p2/s0", "label": "sit"}, {"session": "p0/s0", "label": "lie"}]
    assert "window" not in index.metadata(np.array([1])).column_names


def test_exactly_the_rows_of_the_parts_are_in_use(index):
    assert len(index.rows("train")) == 0
    parts = {"train": np.array([5, 1, 30]), "test": np.arange(40, 48)}
    view = index.with_parts(parts)
    assert view.rows("train").tolist() == [1, 5, 30]
    assert view.rows("val").tolist() == []
    assert view.rows("test").tolist() == list(range(40, 48))
    assert view.split_rows("train").slice(0, 3).tolist() == [1, 5, 30]
    assert view.class_counts("train") == {"lie": 1, "sit": 1, "walk": 1}
    assert sum(n for split in view.excluded()["outside_the_parts"].values() for n in split.values()) == 37
    assert view.fingerprint == index.fingerprint
    assert view.participants_in("train") == ("p0", "p1")
    assert len(index.rows("train")) == 0  # the index itself stays as it was
    assert view.with_parts({"val": np.array([1])}).rows("train").tolist() == []


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"train": [1, 2], "val": [2]}, "part val: row 2 lies in another part too"),
        ({"train": [1, 1]}, "part train: a row comes twice"),
        ({"test": [48]}, "part test holds a row outside 0 ... 47"),
        ({"test": [-1]}, "part test holds a row outside"),
        ({"target": [1]}, "a part is named 'target'; the parts are train, val, test"),
    ],
)
def test_parts_that_cannot_be_are_refused(index, parts, told):
    with pytest.raises(PartsError, match=told):
        index.with_parts({name: np.array(rows) for name, rows in parts.items()})


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(index, tmp_path):
    here = index.files.root
    moved = shutil.copytree(here, tmp_path / "moved")
    (moved / "p2.parquet").rename(moved / "q9.parquet")
    assert WindowIndex.build(str(moved)).fingerprint == index.fingerprint
    one = tmp_path / "one" / "all.parquet"
    one.parent.mkdir()
    with pq.ParquetWriter(one, pq.read_schema(moved / "p0.parquet")) as writer:
        for file in sorted(moved.glob("*.parquet")):
            for k in range(pq.ParquetFile(file).num_row_groups):
                writer.write_table(pq.ParquetFile(file).read_row_group(k))
    assert WindowIndex.build(str(one)).fingerprint == index.fingerprint


CHANGES = {
    "a sample": values(window=(15, [*window(47).ravel()[:-1].tolist(), 0.25])),
    "a label": values(label=(15, "sit")),
    "a time": column("time", lambda c: pc.add(c, 1e-6)),
    "the order": lambda table: table.take(list(range(15, -1, -1))),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_fingerprint_changes_with_anything_that_a_row_holds(index, change, tmp_path):
    assert WindowIndex.build(str(write_study(tmp_path, change=change))).fingerprint != index.fingerprint


def test_row_groups_count_for_the_fingerprint_as_they_do_for_the_shuffle(index, tmp_path):
    assert WindowIndex.build(str(write_study(tmp_path, row_group_size=16))).fingerprint != index.fingerprint


def test_the_key_of_a_participant_is_the_same_everywhere():
    assert participant_key("p0") == 814498152570772262
    assert len({participant_key(f"p{k}") for k in range(10_000)}) == 10_000
