import json

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from dark_halo_scope.evaluation.calibration import TemperatureScaling
from dark_halo_scope.evaluation.metrics import binary_metrics
from dark_halo_scope.evaluation.scores import ScoreFileError, read_scores
from dark_halo_scope.evaluation.summary import choose_working_point, evaluate
from dark_halo_scope.evaluation.thresholds import operating_thresholds
from dark_halo_scope.files import sha256
from tests.evaluation.run_folder import NOTE, make_run_folder


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run_folder(tmp_path_factory.mktemp("logs") / "lens" / "run")


@pytest.fixture(scope="module")
def metrics(run_dir):
    return json.loads((run_dir / "metrics.json").read_text())


@pytest.fixture(scope="module")
def test_split(run_dir):
    table, _ = read_scores(run_dir / "scores.parquet")
    return table.filter(pc.equal(table["split"], "test"))


def test_metrics_are_those_of_the_named_score_file(metrics, run_dir, test_split):
    assert metrics["scores"] == {
        "file": "scores.parquet",
        "sha256": sha256(run_dir / "scores.parquet"),
        "n_rows": 5000,
    }
    assert metrics["test"] == binary_metrics(test_split["logit"], test_split["label"])
    assert metrics["samples"]["test"]["n_regions"] == 30
    assert sum(metrics["samples"]["val"][k] for k in ("n_lenses", "n_controls")) == 2400


def test_intervals_hold_their_values_and_skip_what_is_not_supported(metrics):
    assert set(metrics["unsupported"]) == {"tpr_at_fpr_1e-3", "tpr_at_fpr_1e-4"}
    assert set(metrics["intervals"]["test"]) == {"auroc", "ap", "pauc_fpr_1e-2", "tpr_at_fpr_1e-2", "tpr10"}
    assert set(metrics["no_interval"]) == {"tpr0"}
    assert metrics["intervals"]["method"] == "region bootstrap"
    for name, (low, high) in metrics["intervals"]["test"].items():
        assert low < metrics["test"][name] < high


def test_the_roc_begins_where_ten_false_positives_are_expected(metrics):
    roc = metrics["roc"]
    assert roc["fpr"][0] == pytest.approx(10 / metrics["samples"]["test"]["n_controls"])
    assert roc["fpr"][-1] == roc["tpr"][-1] == 1
    assert all(low <= tpr <= high for low, tpr, high in zip(roc["low"], roc["tpr"], roc["high"], strict=True))


def test_operating_points_count_the_test_stamps_at_the_validation_threshold(metrics, test_split):
    logits, labels = test_split["logit"].to_numpy(), test_split["label"].to_numpy()
    point = next(p for p in metrics["operating_points"] if p["name"] == metrics["working_point"])
    assert point["name"] == "fpr_1e-2"
    passed = logits >= np.float32(point["logit"])
    assert point["test"]["completeness"]["passed"] == passed[labels == 1].sum()
    rate = point["test"]["false_positive_rate"]
    assert rate["passed"] == passed[labels == 0].sum()
    assert rate["interval"][0] <= rate["rate"] <= rate["interval"][1]
    strict = [p for p in metrics["operating_points"] if p["name"] == "fpr_1e-3"]
    assert strict[0]["test"] is None


def test_strata_and_kinds_add_up_to_the_working_point(metrics):
    point = next(p for p in metrics["operating_points"] if p["name"] == metrics["working_point"])
    found, fooled = point["test"]["completeness"], point["test"]["false_positive_rate"]
    for stratum in metrics["completeness"]["strata"]:
        assert sum(record["passed"] for record in stratum["bins"]) == found["passed"]
    assert sum(record["passed"] for record in metrics["lens_models"]) == found["passed"]
    assert sum(record["passed"] for record in metrics["control_kinds"]) == fooled["passed"]
    assert sum(record["n"] for record in metrics["control_kinds"]) == fooled["n"]


def test_rates_in_bins_resample_regions_where_there_are_enough(metrics, run_dir):
    by_column = {stratum["column"]: stratum["bins"] for stratum in metrics["completeness"]["strata"]}
    for record in by_column["theta_e_arcsec"] + by_column["host_mag_r"] + metrics["lens_models"]:
        enough = min(record["passed"], record["n"] - record["passed"]) >= 10
        assert record["method"] == (None if record["n"] < 10 else "region bootstrap" if enough else "Wilson")
    # a region has one seeing: its bins hold a handful of the thirty regions each
    assert {record["method"] for record in by_column["psf_fwhm_used_r"]} <= {"Wilson", None}
    function = pq.read_table(run_dir / "selection_function.parquet").to_pylist()
    at_working_point = [record for record in function if record["threshold"] == metrics["working_point"]]
    theta_e = [r for r in at_working_point if r["axis_1"] == "theta_e_arcsec" and r["axis_2"] is None]
    for record, shown in zip(theta_e, by_column["theta_e_arcsec"], strict=True):
        if shown["method"]:
            assert record["interval_method"] == shown["method"]
            assert [record["interval_low"], record["interval_high"]] == pytest.approx(shown["interval"])


def test_what_a_reader_should_know_of_the_data_goes_with_the_numbers(metrics):
    assert metrics["data_notes"] == [NOTE]


def test_operating_points_are_projected_to_the_sky(metrics):
    for point in metrics["operating_points"]:
        if point["test"] is None:
            assert point["sky"] is None
            continue
        (sky,) = point["sky"]
        tpr, fpr = (point["test"][rate]["rate"] for rate in ("completeness", "false_positive_rate"))
        assert sky["candidates_per_deg2"]["value"] == pytest.approx(605 * (1e-4 * tpr + (1 - 1e-4) * fpr))
        for name in ("purity", "candidates_per_deg2", "hours_per_1000_deg2"):
            low, high = sky[name]["range"]
            assert low <= sky[name]["value"] <= high
        assert sky["probability"] < point["probability"]
    dense = next(p for p in metrics["operating_points"] if p.get("target_fp_per_deg2") == 10)
    assert dense["target_fpr"] == pytest.approx(10 / 605)
    assert dense["val_fpr"] <= 10 / 605


def test_regions_add_up(metrics):
    by_region = metrics["calibration"]["by_region"]
    assert sum(record["n"] for record in by_region["regions"]) == 2600
    assert by_region["level"]["dof"] == 30
    point = next(p for p in metrics["operating_points"] if p["name"] == metrics["working_point"])
    regions = metrics["completeness"]["region"]["regions"]
    assert sum(record["passed"] for record in regions) == point["test"]["completeness"]["passed"]
    assert metrics["completeness"]["region"]["test"]["dof"] == 29


def test_the_selection_function_lies_beside_and_names_its_score_file(metrics, run_dir):
    path = run_dir / "selection_function.parquet"
    facts = json.loads(pq.read_schema(path).metadata[b"dark_halo_scope"])
    assert facts["scores"] == metrics["scores"]
    table = pq.read_table(path)
    chosen = table.filter((pc.field("threshold") == metrics["working_point"]) & (pc.field("axis_1") == "host_mag_r"))
    stratum = next(s for s in metrics["completeness"]["strata"] if s["column"] == "host_mag_r")
    assert chosen["found"].to_pylist() == [record["passed"] for record in stratum["bins"]]


def test_calibration_is_reported_before_and_after(metrics):
    before, after = metrics["calibration"]["before"], metrics["calibration"]["after"]
    assert before["nll"] == pytest.approx(metrics["test"]["nll"])
    assert after["nll"] < before["nll"]
    assert sum(after["bins"]["n"]) == 2600


def test_a_survey_without_regions_resamples_stamps_and_says_so(tmp_path):
    run = make_run_folder(tmp_path / "run", n_val=300, n_test=300, drop=("region_id", "theta_e_arcsec", "control_kind"))
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["intervals"]["method"] == "stamp bootstrap"
    assert metrics["intervals"]["column"] is None
    assert metrics["completeness"]["missing"][0] == "theta_e_arcsec"
    assert metrics["completeness"]["region"] is None
    assert metrics["calibration"]["by_region"] is None
    assert metrics["control_kinds"] is None
    assert metrics["working_point"] == "best_f1"


def test_few_regions_refuse_bootstrap_and_rates_fall_back_to_wilson(tmp_path):
    run = make_run_folder(tmp_path / "run", n_val=300, n_test=300, n_regions=4)
    metrics = json.loads((run / "metrics.json").read_text())
    assert "has 4" in metrics["intervals"]["refused"]
    assert metrics["intervals"]["test"] == {}
    assert metrics["roc"]["low"] is None
    rate = next(p for p in metrics["operating_points"] if p["name"] == "best_f1")["test"]["completeness"]
    wilson = binomtest(rate["passed"], rate["n"]).proportion_ci(0.95, "wilson")
    assert rate["method"] == "Wilson"
    assert rate["interval"] == pytest.approx([wilson.low, wilson.high])


def test_the_working_point_is_the_strictest_supported_rate():
    rng = np.random.default_rng(0)
    labels = np.arange(24_000) % 2
    records = operating_thresholds(rng.normal(2.0 * labels), labels, TemperatureScaling())
    assert choose_working_point(records)["name"] == "fpr_1e-3"


def test_scores_without_a_test_split_are_refused(run_dir):
    table, _ = read_scores(run_dir / "scores.parquet")
    with pytest.raises(ScoreFileError, match="no stamp of split 'test'"):
        evaluate(table.filter(pc.equal(table["split"], "val")), TemperatureScaling(), [])
