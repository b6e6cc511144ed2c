import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dark_halo_scope.files import sha256
from dark_halo_scope.stamps.codec import encode_stamp
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.quarantine import Quarantine, QuarantineLimitError
from dark_halo_scope.stamps.store.options import StoreError, StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare, shards_at_a_time
from tests.stamps.datasets import SCHEMA, Row, spoil, stamp_image, write_dataset

HALO = [sys.executable, "-c", "from dark_halo_scope.cli import main; main()"]


def options(**changes) -> StoreOptions:
    return StoreOptions(**({"shard_stamps": 20, "row_group_stamps": 8} | changes))


def make(raw: Path, out: Path, **changes) -> Path:
    prepare(str(raw), out, options(**changes), progress=False)
    return out


def read_all(store: Path) -> pa.Table:
    """A store as any program reads it, its files in the order of their names."""
    return pq.read_table(sorted(store.glob("*.parquet")))


def content(store: Path) -> dict[str, str]:
    return {file.name: sha256(file) for file in store.iterdir()}


def identity(files: list[Path]) -> dict[str, tuple[int, int]]:
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("raw"), change=spoil(3, cutout_ok=0))


def faulty(number: int, row: Row) -> None:
    image = stamp_image(number, is_lens=number % 2 == 1)
    match number:
        case 10:
            row["stamp_npz"] = b"no zip"
        case 51:
            image[1] = np.nan
            row["stamp_npz"] = encode_stamp(image)
        case 30:
            image[2, 0, :5] = np.nan
            row["stamp_npz"] = encode_stamp(image)
        case 21:
            image[:, 20:40, 20:40] *= 1e6
            row["stamp_npz"] = encode_stamp(image)
        case 22:
            row["cutout_ok"] = 0


def test_a_store_says_what_it_is_and_any_reader_opens_it(raw, tmp_path):
    store = make(raw, tmp_path / "store")
    names = [f"train-{k:05d}-of-00003.parquet" for k in range(3)]
    names += [f"{split}-{k:05d}-of-00002.parquet" for split in ("val", "test") for k in range(2)]
    assert {file.name for file in store.iterdir()} == {*names, "store.json", "quarantine.jsonl"}
    manifest = json.loads((store / "store.json").read_text())
    assert manifest["raw_fingerprint"] == StampIndex.build(str(raw)).fingerprint
    assert manifest["stamps"]["train"] == {"control": 24, "lens": 23}
    assert 0 < manifest["float16_error"]["mean"] <= manifest["float16_error"]["max"] < 0.005
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == sha256(store / name)
        assert entry["bytes"] == (store / name).stat().st_size

    table = read_all(store)
    assert len(table) == 95
    assert set(SCHEMA.names) - {"stamp_npz"} < set(table.column_names)
    for row in table.to_pylist()[:10]:
        number = int(row["stamp_id"][1:])
        assert row["stamp_label"] == number % 2
        assert (row["stamp_source_file"], row["stamp_source_row"]) == (f"part-00{number // 48}.parquet", number % 48)
        pixels = np.frombuffer(row["stamp_pixels"], "<f2").reshape(3, 64, 64).astype(np.float32)
        np.testing.assert_allclose(
            pixels * 2.0 ** row["stamp_exponent"], stamp_image(number, number % 2 == 1), rtol=2**-11, atol=1e-9
        )
    assert not list(tmp_path.glob(".*.partial"))


def test_files_that_disagree_on_optional_columns_are_brought_together(tmp_path):
    raw = write_dataset(tmp_path / "raw")
    file = raw / "part-001.parquet"
    table = pq.read_table(file)
    kinds = table["control_kind"].dictionary_encode()
    pq.write_table(table.drop_columns(["src_dmag", "control_kind"]).append_column("control_kind", kinds), file)
    rows = read_all(make(raw, tmp_path / "store")).to_pylist()
    assert {row["stamp_id"]: row["control_kind"] for row in rows} == {
        row["stamp_id"]: row["control_kind"] for row in pq.read_table(raw).to_pylist()
    }
    assert all(row["src_dmag"] is None for row in rows if row["region_split"] == "test")


def test_bad_rows_stay_out_and_are_accounted_for(tmp_path):
    raw = write_dataset(tmp_path / "raw", change=faulty)
    store = make(raw, tmp_path / "store", quarantine_limit=0.1)
    seen = {int(row["stamp_id"][1:]) for row in read_all(store).to_pylist()}
    assert seen == set(range(96)) - {10, 51, 21, 22}
    records = [json.loads(line) for line in (store / "quarantine.jsonl").read_text().splitlines()]
    assert [(r["row"], r["action"], r["reason"], r["split"]) for r in records] == [
        (10, "quarantined", "not_a_zip", "train"),
        (21, "quarantined", "float16_error", "train"),
        (30, "repaired", "nonfinite", "train"),
        (51, "quarantined", "nonfinite", "val"),
    ]
    faults = json.loads((store / "store.json").read_text())["faults"]
    assert faults["quarantined"]["not_a_zip"]["train"] == {"control": 1, "lens": 0}
    assert faults["excluded"]["cutout_not_ok"]["train"] == {"control": 1, "lens": 0}

    index = StampIndex.build(str(store))  # a run on the store reports the same
    summary = Quarantine(index, tmp_path / "quarantine").summary()
    assert {name: summary[name] for name in ("quarantined", "repaired", "excluded")} == {
        name: faults[name] for name in ("quarantined", "repaired", "excluded")
    }
    float32 = make(raw, tmp_path / "float32", precision="float32", quarantine_limit=0.1)
    assert len(read_all(float32)) == 93


def test_too_many_bad_rows_stop_it_and_a_higher_limit_goes_on(tmp_path):
    raw = write_dataset(tmp_path / "raw", change=faulty)
    with pytest.raises(QuarantineLimitError, match=r"split train: 2 of the 47 stamps"):
        make(raw, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    (work,) = tmp_path.glob(".store.*.partial/_work")
    chunks = identity(list(work.glob("chunk-*.arrow")))
    assert chunks
    with pytest.raises(QuarantineLimitError):
        make(raw, tmp_path / "store")
    assert identity(list(work.glob("chunk-*.arrow"))) == chunks
    make(raw, tmp_path / "store", quarantine_limit=0.1)


def test_a_finished_store_is_left_alone_and_anything_else_is_refused(raw, tmp_path):
    store = make(raw, tmp_path / "store")
    before = identity(list(store.iterdir()))
    make(raw, store)
    assert identity(list(store.iterdir())) == before
    with pytest.raises(StoreError, match="holds other files, or a store of other data or other settings"):
        make(raw, store, seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(StoreError, match="mine holds other files"):
        make(raw, tmp_path / "mine")
    with pytest.raises(StoreError, match="lies in the raw dataset"):
        make(raw, raw / "store")
    with pytest.raises(StoreError, match="is a training store already"):
        make(store, tmp_path / "again")
    (tmp_path / "empty").mkdir()
    assert content(make(raw, tmp_path / "empty")) == content(store)


def test_killed_before_the_last_step_only_that_is_done(raw, tmp_path):
    store = make(raw, tmp_path / "store")
    before = identity(list(store.iterdir()))
    digest = json.loads((store / "store.json").read_text())["digest"]
    partial = store.rename(tmp_path / f".store.{digest[:16]}.partial")
    (partial / "_work").mkdir()
    make(raw, store)
    assert identity(list(store.iterdir())) == before
    assert not partial.exists()


def test_a_raw_column_with_a_name_of_the_store_is_refused(tmp_path):
    raw = write_dataset(tmp_path / "raw", n_files=1)
    table = pq.read_table(raw / "part-000.parquet")
    pq.write_table(table.append_column("stamp_label", table["ra"]), raw / "part-000.parquet")
    with pytest.raises(ContractError, match="column stamp_label has a name that a store gives"):
        make(raw, tmp_path / "store")


def room_asked_for(raw: Path, out: Path, **changes) -> float:
    """Bytes that a disk without any room is told to need."""
    full = shutil.disk_usage(raw)._replace(free=-1_000_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: full)
        with pytest.raises(StoreError, match=r"the disk of .* has -0.001 GB free") as caught:
            make(raw, out, **changes)
    assert not out.exists()
    return 1e9 * float(re.search(r"needs (\S+) GB", str(caught.value))[1])


def room_of(folder: Path) -> dict[Path, int]:
    """Bytes that each file below takes up: without holes, and without what the system keeps ready for it to grow."""
    stats = {file: file.stat() for file in folder.rglob("*") if file.is_file()}
    return {file: min(stat.st_size, 512 * stat.st_blocks) for file, stat in stats.items()}


@contextmanager
def most_room(folder: Path) -> Iterator[list[int]]:
    """Gives a list, which ends with the most bytes that the files below took up at any time."""
    stop, seen = threading.Event(), [0]

    def look() -> None:
        while not stop.wait(0.0002):
            with suppress(FileNotFoundError):  # put in its place meanwhile
                found = room_of(folder)
                if room_of(folder) == found:  # else the sum may be of one file before and of another after a change
                    seen.append(sum(found.values()))
        seen.append(max(seen))

    looking = threading.Thread(target=look)
    looking.start()
    yield seen
    stop.set()
    looking.join()


@pytest.mark.parametrize("cores", [1, 5])
def test_it_never_takes_more_room_than_it_asked_for(tmp_path, monkeypatch, cores):
    raw = write_dataset(tmp_path / "raw", n_train=160, n_val=32, n_test=32)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    out = tmp_path / "out" / "store"
    asked = room_asked_for(raw, out, shard_stamps=32, row_group_stamps=32)
    assert asked == pytest.approx((224 + 32 * cores) * 25_576, rel=0.01)
    with most_room(out.parent) as seen:
        make(raw, out, shard_stamps=32, row_group_stamps=32)
    assert 224 * 24_576 < seen[-1] < asked


def test_no_more_shards_are_put_together_at_a_time_than_fit_into_memory():
    cores = len(os.sched_getaffinity(0))
    for stamps, memory_gb, expected in ((16_384, 1, 1), (16_384, 1000, cores), (1_000_000, 1, 1)):
        assert shards_at_a_time(options(shard_stamps=stamps), int(memory_gb * 1e9)) == expected
    assert shards_at_a_time(options(shard_stamps=1000), int(4 * 25.6e6)) == 1


def test_what_is_unfinished_counts_by_the_room_that_it_takes(raw, tmp_path):
    before = room_asked_for(raw, tmp_path / "store")
    (work,) = tmp_path.glob(".store.*.partial/_work")
    with (work / "chunk-00000.pixels").open("wb") as sparse:
        sparse.truncate(1_000_000)
    assert room_asked_for(raw, tmp_path / "store") == before


@contextmanager
def files_end_at(n_bytes: int) -> Iterator[None]:
    """The kernel refuses to let a file grow on, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_is_named_and_what_is_done_is_kept(raw, tmp_path):
    whole = content(make(raw, tmp_path / "whole", precision="float32"))
    room_for_a_chunk = 16 * 49152  # the largest shard has as many stamps, and their metadata
    for n_bytes, done, begun in ((room_for_a_chunk // 2, 0, "chunk-*.pixels"), (room_for_a_chunk, 6, "*.parquet")):
        told = r"the disk of .*partial is full \(.*File too large.*make room and give the command again"
        with files_end_at(n_bytes), pytest.raises(StoreError, match=told):
            make(raw, tmp_path / "store", precision="float32")
        assert not (tmp_path / "store").exists()
        (folder,) = tmp_path.glob(".store.*.partial")
        finished = identity(list(folder.glob("_work/chunk-*.arrow")))
        assert len(finished) == done
        assert list(folder.rglob(begun))
    make(raw, tmp_path / "store", precision="float32")
    assert content(tmp_path / "store") == whole


def test_an_unfinished_store_of_other_settings_is_named(tmp_path, caplog):
    raw = write_dataset(tmp_path / "raw", change=faulty)
    with pytest.raises(QuarantineLimitError):
        make(raw, tmp_path / "store")
    (other,) = tmp_path.glob(".store.*.partial")
    assert str(other) not in caplog.text
    make(raw, tmp_path / "store", seed=1, quarantine_limit=0.1)
    assert f"{other} (0.0" in caplog.text
    assert other.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"precision": "int8"},
        {"row_group_stamps": 0},
        {"shard_stamps": 0},
        {"max_nonfinite_fraction": 0.5},
        {"max_float16_error": 0.0},
    ],
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(StoreError, match=rf"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        StoreOptions(**wrong)


def killed_when(arguments: list[str], folder: Path, pattern: str, count: int) -> list[Path]:
    """Run ``halo prepare``, kill -9 it once ``count`` files of ``pattern`` are there, and give them.

    What it had not finished is turned into rubbish, as a power cut may do; whoever goes on must not use it.
    """
    process = subprocess.Popen([*HALO, "prepare", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(folder.glob(pattern))) < count:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (partial,) = folder.glob(".store.*.partial")
    chunks = (path for path in partial.glob("_work/chunk-*.pixels") if not path.with_suffix(".arrow").exists())
    shards = (path for path in partial.glob("*.parquet") if not (partial / "_work" / f"{path.name}.json").exists())
    for path in (*chunks, *shards, *partial.rglob("*.unfinished")):
        path.write_bytes(b"rubbish")
    return list(folder.glob(pattern))


def test_killed_while_reading_and_while_writing_it_ends_in_the_same_store(tmp_path):
    raw = write_dataset(tmp_path / "raw", n_train=120, n_val=20, n_test=20, n_files=4)
    arguments = [str(raw), str(tmp_path / "store"), "shard_stamps=5", "row_group_stamps=2"]
    chunks = killed_when(arguments, tmp_path, ".store.*.partial/_work/chunk-*.arrow", 4)
    assert 4 <= len(chunks) < 20
    first = identity(chunks)
    killed_when(arguments, tmp_path, ".store.*.partial/_work/*.parquet.json", 8)
    assert identity(chunks) == first
    (folder,) = tmp_path.glob(".store.*.partial")
    finished = [folder / note.stem for note in folder.glob("_work/*.parquet.json")]
    second = identity(finished)
    assert 8 <= len(second) < 32

    done = subprocess.run([*HALO, "prepare", *arguments], capture_output=True, text=True, check=True)
    assert "160 stamps in" in done.stdout
    store = tmp_path / "store"
    assert identity([store / name for name in second]) == second
    assert content(store) == content(make(raw, tmp_path / "whole", shard_stamps=5, row_group_stamps=2))
