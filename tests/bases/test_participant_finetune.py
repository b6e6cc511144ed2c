"""The modes on the tiny study: real trainings, one store for all of them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dark_halo_scope.bases.groups import GroupError
from dark_halo_scope.bases.job import run_job
from dark_halo_scope.bases.modes import ModeError
from dark_halo_scope.bases.run import result_table
from dark_halo_scope.bases.store import BaseStore, MissingBaseError
from dark_halo_scope.configuration import REPOSITORY
from tests.bases.tunings import MODES, PARTICIPANTS, QUICK, job, made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tunings")


def network(done) -> dict[str, torch.Tensor]:
    return {name: value for name, value in done.weights().items() if name.startswith("network.")}


def changed(done, base) -> set[str]:
    before, after = network(base), network(done)
    return {name.removeprefix("network.") for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_leaves_weights_scores_and_what_it_reached(mode, folder):
    asked = job(folder, f"finetune={mode}")
    done = made(folder, f"finetune={mode}")
    spec = json.loads((done.folder / "spec.json").read_text())
    assert spec["mode"] == mode
    assert spec["base"] == (asked.base.key() if asked.base else None)
    assert (asked.base is None) == (mode == "target_only")
    assert done.metrics["budget"] == {"train": 0 if mode == "base_only" else 36, "val": 0}
    scores = pq.read_table(done.folder / "scores.parquet")
    assert set(scores["participant"].to_pylist()) == {"p001"}
    assert len(set(scores["session"].to_pylist())) == 1
    called = np.stack([scores[f"p_{name}"].to_numpy() for name in asked.place.reopen().index.classes], axis=1)
    np.testing.assert_allclose(called.sum(axis=1), 1)
    accuracy = (called.argmax(axis=1) == scores["label"].to_numpy()).mean()
    assert done.metrics["test"]["accuracy"] == pytest.approx(accuracy), "every number follows from the score file"
    assert done.weights()["normalise.participants"].shape == (1 if mode == "target_only" else 3,)
    assert result_table(asked, done, False).row_count == len(done.metrics["test"])


def test_a_mode_changes_what_it_says_and_nothing_else(folder):
    asked = job(folder)
    bases = asked.place.bases
    tuned = {mode: made(folder, f"finetune={mode}") for mode in MODES}
    base = bases.get(asked.base.key())
    assert bases.keys() == [base.key], "one base model for all modes"
    statistics = {name for name in network(base) if "running" in name}
    assert not changed(tuned["base_only"], base)
    assert {name.split(".")[1] for name in network(tuned["head_only"])} == {"features", "head"}
    assert {name.split(".")[0] for name in changed(tuned["head_only"], base)} == {"head"}
    for mode in ("target_only_fine_tuning", "linear_probe_then_fine_tuning"):
        names = {name.removeprefix("network.") for name in statistics}
        assert {name.split(".")[0] for name in changed(tuned[mode], base)} == {"features", "head"}
        assert not changed(tuned[mode], base) & names, "statistics of batch norms are those of the base"
    assert changed(tuned["full_fine_tuning"], base) >= {name.removeprefix("network.") for name in statistics}
    assert "phase_2" in tuned["linear_probe_then_fine_tuning"].metrics
    assert tuned["head_only"].metrics["base"] == tuned["base_only"].metrics["test"]


def test_a_second_run_does_nothing(folder):
    first = made(folder)
    written = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*") if path.is_file()}
    again = made(folder)
    assert again.key == first.key
    assert {path: path.stat().st_mtime_ns for path in again.folder.rglob("*") if path.is_file()} == written


def test_a_damaged_base_model_is_moved_aside_and_trained_again_to_the_same_weights(tmp_path, caplog):
    asked = job(tmp_path, "finetune=base_only")
    first = run_job(asked, may_build=True)
    path = asked.place.bases.folder(asked.base.key()) / "weights.pt"
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    asked.place.bases._verified.clear()  # as in another process
    again = made(tmp_path, "finetune=head_only")
    assert "moved to" in caplog.text
    assert len(list((tmp_path / "bases" / "corrupt").iterdir())) == 1
    assert again.metrics["base"] == first.metrics["test"]


def test_validation_is_paid_for_from_the_budget_and_the_best_weights_are_kept(folder):
    stop = ["finetune.n_val=6", "finetune.early_stop={metric: val/loss, mode: min, patience: 1}"]
    done = made(folder, *stop, "finetune.validate_every=2", "budget=18")
    assert done.metrics["budget"] == {"train": 12, "val": 6}
    assert "val/loss" in done.metrics["phase_1"]


def test_a_smaller_budget_is_part_of_a_larger_one_and_the_test_stays(folder):
    parts = {}
    for budget in (6, 12, None):
        asked = job(folder, f"budget={'null' if budget is None else budget}")
        parts[budget] = asked.place.reopen().target_parts("p001", asked.tune.division, budget, 0)
    assert set(parts[6].train) < set(parts[12].train) < set(parts[None].train)
    assert np.array_equal(parts[6].test, parts[None].test)
    index = asked.place.reopen().index
    assert np.bincount(index.label[parts[12].train]).tolist() == [2] * 6, "evenly on the classes"


@pytest.mark.parametrize(
    ("overrides", "error", "sentence"),
    [
        (["finetune.mode=full_fine_tunning"], ModeError, "did you mean full_fine_tuning.*choose one of"),
        (["target=p01"], GroupError, "no group p01.*did you mean p001"),
        (["base_groups=[]"], GroupError, "set of base groups is empty"),
        (["n_base=0"], GroupError, "leaves no base group.*target_only"),
        (["n_base=4"], GroupError, "3 groups are left with p001 left out"),
        (["base_groups=[p001,p002]"], GroupError, "p001 would be target and base group at once"),
        (["participants.participants=1", "n_base=null"], GroupError, "one group only .p001.*target_only"),
        (["n_folds=9"], GroupError, "n_folds=9 must be at least 2"),
        (["budget=37"], GroupError, "p001.*36 rows before its test"),
        (
            ["budget=6", "finetune.n_val=6", "finetune.early_stop={metric: val/loss, mode: min, patience: 1}"],
            GroupError,
            "6 labels of p001 for validation leave none to train on in a budget of 6",
        ),
        (["finetune.n_val=6"], ModeError, "looked at by nobody"),
        (["finetune.early_stop={metric: val/loss, mode: min, patience: 1}"], ModeError, "give it labels"),
        (["finetune.batch_norm=thaw"], ModeError, "choose frozen or adapt"),
        (["finetune.layer_decay=0"], ModeError, "more than 0 and at most 1"),
        (["finetune.steps=0"], ModeError, "0 steps is none"),
        (["participants.sessions=1"], GroupError, "p001 has 1 session"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_planned(overrides, error, sentence, folder):
    with pytest.raises(error, match=sentence) as caught:
        job(folder, *overrides)
    assert "\n" not in str(caught.value)


def test_a_missing_base_model_is_not_trained_unasked_and_its_command_is_told(folder):
    asked = job(folder, "seed=99", "build=false")
    with pytest.raises(MissingBaseError, match=re.escape("seed=99 build=true")):
        run_job(asked, may_build=False)
    assert asked.work(may_build=False).build is None


def test_a_multirun_of_plain_hydra_makes_every_job(tmp_path):
    words = [*PARTICIPANTS, *QUICK, f"paths.data_dir={tmp_path}/data", f"paths.log_dir={tmp_path}/logs"]
    run = [sys.executable, str(REPOSITORY / "train.py"), "-m", *words, "finetune=base_only,target_only"]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "base_only to p001" in done.stdout
    assert "target_only to p001" in done.stdout
    store = BaseStore(tmp_path / "data" / "bases" / "tunings")
    assert len(store.keys()) == 2
    assert not any(map(store.check, store.keys()))
