import json

import pyarrow.compute as pc
import pytest

from dark_halo_scope.evaluation.calibration import CalibrationError
from dark_halo_scope.evaluation.fitting import fit_on_validation, take_from
from dark_halo_scope.evaluation.scores import ScoreFileError, read_scores
from dark_halo_scope.evaluation.summary import evaluate
from tests.evaluation.run_folder import make_run_folder


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run_folder(tmp_path_factory.mktemp("logs") / "lens" / "run", n_val=1200, n_test=1200)


def test_the_validation_stamps_give_what_the_run_itself_used(run_dir):
    metrics = json.loads((run_dir / "metrics.json").read_text())
    calibrator, thresholds = fit_on_validation(read_scores(run_dir / "scores.parquet")[0], "scores.parquet")
    assert calibrator.to_dict() == metrics["calibration"]["calibrator"]
    assert [(t["name"], t["logit"]) for t in thresholds] == [
        (point["name"], point["logit"]) for point in metrics["operating_points"] if "target_fp_per_deg2" not in point
    ]


def test_a_file_of_test_stamps_only_says_what_to_give_and_then_works(run_dir):
    table, _ = read_scores(run_dir / "scores.parquet")
    only_test = table.filter(pc.equal(table["split"], "test"))
    with pytest.raises(ScoreFileError, match=r"labelled splits: test.* give --calibrated-by metrics\.json"):
        fit_on_validation(only_test, "new.parquet")
    metrics = evaluate(only_test, *take_from(run_dir / "metrics.json"), n_resamples=300)
    whole = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["val"] is None
    assert metrics["operating_points"] == whole["operating_points"]
    assert metrics["calibration"] == whole["calibration"]


@pytest.mark.parametrize("content", ["", "{}", '{"calibration": {"calibrator": {"method": "temperature"}}}'])
def test_what_is_no_evaluation_is_refused(tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ScoreFileError, match=r"is no metrics\.json of an evaluation"):
        take_from(tmp_path / "metrics.json")
    with pytest.raises(ScoreFileError, match="FileNotFoundError"):
        take_from(tmp_path / "absent.json")


def test_an_unknown_method_of_calibration_is_refused(run_dir):
    with pytest.raises(CalibrationError, match="temperature, isotonic"):
        fit_on_validation(read_scores(run_dir / "scores.parquet")[0], "scores.parquet", "platt")
