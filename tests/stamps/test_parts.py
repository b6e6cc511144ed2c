"""Views of a dataset of stamps with other parts than its own."""

import numpy as np
import pytest

from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.row_index import PartsError
from tests.stamps.datasets import spoil, write_dataset


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> StampIndex:
    return StampIndex.build(str(write_dataset(tmp_path_factory.mktemp("survey"), change=spoil(3, cutout_ok=0))))


def test_exactly_the_rows_of_the_parts_are_in_use(index):
    parts = {"train": np.array([80, 2, 41]), "val": np.array([0, 95])}
    view = index.with_parts(parts)
    assert {name: view.rows(name).tolist() for name in ("train", "val", "test")} == {
        "train": [2, 41, 80],
        "val": [0, 95],
        "test": [],
    }
    assert view.class_counts("train") == {"control": 2, "lens": 1}
    assert view.excluded()["cutout_not_ok"] == index.excluded()["cutout_not_ok"]
    assert sum(n for split in view.excluded()["outside_the_parts"].values() for n in split.values()) == 96 - 5 - 1
    assert view.fingerprint == index.fingerprint
    assert len(index.rows("train")) == 47  # the index itself stays as it was


def test_the_stream_gives_the_rows_of_the_parts(index, tmp_path):
    view = index.with_parts({"train": np.arange(60, 90), "val": np.array([0, 95])})
    data = StampDataModule(index.files.root, str(tmp_path), batch_size=10, index=view)
    data.setup()
    assert sorted(row for batch in data.train_dataloader() for row in batch["row"].tolist()) == list(range(60, 90))
    assert [row for batch in data.val_dataloader() for row in batch["row"].tolist()] == [0, 95]


def test_an_unusable_row_is_refused_by_its_reason(index):
    with pytest.raises(PartsError, match=r"part test: 1 rows are unusable \(row 3: cutout_not_ok\); drop them"):
        index.with_parts({"test": np.arange(5)})
