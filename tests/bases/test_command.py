"""`halo bases`, as a user calls it."""

import argparse
import json
import os
import subprocess
import sys
import time

import pytest

from dark_halo_scope.bases.lease import Beat, take
from dark_halo_scope.bases.report.sweep import SweepError
from dark_halo_scope.bases.spec import BaseSpec
from dark_halo_scope.bases.store import BaseStore, StoreError
from dark_halo_scope.commands import bases
from dark_halo_scope.configuration import ConfigError
from tests.bases.specs import base_spec, train_nothing

SPECS = [base_spec(), base_spec(groups=("p01", "p04"), seed=2), base_spec(augmentation=None)]
KEYS = [spec.key() for spec in SPECS]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Three base models where they lie by default, unused for 0, 10 and 20 days."""
    monkeypatch.setenv("HALO_DATA", str(tmp_path))
    store = BaseStore(tmp_path / "bases")
    for number, spec in enumerate(SPECS):
        store.build(spec, lambda spec, folder: {"rows": {"train": 9}} | train_nothing(spec, folder))
        then = time.time() - 10 * 86_400 * number
        os.utime(store.folder(spec.key()), (then, then))
    return store


@pytest.fixture
def halo(capsys, store):
    def call(*words, overrides=()):
        parser = argparse.ArgumentParser(prog="halo")
        bases.add(parser.add_subparsers())
        arguments = parser.parse_args(["bases", *map(str, words)])
        try:
            arguments.run(arguments, list(overrides))
            code = 0
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr().out

    return call


def test_base_models_are_listed_the_last_used_first(halo, store):
    with take(store.root / "building", "e" * 64, Beat(), lambda: False):
        code, told = halo("ls")
        records = json.loads(halo("ls", "--json")[1])
    assert code == 0
    first_words = [line.split()[0] for line in told.splitlines() if line.strip()]
    assert [word for word in first_words if word in {key[:12] for key in KEYS}] == [key[:12] for key in KEYS]
    for words in ("SmallCNN", " loss 0.25 ", "20 d ago", "being made by process", "3 base models, "):
        assert words in told
    assert [record["key"] for record in records] == [*KEYS, "e" * 64]
    assert [record["state"] for record in records] == ["stored"] * 3 + ["in the making"]
    assert records[0]["spec"] == SPECS[0].to_dict()
    assert records[3]["holder"] == f"process {os.getpid()} on {os.uname().nodename}"


def test_a_damaged_one_is_listed_as_such(halo, store):
    (store.folder(KEYS[1]) / "manifest.json").write_text("{")
    assert "damaged" in halo("ls")[1]
    assert [record["state"] for record in json.loads(halo("ls", "--json")[1])] == ["stored", "damaged", "stored"]


def test_one_is_shown(halo):
    told = halo("show", KEYS[1][:8])[1]
    for words in (
        KEYS[1],
        "spec.split.by",
        "session",
        "p01, p04",
        "origin.code_version.commit",
        "metrics.val/loss",
        "weights.pt (6.4 kB)",
    ):
        assert words in told
    record = json.loads(halo("show", KEYS[1][:8], "--json")[1])
    assert BaseSpec.from_dict(record["spec"]).key() == record["key"] == KEYS[1]
    with pytest.raises(StoreError, match="there is no such base model"):
        halo("show", "nothing")


def test_why_two_differ(halo):
    code, told = halo("why", KEYS[0], KEYS[1])
    assert code == 1
    for words in ("groups[p02]", "groups[p04]", "seed"):
        assert words in told
    assert json.loads(halo("why", KEYS[0], KEYS[1], "--json")[1]) == [
        {"path": "groups[p02]", "a": "p02"},
        {"path": "groups[p03]", "a": "p03"},
        {"path": "groups[p04]", "b": "p04"},
        {"path": "seed", "a": 1, "b": 2},
    ]
    assert json.loads(halo("why", KEYS[0], KEYS[2], "--json")[1]) == [
        {"path": "augmentation", "a": {"jitter": 0.05}, "b": None}
    ]
    assert halo("why", KEYS[0], KEYS[0], "--json") == (0, "[]\n")


def test_bytes_are_verified_and_nothing_is_moved(halo, store):
    assert halo("verify") == (0, "3 base models verified, 0 damaged\n")
    (store.folder(KEYS[0]) / "weights.pt").write_bytes(b"")
    code, told = halo("verify")
    assert code == 1
    assert f"{KEYS[0]}: " in told
    assert "3 base models verified, 1 damaged; a run that needs one moves it to corrupt/ and trains it again" in told
    assert halo("verify", KEYS[1][:6], KEYS[2])[0] == 0
    code, told = halo("verify", "--json")
    assert code == 1
    assert [key for key, fault in json.loads(told).items() if fault] == [KEYS[0]]
    assert store.folder(KEYS[0]).exists()


def test_what_goes_is_told_and_goes_when_asked(halo, store, tmp_path):
    halo("pin", KEYS[2][:8], "--why", "the paper's")
    assert "pinned" in halo("ls")[1]
    code, told = halo("gc", "--unused-days", 5)
    assert code == 0
    for words in (
        "goes: not used for 10 days",
        "the paper's",
        "1 of 3 base models and 0 left-overs would go",
        "--remove does",
    ):
        assert words in told
    assert store.keys() == sorted(KEYS)
    run = tmp_path / "logs" / "run"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text(json.dumps({"base": KEYS[1]}))
    assert json.loads(halo("gc", "--unused-days", 5, "--roots", tmp_path / "logs", "--json")[1])["freed_bytes"] == 0
    halo("unpin", KEYS[2])
    assert "2 of 3 base models and 0 left-overs removed" in halo("gc", "--max-gb", 0, "--remove")[1]
    assert store.keys() == [KEYS[0]]


def test_export_makes_a_store_elsewhere(halo, tmp_path):
    assert halo("export", KEYS[0][:8], KEYS[1], "--to", tmp_path / "other")[0] == 0
    assert halo("verify", "--store", tmp_path / "other")[1] == "2 base models verified, 0 damaged\n"
    assert halo("ls", "--store", tmp_path / "other", "--json")[0] == 0


def test_a_report_is_made_of_a_sweep_only(halo, tmp_path):
    with pytest.raises(SweepError, match=str(tmp_path)):
        halo("report", tmp_path)


def test_what_is_no_store_and_what_is_no_option_is_refused(halo, tmp_path):
    with pytest.raises(StoreError, match=r"there is no store at .*nowhere: give the folder"):
        halo("ls", "--store", tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="lr=1: halo bases takes options only"):
        halo("ls", overrides=["lr=1"])


def test_the_command_answers_without_torch(store):
    program = (
        "import argparse, sys\n"
        "from dark_halo_scope.commands import bases\n"
        "parser = argparse.ArgumentParser()\n"
        "bases.add(parser.add_subparsers())\n"
        "for words in (['ls'], ['show', sys.argv[1]], ['verify'], ['gc']):\n"
        "    arguments = parser.parse_args(['bases', *words])\n"
        "    arguments.run(arguments, [])\n"
        "assert 'torch' not in sys.modules and 'pyarrow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, KEYS[0]], check=True, capture_output=True)
