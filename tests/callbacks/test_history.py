import csv
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dark_halo_scope.callbacks.history import MetricHistory, history_csv, summarise

numbers = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])
values = st.lists(st.tuples(st.integers(0, 9), numbers), min_size=1, max_size=10)


def test_every_epoch_of_every_metric_is_in_both_files(finished):
    table = list(csv.DictReader((finished.folder / "history.csv").open()))
    assert [(line["epoch"], line["step"]) for line in table] == [("0", "6"), ("1", "12"), ("2", "18"), ("3", "24")]
    metrics = json.loads((finished.folder / "history.json").read_text())["metrics"]
    assert {"train/loss", "train/grad_norm", "val/loss", "val/auroc", "val/ece"} <= metrics.keys()
    assert not [name for name in metrics if name.endswith("_step")]
    for name, summary in metrics.items():
        assert [float(line[name]) for line in table] == pytest.approx([value for _, _, value in summary["values"]])
    assert set(metrics["val/auroc"]) == {"values", "mean", "std", "min", "max", "best", "best_epoch"}


def test_the_last_value_is_the_one_the_trainer_holds(finished):
    metrics = json.loads((finished.folder / "history.json").read_text())["metrics"]
    for name in ("train/loss", "val/loss", "val/auroc"):
        assert metrics[name]["values"][-1][2] == pytest.approx(float(finished.trainer.callback_metrics[name]))


def test_validations_inside_an_epoch_have_lines_of_their_own(run):
    run.fit(run.standard_callbacks(), max_epochs=1, val_check_interval=3)
    table = list(csv.DictReader((run.folder / "history.csv").open()))
    assert [line["step"] for line in table] == ["3", "6"]
    assert [bool(line["val/auroc"]) for line in table] == [True, True]
    assert [bool(line["train/loss"]) for line in table] == [False, True]


def test_testing_changes_no_history(run):
    run.fit(run.standard_callbacks(), max_epochs=2)
    history = next(callback for callback in run.trainer.callbacks if isinstance(callback, MetricHistory))
    before = json.dumps(history.metrics)
    for evaluate in (run.trainer.validate, run.trainer.test):
        evaluate(run.task, datamodule=run.data, ckpt_path=str(run.best), verbose=False)
    assert json.dumps(history.metrics) == before


def test_small_is_best_for_losses_and_large_for_the_rest():
    series = [[0, 1, 0.5], [1, 2, 0.2], [2, 3, 0.4]]
    for name in ("train/loss", "val/loss", "val/nll", "val/nll_lens", "val/brier", "val/ece"):
        assert (summarise({name: series})[name]["best"], summarise({name: series})[name]["best_epoch"]) == (0.2, 1)
    for name in ("val/auroc", "val/tpr_at_fpr_1e-3"):
        assert (summarise({name: series})[name]["best"], summarise({name: series})[name]["best_epoch"]) == (0.5, 0)


@given(values)
def test_the_summary_is_standard_json_whatever_was_logged(pairs):
    series = {"val/auroc": [[epoch, step, value] for step, (epoch, value) in enumerate(pairs)]}
    summary = json.loads(json.dumps(summarise(series), allow_nan=False))["val/auroc"]
    finite = [value for _, value in pairs if math.isfinite(value)]
    assert len(summary["values"]) == len(pairs)
    assert summary["max"] == summary["best"] == (max(finite) if finite else None)
    if finite:
        assert summary["mean"] == pytest.approx(sum(finite) / len(finite))


def test_csv_leaves_a_field_empty_where_a_metric_was_not_logged():
    text = history_csv({"b": [[0, 2, 0.5]], "a": [[0, 1, 1.0], [0, 2, math.nan]]})
    assert text == "epoch,step,a,b\n0,1,1.0,\n0,2,nan,0.5\n"
