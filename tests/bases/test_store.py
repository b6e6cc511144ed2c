import dataclasses
import json
import logging
import pickle
import re
import shutil
import threading

import numpy as np
import pytest
import torch

from dark_halo_scope.bases.base import save_weights
from dark_halo_scope.bases.canonical import content_key
from dark_halo_scope.bases.disk import DiskError, NoRoomError
from dark_halo_scope.bases.lease import take
from dark_halo_scope.bases.manifest import DamagedError, Manifest, ManifestError, check
from dark_halo_scope.bases.spec import BaseSpec
from dark_halo_scope.bases.store import BaseStore, MissingBaseError, StoreError
from dark_halo_scope.files import WriteError
from tests.bases.specs import base_spec, train_nothing

SPEC = base_spec()
KEY = SPEC.key()


@pytest.fixture
def store(tmp_path):
    return BaseStore(tmp_path / "bases")


@pytest.fixture
def built(store):
    store.build(SPEC, train_nothing)
    return store


def refuse_to_train(spec, folder):
    pytest.fail("this base model is there already")


def left_in(folder):
    return [path.name for path in folder.iterdir()]


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_base_is_trained_once_whoever_asks(store):
    given = []

    def train(spec, folder):
        given.append((spec, left_in(folder)))
        return train_nothing(spec, folder)

    assert store.get(KEY) is None
    made = store.build(SPEC, train)
    assert given == [(SPEC, [])]
    assert made.folder == store.folder(KEY)
    assert store.build(SPEC, refuse_to_train) == made
    another_process = BaseStore(store.root)
    assert another_process.build(dataclasses.replace(SPEC), refuse_to_train) == made
    assert another_process.get(KEY).metrics == {"val/loss": 0.25}
    assert store.keys() == [KEY]
    assert store.where(KEY) == "here"
    assert store.where("0" * 64) is None
    assert left_in(store.root / "building") == []


def test_what_stands_beside_the_weights(built):
    folder = built.folder(KEY)
    assert BaseSpec.from_json((folder / "spec.json").read_text()) == SPEC
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["key"] == KEY
    assert manifest["metrics"] == {"val/loss": 0.25}
    assert manifest["seconds"] >= 0
    assert {"package", "commit", "dirty"} == manifest["origin"]["code_version"].keys()
    assert manifest["origin"]["versions"]["torch"] == torch.__version__
    assert manifest["origin"]["hardware"]["cores"] >= 1
    assert bool(manifest["origin"]["code_version"]["dirty"]) == ("code.diff" in manifest["files"])
    assert manifest["files"]["weights.pt"]["bytes"] == len(KEY) * 100
    assert manifest.pop("sha256") == content_key(manifest)


def test_metrics_of_any_library_are_kept_and_what_is_no_number_is_null(store):
    def train(spec, folder):
        train_nothing(spec, folder)
        return {
            "a": torch.tensor(0.5),
            "b": float("nan"),
            "test": {"c": np.float32(np.inf), "d": np.int64(3)},
            "e": "x",
        }

    assert store.build(SPEC, train).metrics == {"a": 0.5, "b": None, "test": {"c": None, "d": 3}, "e": "x"}


def test_weights_come_back_and_nothing_else_does(store):
    weights = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}

    def train(spec, folder):
        save_weights(weights, folder)
        return {}

    read = store.build(SPEC, train).weights()
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)

    def smuggle(spec, folder):
        torch.save({"layer": print}, folder / "weights.pt")
        return {}

    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        store.build(base_spec(seed=2), smuggle).weights()


def test_a_training_that_fails_leaves_nothing(store):
    def fail(spec, folder):
        train_nothing(spec, folder)
        raise FloatingPointError("the loss is NaN")

    with pytest.raises(FloatingPointError, match="the loss is NaN"):
        store.build(SPEC, fail)
    assert store.get(KEY) is None
    assert left_in(store.root / "building") == []
    assert store.build(SPEC, train_nothing).key == KEY


def test_a_training_that_leaves_no_file_is_refused(store):
    with pytest.raises(StoreError, match=f"the training of {KEY[:12]} left no file"):
        store.build(SPEC, lambda spec, folder: {})
    assert store.keys() == []


def test_a_full_disk_is_told_and_nothing_is_left(store, files_end_at_one_mebibyte):
    def raw(spec, folder):
        (folder / "log.txt").write_bytes(bytes(2**21))

    def weights(spec, folder):
        save_weights({"w": torch.zeros(2**20)}, folder)

    with pytest.raises(NoRoomError, match=rf"no room for {KEY[:12]} in the store .*MiB free.*nothing of it is kept;"):
        store.build(SPEC, raw)
    with pytest.raises(WriteError, match=r"cannot write .*weights\.pt .* MiB free on its disk"):
        store.build(SPEC, weights)
    assert store.keys() == []
    assert left_in(store.root / "building") == []


def test_a_store_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=rf"{KEY[:12]} cannot be written into the store .*file/bases") as refusal:
        BaseStore(tmp_path / "file" / "bases").build(SPEC, train_nothing)
    assert refusal.type is DiskError
    assert issubclass(DiskError, OSError), "which an engine may try again"


def test_an_artefact_of_another_name_is_never_made_by_a_wrong_spec(store):
    class Wrong:
        def key(self):
            return KEY

        def to_json(self):
            return "{}"

    with pytest.raises(AssertionError):
        store.build(Wrong(), refuse_to_train)


DAMAGES = {
    "weights": (lambda f: damage(f / "weights.pt"), r"weights\.pt does not have the bytes"),
    "cut short": (lambda f: (f / "weights.pt").write_bytes(b""), r"weights\.pt does not have the bytes"),
    "spec": (lambda f: damage(f / "spec.json"), r"spec\.json does not have the bytes"),
    "missing": (lambda f: (f / "weights.pt").unlink(), r"weights\.pt is missing"),
    "too many": (lambda f: (f / "notes.txt").write_text("mine"), r"notes\.txt was not there when"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), r"manifest\.json is missing"),
    "manifest": (
        lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text().replace("0.25", "0.15")),
        r"manifest\.json does not have the sha256",
    ),
    "no JSON": (lambda f: (f / "manifest.json").write_text("{"), r"manifest\.json is no manifest"),
    "half": (lambda f: [path.unlink() for path in f.iterdir()], r"manifest\.json is missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_one_is_moved_aside_and_made_again(built, caplog, name):
    spoil, message = DAMAGES[name]
    spoil(built.folder(KEY))
    store = BaseStore(built.root)
    assert re.search(message, store.check(KEY))
    assert store.get(KEY) is None
    assert [path.startswith(KEY) for path in left_in(store.root / "corrupt")] == [True]
    assert re.search(f"{message}.*moved to", caplog.text)
    assert store.build(SPEC, train_nothing).key == KEY
    assert store.check(KEY) == ""


@pytest.mark.parametrize("name", ["../weights.pt", "/etc/weights.pt", "a/../../weights.pt", "a\\b", ""])
def test_a_manifest_cannot_name_files_outside(built, tmp_path, name):
    manifest = Manifest.read(built.folder(KEY))
    dataclasses.replace(manifest, files={name: {"bytes": 1, "sha256": "0"}}).write(tmp_path)
    with pytest.raises(DamagedError, match="which is outside the artefact"):
        Manifest.read(tmp_path)


def test_an_artefact_under_another_name_is_damaged(built):
    other = "0" * 64
    shutil.copytree(built.folder(KEY), built.folder(other))
    assert "holds another artefact than its name says" in built.check(other)
    assert built.get(other) is None


def test_bytes_are_verified_once_by_each_store(built):
    base = built.get(KEY)
    damage(built.folder(KEY) / "weights.pt")
    assert built.get(KEY) is base
    another_process = BaseStore(built.root)
    assert another_process.get(KEY) is None
    assert built.get(KEY) is None, "its folder is gone"
    another_process.build(SPEC, train_nothing)
    damage(built.folder(KEY) / "weights.pt")
    assert built.get(KEY) is None, "it is another folder"


def test_one_that_another_process_has_made_again_is_not_moved_aside(built, tmp_path, monkeypatch):
    """It was found damaged, but between that and the moving another has done both."""
    sound = shutil.copytree(built.folder(KEY), tmp_path / "sound")
    damage(built.folder(KEY) / "weights.pt")

    def check_slowly(folder, key):
        try:
            return check(folder, key)
        finally:
            built.folder(KEY).rename(tmp_path / "aside")
            sound.rename(built.folder(KEY))

    monkeypatch.setattr("dark_halo_scope.bases.store.check", check_slowly)
    assert BaseStore(built.root).get(KEY) is None
    monkeypatch.undo()
    assert built.check(KEY) == ""
    assert not (built.root / "corrupt").exists()


def test_what_a_newer_version_wrote_is_refused_and_stays(built):
    path = built.folder(KEY) / "manifest.json"
    content = json.loads(path.read_text()) | {"format_version": 2}
    del content["sha256"]
    path.write_text(json.dumps(content | {"sha256": content_key(content)}))
    with pytest.raises(ManifestError, match="of format 2, but this version reads 1: use the version that wrote it"):
        BaseStore(built.root).build(SPEC, refuse_to_train)
    assert built.keys() == [KEY]


def test_a_read_only_store_gives_and_takes_nothing(built, caplog):
    store = BaseStore(built.root, read_only=True)
    assert store.build(SPEC, refuse_to_train).key == KEY
    with pytest.raises(MissingBaseError, match=r"is not in the store .* read-only: train it in a store"):
        store.build(base_spec(seed=2), refuse_to_train)
    damage(built.folder(KEY) / "weights.pt")
    with pytest.raises(MissingBaseError):
        BaseStore(built.root, read_only=True).build(SPEC, refuse_to_train)
    assert "it stays where it is, unused" in caplog.text
    assert sorted(left_in(built.root)) == sorted([KEY, "building"])
    with pytest.raises(StoreError, match="read-only and can take no copies"):
        BaseStore(built.root, read_only=True, remote="s3://bucket/bases")


def test_of_two_that_make_the_same_the_first_stays(store, tmp_path, caplog):
    """Even where no lease keeps them apart."""
    ahead = BaseStore(tmp_path / "another")

    def train(spec, folder):
        winner = ahead.build(spec, train_nothing)
        shutil.copytree(winner.folder, store.folder(KEY))
        (folder / "weights.pt").write_bytes(b"of the slower one")
        return {"val/loss": 0.5}

    assert store.build(SPEC, train).metrics == {"val/loss": 0.25}
    assert left_in(store.root / "building") == []
    assert store.check(KEY) == ""


def test_what_was_stored_while_the_lease_was_taken_is_not_trained_again(store, tmp_path, monkeypatch):
    """Its maker is done, and gives the lease back, between the last look of who waits and its turn."""
    made = BaseStore(tmp_path / "another").build(SPEC, train_nothing)

    def take_late(folder, key, beat, is_made):
        lease = take(folder, key, beat, is_made)
        shutil.copytree(made.folder, store.folder(KEY))
        return lease

    monkeypatch.setattr("dark_halo_scope.bases.store.take", take_late)
    assert store.build(SPEC, refuse_to_train).key == KEY


def test_a_damaged_winner_gives_way(store):
    def train(spec, folder):
        store.folder(KEY).mkdir()
        (store.folder(KEY) / "weights.pt").write_bytes(b"half")
        return train_nothing(spec, folder)

    assert store.build(SPEC, train).metrics == {"val/loss": 0.25}
    assert len(left_in(store.root / "corrupt")) == 1


def test_threads_that_want_the_same_train_it_once(store):
    trained, bases = [], []

    def train(spec, folder):
        trained.append(spec.key())
        return train_nothing(spec, folder)

    wanted = [SPEC, base_spec(seed=2)] * 3
    threads = [threading.Thread(target=lambda s=s: bases.append(store.build(s, train).key)) for s in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(bases) == sorted(spec.key() for spec in wanted)
    assert sorted(trained) == sorted({spec.key() for spec in wanted})


def test_a_key_is_found_by_its_first_digits(built, tmp_path):
    assert built.find(KEY[:6]) == built.find(KEY) == KEY
    with pytest.raises(StoreError, match="there is no such base model"):
        built.find("xyz")
    alike = next(spec for spec in (base_spec(seed=seed) for seed in range(2, 1000)) if spec.key()[0] == KEY[0])
    built.build(alike, train_nothing)
    with pytest.raises(StoreError, match="2 base models begin with it: give more digits"):
        built.find(KEY[0])
    with pytest.raises(StoreError, match="there is no store at"):
        BaseStore(tmp_path / "nowhere").find("a")


def test_waiting_is_told(store, caplog):
    caplog.set_level(logging.INFO)
    begun, go_on = threading.Event(), threading.Event()

    def train(spec, folder):
        begun.set()
        go_on.wait()
        return train_nothing(spec, folder)

    first = threading.Thread(target=store.build, args=(SPEC, train))
    first.start()
    begun.wait()
    second = threading.Thread(target=store.build, args=(SPEC, refuse_to_train))
    second.start()
    while "waiting for it" not in caplog.text:
        assert second.is_alive()
    go_on.set()
    first.join()
    second.join()
    assert f"{KEY[:12]} is being made by process " in caplog.text
