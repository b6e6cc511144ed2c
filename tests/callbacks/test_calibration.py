import numpy as np
import pytest

from dark_halo_scope.callbacks.calibration import Calibration
from dark_halo_scope.evaluation.calibration import CalibrationError, calibrator_from_dict, fit_calibrator
from dark_halo_scope.tasks.restore import load_task
from tests.callbacks.tiny_run import assert_same_weights, load


def fit_and_validate(run, method):
    run.fit([Calibration(method, target_fprs=[1e-1, 1e-2]), *run.standard_callbacks()], max_epochs=2)
    assert run.task.calibrator is None  # validation while training calibrates nothing
    run.before = load(run.best)
    run.trainer.validate(run.task, datamodule=run.data, ckpt_path=str(run.best), verbose=False)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_the_best_checkpoint_gets_calibrator_and_thresholds_and_keeps_all_else(run, method):
    fit_and_validate(run, method)
    after = load(run.best)
    assert after["calibrator"]["method"] == method
    assert [record["name"] for record in after["thresholds"]][:2] == ["fpr_1e-1", "fpr_1e-2"]
    assert run.before["calibrator"] is None
    assert_same_weights(after["state_dict"], run.before["state_dict"])
    assert after.keys() == run.before.keys()
    assert load(run.last)["calibrator"] is None

    task = load_task(run.best)
    assert (task.calibrator, task.thresholds) == (after["calibrator"], after["thresholds"])
    scores = run.task.gathered_scores("val")
    assert calibrator_from_dict(task.calibrator) == fit_calibrator(method, scores["logit"], scores["label"])


def test_thresholds_are_those_of_the_validation_scores(run):
    fit_and_validate(run, "temperature")
    scores = run.task.gathered_scores("val")
    best_f1 = next(record for record in run.task.thresholds if record["name"] == "best_f1")
    recall = np.mean(scores["logit"][scores["label"] == 1] >= best_f1["logit"])
    assert recall == pytest.approx(best_f1["val_tpr"])


def test_testing_the_calibrated_checkpoint_keeps_its_calibration(run):
    fit_and_validate(run, "temperature")
    calibrator = run.task.calibrator
    run.trainer.test(run.task, datamodule=run.data, ckpt_path=str(run.best), verbose=False)
    assert run.task.calibrator == calibrator
    assert load(run.best)["calibrator"] == calibrator


def test_an_unknown_method_is_named(run):
    with pytest.raises(CalibrationError, match="choose one of temperature, isotonic"):
        fit_and_validate(run, "platt")
