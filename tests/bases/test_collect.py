import json
import os
import subprocess
import sys
import time

import pytest

from dark_halo_scope.bases.collect import DAY_S, Limits, _discarded, collect
from dark_halo_scope.bases.lease import Beat, take
from dark_halo_scope.bases.roots import RootsError, pin, pins, reasons, register, unpin
from dark_halo_scope.bases.store import BaseStore, StoreError
from tests.bases.specs import base_spec, train_nothing

SPECS = [base_spec(seed=seed) for seed in range(4)]
KEYS = [spec.key() for spec in SPECS]
BYTES = 6400  # of the weights of each
DIE = """
import os, sys
from pathlib import Path
from dark_halo_scope.bases.lease import Beat, take
with take(Path(sys.argv[1]), sys.argv[2], Beat(), lambda: False) as lease:
    (lease.workspace / "half").write_bytes(bytes(1000))
    os._exit(1)
"""


@pytest.fixture
def store(tmp_path):
    """Four base models, unused for 40, 20, 10 and 2 days."""
    store = BaseStore(tmp_path / "bases")
    for spec, days in zip(SPECS, (40, 20, 10, 2), strict=True):
        store.build(spec, train_nothing)
        age(store.folder(spec.key()), days)
    return store


def age(folder, days):
    then = time.time() - days * DAY_S
    os.utime(folder, (then, then))


def going(found):
    return {entry.key for entry in found.going}


def write_tuning(folder, key, name="manifest.json"):
    folder.mkdir(parents=True)
    (folder / name).write_text(json.dumps({"base": key, "labels": {"mode": "target_only"}}))


def test_what_was_not_used_for_long_goes_but_only_when_asked(store):
    assert going(collect(store, [], Limits(unused_days=30), remove=False)) == {KEYS[0]}
    assert store.keys() == sorted(KEYS)
    done = collect(store, [], Limits(unused_days=15), remove=True)
    assert going(done) == {KEYS[0], KEYS[1]}
    assert done.freed_bytes > 2 * BYTES
    assert done.left_bytes > 2 * BYTES
    assert store.keys() == sorted(KEYS[2:])
    assert os.listdir(store.root / "building") == []
    assert {entry.goes for entry in done.entries} == {"not used for 40 days", "not used for 20 days", ""}


def test_a_store_too_large_loses_the_longest_unused_down_to_its_size(store):
    size = sum(entry.n_bytes for entry in collect(store, [], Limits(), remove=False).entries) / 4
    assert going(collect(store, [], Limits(100, max_gb=2.5 * size / 1e9), remove=False)) == {KEYS[0], KEYS[1]}
    assert going(collect(store, [], Limits(30, max_gb=3.1 * size / 1e9), remove=False)) == {KEYS[0]}, "age comes first"
    assert going(collect(store, [], Limits(30, max_gb=0), remove=False)) == set(KEYS)
    store.get(KEYS[1])
    assert going(collect(store, [], Limits(0, max_gb=0), remove=False)) == set(KEYS) - {KEYS[1]}, "in use today"


def test_nothing_that_a_root_names_goes(store, tmp_path):
    everything = Limits(unused_days=0, max_gb=0)
    pin(store, KEYS[0], "the paper's")
    write_tuning(store.root / "tunings" / ("a" * 64), KEYS[1], "spec.json")
    write_tuning(store.root / "tunings" / ("b" * 64), None)
    write_tuning(tmp_path / "logs" / "run", KEYS[2])
    (tmp_path / "logs" / "list").mkdir()
    (tmp_path / "logs" / "list" / "manifest.json").write_text("[]")
    assert going(collect(store, [], everything, remove=False)) == {KEYS[2], KEYS[3]}
    assert going(collect(store, [tmp_path / "logs"], everything, remove=False)) == {KEYS[3]}
    register(store, tmp_path / "logs")
    register(store, tmp_path / "logs")
    with take(store.root / "building", KEYS[3], Beat(), lambda: False):
        found = collect(store, [], everything, remove=True)
    assert going(found) == set()
    assert store.keys() == sorted(KEYS)
    kept = {entry.key: " ".join(entry.kept_by) for entry in found.entries}
    assert kept[KEYS[0]].startswith("pinned by ")
    assert kept[KEYS[0]].endswith(": the paper's")
    assert kept[KEYS[1]] == f"used by {store.root / 'tunings' / ('a' * 64)}"
    assert kept[KEYS[2]] == f"used by {tmp_path / 'logs' / 'run'}"
    assert kept[KEYS[3]] == f"being made by process {os.getpid()} on {os.uname().nodename}"
    unpin(store, KEYS[0])
    assert going(collect(store, [], everything, remove=True)) == {KEYS[0], KEYS[3]}


def test_what_stands_on_what_must_be_known(store, tmp_path):
    with pytest.raises(RootsError, match=r"lgos, where fine-tunings were kept, is not there.*collect on a machine"):
        collect(store, [tmp_path / "lgos"], Limits(0), remove=True)
    register(store, tmp_path / "of another host")
    with pytest.raises(RootsError, match=r"of another host, where .* remove its file from roots/"):
        collect(store, [], Limits(0), remove=True)
    next((store.root / "roots").iterdir()).unlink()
    write_tuning(store.root / "tunings" / "x", KEYS[0])
    (store.root / "tunings" / "x" / "manifest.json").write_text('{"base": ')
    with pytest.raises(RootsError, match=r"x/manifest\.json cannot be read .* what it keeps is unknown"):
        collect(store, [], Limits(0), remove=True)
    with pytest.raises(RootsError, match="holds fine-tunings, on which nothing stands"):
        collect(BaseStore(store.root / "tunings"), [], Limits(0), remove=True)
    assert store.keys() == sorted(KEYS)


def test_what_the_dead_left_goes_and_what_the_living_build_stays(store):
    building = store.root / "building"
    for folder, key in ((building, KEYS[0]), (store.root / "tunings" / "building", "c" * 64)):
        subprocess.run([sys.executable, "-c", DIE, str(folder), key], check=False)
    (building / f"{KEYS[1]}.1").mkdir()
    (building / f"{KEYS[1]}.1" / "old").write_text("x")
    for path in (building / f"{KEYS[1]}.1" / "old", building / f"{KEYS[1]}.1"):
        age(path, 2)
    (building / f"{KEYS[2]}.new-1").mkdir()
    with take(building, KEYS[3], Beat(), lambda: False) as lease:
        found = collect(store, [], Limits(), remove=True)
        assert lease.workspace.exists()
    assert sorted(item.path.name[:64] for item in found.litter) == sorted([KEYS[0], KEYS[1], "c" * 64])
    assert [item.n_bytes > 1000 for item in found.litter if "which is dead" in item.why] == [True, True]
    assert [path.name for path in building.iterdir()] == [f"{KEYS[2]}.new-1"]
    assert list((store.root / "tunings" / "building").iterdir()) == []


def test_what_was_damaged_is_kept_for_a_while(store):
    (store.folder(KEYS[3]) / "weights.pt").write_bytes(b"")
    assert BaseStore(store.root).get(KEYS[3]) is None
    assert collect(store, [], Limits(30), remove=False).litter == ()
    time.sleep(0.01)
    found = collect(store, [], Limits(unused_days=1e-8), remove=False)
    assert [item.why for item in found.litter] == ["damaged, and set aside more than 1e-08 days ago"]


def test_what_was_used_since_it_was_judged_stays(store):
    judged = next(entry for entry in collect(store, [], Limits(30), remove=False).entries if entry.goes)
    store.get(judged.key)
    assert _discarded(store, judged).goes == ""
    assert store.where(judged.key) == "here"


def test_pins_are_told_and_refused(store):
    pin(store, KEYS[0], "the paper's")
    assert list(pins(store)) == [KEYS[0]]
    assert reasons(store).keys() == {KEYS[0]}
    with pytest.raises(StoreError, match=r"is not in the store .*: train it first"):
        pin(store, "f" * 64, "why not")
    with pytest.raises(StoreError, match="is not pinned in"):
        unpin(store, KEYS[1])
