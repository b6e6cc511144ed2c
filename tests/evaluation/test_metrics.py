import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import norm
from torch import tensor
from torchmetrics.functional.classification import binary_calibration_error

from dark_halo_scope.evaluation.metrics import (
    NonFiniteLogitError,
    RocCounts,
    SingleClassError,
    auroc,
    average_precision,
    binary_metrics,
    decision_metrics,
    fpr_name,
    partial_auroc,
    roc_counts,
    supports_fpr,
    tpr_at_fpr,
    tpr_before_false_positives,
)


def gaussian_sample(n: int = 4000, shift: float = 2.0, decimals: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    logits = rng.normal(shift * (labels - 0.5)).round(decimals).astype(np.float32)
    return logits, labels


@pytest.mark.parametrize("decimals", [6, 1])  # one decimal makes hundreds of ties
def test_metrics_agree_with_scikit_learn(decimals):
    logits, labels = gaussian_sample(decimals=decimals)
    metrics = binary_metrics(logits, labels)
    probability = expit(logits.astype(np.float64))
    called = logits >= 0
    precision, recall, f1, n = reference.precision_recall_fscore_support(labels, called)
    expected = {
        "auroc": reference.roc_auc_score(labels, logits),
        "ap": reference.average_precision_score(labels, logits),
        "pauc_fpr_1e-2": reference.roc_auc_score(labels, logits, max_fpr=0.01),
        "brier": reference.brier_score_loss(labels, probability),
        "nll": reference.log_loss(labels, probability),
        "accuracy": reference.accuracy_score(labels, called),
        "specificity": recall[0],
    }
    for index, kind in enumerate(("control", "lens")):
        expected |= {f"precision_{kind}": precision[index], f"recall_{kind}": recall[index], f"f1_{kind}": f1[index]}
        expected |= {f"n_{kind}": n[index]}
        of_kind = labels == index
        expected[f"nll_{kind}"] = reference.log_loss(labels[of_kind], probability[of_kind], labels=[0, 1])
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, abs=1e-9), name


def test_ece_agrees_with_torchmetrics():
    logits, labels = gaussian_sample()
    probability = expit(logits.astype(np.float64))
    expected = binary_calibration_error(tensor(probability), tensor(labels), n_bins=15, norm="l1")
    assert binary_metrics(logits, labels)["ece"] == pytest.approx(float(expected), abs=1e-6)  # float32 there


@pytest.mark.parametrize("fpr", [1e-4, 1e-3, 1e-2, 0.29, 1.0])
def test_tpr_at_fpr_is_the_best_point_of_the_curve_within_the_rate(fpr):
    logits, labels = gaussian_sample(decimals=2)
    false_positive, true_positive, _ = reference.roc_curve(labels, logits, drop_intermediate=False)
    expected = true_positive[false_positive <= fpr].max()
    assert tpr_at_fpr(roc_counts(logits, labels), fpr) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [1, 10, 400])
def test_recall_before_the_nth_false_positive_is_the_best_point_of_the_curve_below_it(n):
    logits, labels = gaussian_sample(n=2000, decimals=2)
    false_positive, true_positive, _ = reference.roc_curve(labels, logits, drop_intermediate=False)
    n_controls = (labels == 0).sum()
    expected = true_positive[np.rint(false_positive * n_controls) < n].max()
    assert tpr_before_false_positives(roc_counts(logits, labels), n) == pytest.approx(expected, abs=1e-12)


def test_recall_without_a_false_positive_counts_lenses_above_the_highest_control():
    metrics = binary_metrics([5.0, 4.0, 3.0, 3.0, 1.0], [1, 1, 1, 0, 1])
    assert metrics["tpr0"] == 0.5  # the third lens ties with the control
    assert metrics["tpr10"] == 1.0


def test_tpr_at_a_rate_that_is_a_whole_number_of_controls_uses_all_of_them():
    logits = np.arange(200, dtype=np.float32)
    labels = np.arange(200) % 2
    assert tpr_at_fpr(roc_counts(logits, labels), 0.29) == pytest.approx(0.30)  # 0.29 * 100 < 29 in floating point


def test_auroc_of_gaussian_scores_approaches_its_closed_form():
    logits, labels = gaussian_sample(n=200_000, shift=1.5)
    assert auroc(roc_counts(logits, labels)) == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.003)
    threshold = norm.isf(0.01)
    assert tpr_at_fpr(roc_counts(logits, labels), 0.01) == pytest.approx(norm.sf(threshold - 1.5), abs=0.01)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_auroc_counts_pairs(stamps):
    logits, labels = np.array([s for s, _ in stamps], np.float32), np.array([lens for _, lens in stamps])
    if labels.all() or not labels.any():
        with pytest.raises(SingleClassError):
            roc_counts(logits, labels)
        return
    difference = logits[labels][:, None] - logits[~labels][None, :]
    pairs = ((difference > 0) + 0.5 * (difference == 0)).mean()
    assert auroc(roc_counts(logits, labels)) == pytest.approx(pairs, abs=1e-12)


def test_ranking_survives_logits_that_saturate_a_sigmoid():
    logits, labels = gaussian_sample()
    shifted = binary_metrics(logits + 60, labels)  # every float32 probability is exactly 1.0
    assert shifted["auroc"] == pytest.approx(binary_metrics(logits, labels)["auroc"], abs=1e-3)
    assert np.isfinite(shifted["nll"])


def test_counts_with_leading_axes_give_one_value_a_row():
    logits, labels = gaussian_sample()
    one = roc_counts(logits, labels)
    two = RocCounts(one.thresholds, np.stack([one.lenses, one.lenses]), np.stack([one.controls, 3 * one.controls]))
    for statistic in (auroc, lambda c: partial_auroc(c, 0.01), lambda c: tpr_at_fpr(c, 0.01)):
        np.testing.assert_allclose(statistic(two), np.repeat(statistic(one), 2))
    first, second = average_precision(two)
    assert first == average_precision(one)
    assert second < first  # three times the controls
    assert tpr_at_fpr(two, [0.1, 0.2, 0.3]).shape == (2, 3)


def test_a_network_that_calls_nothing_a_lens_has_no_precision():
    metrics = decision_metrics([-3.0, -2.0, -1.0], [0, 1, 0])
    assert (metrics["precision_lens"], metrics["recall_lens"], metrics["f1_lens"]) == (0, 0, 0)
    assert metrics["specificity"] == 1


@pytest.mark.parametrize(("labels", "missing"), [([0, 0], "lenses"), ([1, 1], "controls")])
def test_one_class_only_is_refused(labels, missing):
    with pytest.raises(SingleClassError, match=f"without {missing}"):
        binary_metrics([0.1, 0.2], labels)


def test_a_diverged_network_is_refused():
    with pytest.raises(NonFiniteLogitError, match="2 of 3 logits"):
        binary_metrics([0.1, np.nan, np.inf], [0, 1, 1])


def test_ten_expected_false_positives_support_a_rate():
    assert supports_fpr(1e-3, 10_000)
    assert supports_fpr(0.29, 35)
    assert not supports_fpr(1e-3, 9_999)


@pytest.mark.parametrize(("fpr", "name"), [(0.01, "1e-2"), (1e-4, "1e-4"), (0.05, "5e-2"), (0.0025, "2.5e-3")])
def test_rates_are_named_as_in_metric_names(fpr, name):
    assert fpr_name(fpr) == name
