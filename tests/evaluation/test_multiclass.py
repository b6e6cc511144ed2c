import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from dark_halo_scope.evaluation.metrics import NonFiniteLogitError
from dark_halo_scope.evaluation.multiclass import confusion, multiclass_metrics


@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_those_of_scikit_learn_over_the_classes_that_are_there(seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, 2, (200, 5)), rng.choice([0, 2, 3], 200)  # nobody did 1 and 4
    logits[np.arange(200), labels] += 2
    called = logits.argmax(axis=1)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = {
        "accuracy": accuracy_score(labels, called),
        "macro_f1": f1_score(labels, called, labels=[0, 2, 3], average="macro"),
        "balanced_accuracy": balanced_accuracy_score(labels[labels < 5], called),
        "nll": log_loss(labels, probability, labels=list(range(5))),
    }
    assert multiclass_metrics(logits, labels) == pytest.approx(expected)


def test_the_confusion_counts_true_by_row_and_called_by_column():
    assert confusion([0, 0, 1, 2], [0, 1, 1, 0], 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_a_logit_that_is_no_number_is_refused():
    with pytest.raises(NonFiniteLogitError, match="the logits of 1 of 2 windows are not finite"):
        multiclass_metrics([[0.0, 1.0], [np.nan, 0.0]], [0, 1])
