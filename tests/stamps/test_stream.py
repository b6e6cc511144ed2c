import tempfile
import threading
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.stamps import plan
from dark_halo_scope.stamps.codec import encode_stamp
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.loaders import EvalLoader, TrainLoader
from dark_halo_scope.stamps.plan import PlanError, Share
from dark_halo_scope.stamps.quarantine import Quarantine, QuarantineLimitError
from dark_halo_scope.stamps.stream import StreamOptions
from tests.stamps.datasets import Row, stamp_image, write_dataset


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return write_dataset(
        tmp_path_factory.mktemp("survey"), n_train=96, n_val=30, n_test=24, n_files=3, row_group_size=5
    )


@pytest.fixture(autouse=True, scope="module")
def by_lanes():
    """The plan of large splits for the small ones of these tests; test_datamodule has the full shuffle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "FULL_SHUFFLE_ROWS", 0)
        yield


def make_loader(folder, split="train", *, limit=0.001, batch_size=16, rank=0, world=1, seed=0, **options):
    index = StampIndex.build(str(folder))
    quarantine = Quarantine(index, Path(tempfile.mkdtemp(dir=folder)), limit=limit)
    share = Share(batch_size, rank, world)
    options = {"lanes": 8} | options
    if split == "train":
        return TrainLoader(index, split, quarantine, share, StreamOptions(**options), seed=seed)
    return EvalLoader(index, split, quarantine, share, StreamOptions(**options))


def all_rows(batches) -> list[int]:
    return sorted(row for batch in batches for row in batch["row"].tolist())


def rows_of(batches) -> list[list[int]]:
    return [batch["row"].tolist() for batch in batches]


def stream_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("stamps")]


def test_a_batch_holds_the_pixels_labels_and_rows_of_its_stamps(survey):
    for batch in make_loader(survey):
        assert batch["image"].shape == (16, 3, 64, 64)
        assert batch["image"].dtype == torch.float32
        assert batch["label"].dtype == batch["row"].dtype == torch.int64
        for image, label, row in zip(batch["image"], batch["label"].tolist(), batch["row"].tolist(), strict=True):
            assert label == row % 2
            np.testing.assert_array_equal(image.numpy(), stamp_image(row, is_lens=row % 2 == 1))


def test_order_and_content_do_not_depend_on_threads_prefetch_or_when_it_was_read(survey):
    def content(**options):
        return [
            (b["row"].tolist(), b["image"].numpy().tobytes()) for b in make_loader(survey, batch_size=40, **options)
        ]

    one = content(num_threads=1, prefetch_batches=1, seed=5)
    assert content(num_threads=2, prefetch_batches=3, seed=5) == one
    assert content(num_threads=7, prefetch_batches=1, seed=5) == one
    assert content(num_threads=2, seed=6) != one


def test_epochs_differ_and_repeat(survey):
    loader = make_loader(survey, lanes=4)
    epochs = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        epochs.append(list(loader))
    first, second, again = map(rows_of, epochs)
    assert first == again != second
    assert all_rows(epochs[0]) == all_rows(epochs[1]) == list(range(96))


def test_the_epoch_is_read_at_the_first_batch_as_lightning_needs(survey):
    loader = make_loader(survey)
    iterator = iter(loader)
    loader.sampler.set_epoch(4)
    fresh = make_loader(survey)
    fresh.set_epoch(4)
    assert rows_of(iterator) == rows_of(fresh)


layouts = st.fixed_dictionaries(
    {
        "n_train": st.integers(8, 40),
        "n_val": st.integers(4, 20),
        "n_test": st.just(4),
        "n_files": st.integers(1, 5),
        "row_group_size": st.integers(1, 20),
    }
)


@settings(max_examples=12, deadline=None)
@given(
    layout=layouts,
    world=st.integers(1, 4),
    threads=st.integers(1, 3),
    share=st.integers(1, 5),
    lanes=st.sampled_from([1, 2, 4, 8]),
)
def test_each_stamp_once_in_equal_steps_for_any_files_ranks_and_threads(layout, world, threads, share, lanes):
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), **layout)
        n_train, n_val = layout["n_train"], layout["n_val"]
        share = min(share, n_train // world)

        def epoch(split: str) -> list[list[list[int]]]:
            options = {"batch_size": share * world, "world": world, "num_threads": threads, "lanes": lanes}
            return [rows_of(make_loader(folder, split, rank=rank, **options)) for rank in range(world)]

        train, val = epoch("train"), epoch("val")
        assert {len(batches) for batches in train} == {n_train // (share * world)}
        alone = rows_of(make_loader(folder, batch_size=share * world, lanes=lanes))
        assert [list(chain(*parts)) for parts in zip(*train, strict=True)] == alone  # the same global batches
        seen = [row for batches in train for batch in batches for row in batch]
        assert len(set(seen)) == len(seen) == n_train // (share * world) * share * world
        assert set(seen) <= set(range(n_train))
        assert len({len(batches) for batches in val}) == 1
        assert sorted(row for batches in val for batch in batches for row in batch) == list(
            range(n_train, n_train + n_val)
        )


@settings(max_examples=10, deadline=None)
@given(layout=layouts, threads=st.integers(1, 3), lanes=st.sampled_from([1, 2, 4, 8]), data=st.data())
def test_any_epoch_goes_on_at_any_batch(layout, threads, lanes, data):
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), **layout)
        whole = make_loader(folder, batch_size=4, lanes=lanes)
        whole.set_epoch(2)
        expected = [(b["row"].tolist(), b["image"].numpy().tobytes()) for b in whole]
        stop = data.draw(st.integers(0, len(expected)))
        resumed = make_loader(folder, batch_size=4, lanes=lanes, num_threads=threads)
        resumed.load_state_dict({"epoch": 2, "next_batch": stop})
        assert [(b["row"].tolist(), b["image"].numpy().tobytes()) for b in resumed] == expected[stop:]


@pytest.mark.parametrize("stop", [0, 1, 3, 6])
def test_iteration_goes_on_where_the_state_says(survey, stop):
    whole = make_loader(survey, seed=2)
    whole.set_epoch(3)
    expected = rows_of(whole)
    interrupted = make_loader(survey, seed=2)
    interrupted.set_epoch(3)
    iterator = iter(interrupted)
    for _ in range(stop):
        next(iterator)
    state = interrupted.state_dict()
    order = {"batch_size": 16, "n_rows": 96, "seed": 2, "reshuffle": True, "lanes": 8}
    assert state == {"epoch": 3, "next_batch": stop} | order

    resumed = make_loader(survey, seed=2, num_threads=3)
    resumed.load_state_dict(state)
    resumed.set_epoch(3)
    assert rows_of(resumed) == expected[stop:]
    assert rows_of(resumed) == expected  # only once
    resumed.load_state_dict(state)
    resumed.set_epoch(4)
    assert resumed.state_dict() == {"epoch": 4, "next_batch": 0} | order
    assert len(rows_of(resumed)) == len(resumed)


def position(folder, n_batches: int, **options):
    """The state of a loader that has given the first batches of epoch 1."""
    loader = make_loader(folder, **options)
    loader.set_epoch(1)
    batches = iter(loader)
    for _ in range(n_batches):
        next(batches)
    return loader.state_dict()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"batch_size": 8}, r"\(data\.batch_size / trainer\.accumulate_grad_batches\) was 16 and is 8"),
        ({"batch_size": 32}, "was 16 and is 32"),
        ({"seed": 7}, r"the seed of the shuffle \(seed or data\.seed\) was 0 and is 7"),
        ({"lanes": 4}, r"data\.lanes; .* was 8 and is 4"),
        ({"lanes": 32}, r"data\.lanes; .* was 8 and is 0"),  # more than row groups: a full shuffle
        ({"seed": 7, "lanes": 4}, r"was 0 and is 7; .* was 8 and is 4\. Set it back"),
    ],
)
def test_an_epoch_does_not_go_on_in_other_batches_or_another_order(survey, changed, told):
    resumed = make_loader(survey, **changed)
    resumed.load_state_dict(position(survey, 2))
    with pytest.raises(PlanError, match=f"inside epoch 1, after 2 batches, .*{told}"):
        resumed.set_epoch(1)  # before Lightning counts what is left
    with pytest.raises(PlanError, match=told):
        next(iter(resumed))
    resumed.set_epoch(2)
    expected = make_loader(survey, **changed)
    expected.set_epoch(2)
    assert rows_of(resumed) == rows_of(expected)
    resumed.load_state_dict(position(survey, 0))  # nothing of the epoch is done
    resumed.set_epoch(1)
    assert len(rows_of(resumed)) == len(resumed)


def test_an_epoch_goes_on_with_any_ranks_and_threads_and_from_a_state_without_conditions(survey):
    state = position(survey, 2)
    alone = make_loader(survey)
    alone.load_state_dict(state)
    expected = rows_of(alone)
    assert len(expected) == 4
    ranks = [make_loader(survey, rank=rank, world=4, num_threads=1, prefetch_batches=1) for rank in range(4)]
    for rank in ranks:
        rank.load_state_dict(state)
    assert [list(chain(*parts)) for parts in zip(*map(rows_of, ranks), strict=True)] == expected
    older = make_loader(survey)
    older.load_state_dict({"epoch": 1, "next_batch": 2})
    assert rows_of(older) == expected


def test_lanes_may_change_where_there_are_none(survey):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "FULL_SHUFFLE_ROWS", 1_000)
        resumed, whole = make_loader(survey, lanes=4), make_loader(survey)
        whole.set_epoch(1)
        resumed.load_state_dict(position(survey, 2))
        assert rows_of(resumed) == rows_of(whole)[2:]


def test_threads_end_with_the_epoch_and_when_it_is_abandoned(survey):
    loader = make_loader(survey)
    iterator = iter(loader)
    assert not stream_threads()
    next(iterator)
    assert stream_threads()
    del iterator
    assert not stream_threads()
    list(loader)
    assert not stream_threads()


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


def test_large_binary_and_uncompressed_plain_pages_decode_alike(tmp_path):
    folder = write_dataset(tmp_path / "usual")
    expected = next(iter(make_loader(folder)))
    for file in folder.glob("*.parquet"):
        table = pq.read_table(file)
        at = table.schema.get_field_index("stamp_npz")
        table = table.set_column(at, "stamp_npz", table["stamp_npz"].cast(pa.large_binary()))
        pq.write_table(table, file, row_group_size=8, compression="none", use_dictionary=False)
    batch = next(iter(make_loader(folder)))
    assert batch["row"].tolist() == expected["row"].tolist()
    assert torch.equal(batch["image"], expected["image"])


@pytest.mark.parametrize(
    ("option", "value"),
    [("num_threads", 0), ("prefetch_batches", 0), ("lanes", 0), ("lanes", 96), ("max_nonfinite_fraction", 0.5)],
)
def test_impossible_options_are_refused(option, value):
    with pytest.raises(ValueError, match=rf"data\.{option}={value}"):
        StreamOptions(**{option: value})
