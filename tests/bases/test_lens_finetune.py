"""Customising a lens finder to a regime of seeing, on the tiny survey."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from dark_halo_scope.bases.groups import GroupError
from dark_halo_scope.stamps.condition import ConditionError
from tests.bases.tunings import SKY, job, made

WIDE = "psf_fwhm_used_r > 1.0"  # which stamps of the val split meet, too


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sky")


def test_a_base_model_of_regions_is_customised_to_a_regime_of_seeing(folder):
    asked = job(folder, "budget=24", of=SKY)
    done = made(folder, "budget=24", of=SKY)
    source = asked.place.reopen()
    scores = pq.read_table(done.folder / "scores.parquet")
    seeing = source.index.metadata(scores["row"].to_numpy(), ["psf_fwhm_used_r", "region_split"])
    assert min(seeing["psf_fwhm_used_r"].to_pylist()) > 1.15
    assert set(seeing["region_split"].to_pylist()) == {"test"}
    assert done.metrics["test"]["auroc"] == pytest.approx(roc_auc_score(scores["label"], scores["logit"]))
    assert done.metrics["test"] != done.metrics["base"]
    assert done.metrics["budget"] == {"train": 24, "val": 0}
    alone = made(folder, "budget=24", "finetune=target_only", of=SKY)
    assert pq.read_table(alone.folder / "scores.parquet")["row"].equals(scores["row"])


def test_no_stamp_of_the_target_and_no_tested_region_is_in_the_base(folder):
    asked = job(folder, f"target='{WIDE}'", of=SKY)
    source = asked.place.reopen()
    base = source.base_parts(asked.base)
    parts = source.target_parts(WIDE, asked.tune.division, 30, 10)
    used = np.concatenate([base.train, base.val])
    told = source.index.metadata(used, ["psf_fwhm_used_r", "region_id"])
    assert max(told["psf_fwhm_used_r"].to_pylist()) <= 1.0
    tested = source.index.metadata(parts.test, ["region_id"])["region_id"].to_pylist()
    assert not set(told["region_id"].to_pylist()) & set(tested)
    validated = source.index.metadata(base.val, ["region_id"])["region_id"].to_pylist()
    trained = source.index.metadata(base.train, ["region_id"])["region_id"].to_pylist()
    assert not set(validated) & set(trained)
    assert [len(parts.train), len(parts.val)] == [20, 10]
    assert np.bincount(source.index.label[parts.train]).tolist() == [10, 10]


def test_regimes_have_base_models_of_their_own(folder):
    other = "target='psf_fwhm_used_r > 1.1'"
    assert job(folder, other, of=SKY).base.key() != job(folder, of=SKY).base.key()
    assert job(folder, "budget=24", of=SKY).base.key() == job(folder, of=SKY).base.key()


@pytest.mark.parametrize(
    ("overrides", "error", "sentence"),
    [
        (["target=null"], GroupError, "there is no target.*psf_fwhm_used_r"),
        (["target='psf_fwhm_used_r >'"], ConditionError, "cannot be read"),
        (["target='seeing > 1'"], ConditionError, "names column seeing"),
        (["target='psf_fwhm_used_r > 0'"], GroupError, "every training stamp meets.*target_only"),
        (["target='psf_fwhm_used_r > 9'"], GroupError, "0 stamps of the test split meet"),
        (["base_groups=[77]"], GroupError, "no group 77"),
        (["base_groups=[]"], GroupError, "set of base groups is empty"),
        (["n_folds=2"], GroupError, "n_folds=2.*null"),
        (["budget=9999"], GroupError, "9999 labels cannot be had.*lower budget"),
        (
            ["budget=6", "finetune.n_val=6", "finetune.early_stop={metric: val/loss, mode: min, patience: 1}"],
            GroupError,
            "leave none to train on in a budget of 6",
        ),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_planned(overrides, error, sentence, folder):
    with pytest.raises(error, match=sentence) as caught:
        job(folder, *overrides, of=SKY)
    assert "\n" not in str(caught.value)
