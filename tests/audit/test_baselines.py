import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.audit.planting import audit
from tests.stamps.datasets import write_dataset


def test_scores_are_kept_for_val_and_test_rows_and_give_the_auroc_of_the_record(clean, clean_audit):
    table = clean_audit.scores
    assert table.column_names == ["row", "split", "label", "baseline_scalar", "baseline_logistic", "baseline_boosting"]
    row, split, label = (np.array(table[name]) for name in ("row", "split", "label"))
    assert set(split) == {"val", "test"}
    assert split.tolist() == [clean["region_split"][i].as_py() for i in row.tolist()]
    val = split == "val"
    by_name = {baseline["name"]: baseline for baseline in clean_audit.record["baselines"]}
    names = {
        "scalar": clean_audit.record["best_scalar"],
        "logistic": "logistic regression",
        "boosting": "gradient boosting",
    }
    aurocs = {}
    for column, name in names.items():
        aurocs[f"baseline_{column}"] = roc_auc_score(label[val], np.array(table[f"baseline_{column}"])[val])
        assert aurocs[f"baseline_{column}"] == pytest.approx(by_name[name]["auroc"], abs=1e-9)
    assert clean_audit.record["best_baseline"] == max(aurocs, key=aurocs.get)


def test_answers_are_told_from_inputs(clean_audit):
    roles = clean_audit.record["metadata"]["roles"]
    of = {role: {name for name, r in roles.items() if r == role} for role in set(roles.values())}
    assert of["answer"] == {
        *(
            "theta_e_arcsec",
            "arc_snr",
            "src_dmag",
            "src_mag_r",
            "src_g_r",
            "src_reff_arcsec",
            "magnification",
            "axis_ratio",
        )
    }
    assert {"host_id", "region_id"} <= of["identifier"]
    assert {"psf_fwhm_used_r", "psfdepth_r", "host_mag_g", "bad_pixel_frac", "ra"} <= of["input"]


def test_every_interval_holds_its_value(clean_audit):
    for baseline in clean_audit.record["baselines"]:
        low, high = baseline["interval"]
        assert low <= baseline["auroc"] <= high
        assert baseline["resampled"] == "region"


def test_too_few_stamps_are_not_judged(tmp_path):
    outcome = audit(write_dataset(tmp_path / "data", n_train=48, n_val=24, n_test=24))
    assert outcome.record["baselines"] == []
    assert outcome.record["best_baseline"] is None
    assert outcome.scores.column_names == ["row", "split", "label"]


def test_few_regions_are_resampled_by_stamp(tmp_path):
    outcome = audit(write_dataset(tmp_path / "data", n_train=96, n_val=48, n_test=48))
    assert {baseline["resampled"] for baseline in outcome.record["baselines"]} == {"stamp"}
