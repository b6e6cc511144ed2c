import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.configuration import REPOSITORY
from dark_halo_scope.stamps.stream import StreamOptions
from tests.stamps.datasets import stamp_image, write_dataset
from tests.stamps.streams import all_rows, make_loader, rows_of, stream_threads

pytestmark = pytest.mark.usefixtures("by_lanes")


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


def test_a_process_ends_in_silence_with_an_epoch_half_read(survey):
    script = f"""
from tests.stamps.streams import make_loader
batches = iter(make_loader({str(survey)!r}))
print(len(next(batches)["row"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert (done.returncode, done.stdout, done.stderr) == (0, "16\n", "")


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
