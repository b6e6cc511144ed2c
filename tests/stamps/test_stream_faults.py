"""Bad stamps and damaged files in a stream."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dark_halo_scope.stamps.codec import encode_stamp
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.quarantine import QuarantineLimitError
from tests.stamps.datasets import Row, stamp_image, write_dataset
from tests.stamps.streams import all_rows, make_loader, stream_threads

pytestmark = pytest.mark.usefixtures("by_lanes")


def break_rows(*numbers: int):
    def change(number: int, row: Row) -> None:
        if number in numbers:
            row["stamp_npz"] = row["stamp_npz"][:-1]

    return change


def test_bad_stamps_leave_their_batch_and_are_counted(tmp_path):
    def change(number: int, row: Row) -> None:
        image = stamp_image(number, is_lens=number % 2 == 1)
        match number:
            case 3:
                row["stamp_npz"] = None
            case 10:
                row["stamp_npz"] = b"no zip"
            case 21:
                image[1] = np.nan
                row["stamp_npz"] = encode_stamp(image)
            case 30:
                image[2, 0, :5] = np.nan
                row["stamp_npz"] = encode_stamp(image)

    loader = make_loader(write_dataset(tmp_path, change=change), limit=0.5, batch_size=12)
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader) == 4
        assert all_rows(batches) == sorted(set(range(48)) - {3, 10, 21})
        assert all(torch.isfinite(batch["image"]).all() for batch in batches)
        for batch in batches:
            assert len(batch["image"]) == len(batch["label"]) == len(batch["row"])
            assert (batch["label"] == batch["row"] % 2).all()
    records = {r["row"]: (r["action"], r["reason"]) for r in loader._quarantine.records}
    assert records == {
        3: ("quarantined", "missing_stamp"),
        10: ("quarantined", "not_a_zip"),
        21: ("quarantined", "nonfinite"),
        30: ("repaired", "nonfinite"),
    }


def test_a_row_group_of_nulls_only(tmp_path):
    def change(number: int, row: Row) -> None:
        if number < 8:
            row["stamp_npz"] = None

    loader = make_loader(write_dataset(tmp_path, change=change), limit=0.5, batch_size=16)
    assert all_rows(loader) == list(range(8, 48))


def test_too_many_bad_stamps_stop_the_stream_and_its_threads(tmp_path):
    loader = make_loader(write_dataset(tmp_path, change=break_rows(1, 4)), limit=0.001)
    with pytest.raises(QuarantineLimitError, match="2 of the 48 stamps"):
        list(loader)
    assert not stream_threads()


def test_stamps_that_break_in_one_class_only_stop_the_run(tmp_path):
    folder = write_dataset(tmp_path, change=break_rows(*range(1, 48, 2)[:16]))
    with pytest.raises(QuarantineLimitError, match="16 of 24 stamps of class lens"):
        list(make_loader(folder, limit=0.9, batch_size=48))


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_damaged_row_group_is_named_in_the_main_thread(tmp_path, num_threads):
    file = write_dataset(tmp_path) / "part-000.parquet"
    chunk = pq.ParquetFile(file).metadata.row_group(2).column(1)
    assert chunk.path_in_schema == "stamp_npz"
    data = bytearray(file.read_bytes())
    start = min(offset for offset in (chunk.dictionary_page_offset, chunk.data_page_offset) if offset)
    data[start : start + 200] = bytes(200)
    file.write_bytes(data)
    with pytest.raises(ContractError, match=r"part-000\.parquet: row group 2 cannot be read"):
        list(make_loader(tmp_path, num_threads=num_threads))
    assert not stream_threads()
