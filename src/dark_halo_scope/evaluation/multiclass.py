"""Numbers of a classifier of K classes from its logits and the labels."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from dark_halo_scope.evaluation.metrics import NonFiniteLogitError


def confusion(labels: ArrayLike, called: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """How often class i was called j, (K, K)."""
    cells = np.asarray(labels, np.int64) * n_classes + np.asarray(called, np.int64)
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def multiclass_metrics(logits: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """Accuracy, macro F1, balanced accuracy (mean recall) and negative log-likelihood of one sample.

    The means over classes are over those that the sample holds: a person may not have done everything.

    Args:
        logits: (N, K), N at least 1.
        labels: (N,) numbers of the classes.

    Raises:
        NonFiniteLogitError: a logit is NaN or infinite.
    """
    scores, truth = np.asarray(logits, np.float64), np.asarray(labels)
    bad = np.count_nonzero(~np.isfinite(scores).all(axis=1))
    if bad:
        raise NonFiniteLogitError(
            f"the logits of {bad} of {len(scores)} windows are not finite: the network has diverged, or they are of a "
            "participant whom the normalisation has no numbers of"
        )
    counts = confusion(truth, scores.argmax(axis=1), scores.shape[1])
    there, hits = counts.sum(axis=1), np.diag(counts)
    held = there > 0
    recall = hits[held] / there[held]
    f1 = 2 * hits[held] / (there + counts.sum(axis=0))[held]
    likelihood = np.take_along_axis(scores, truth[:, None], axis=1)[:, 0] - logsumexp(scores, axis=1)
    return {
        "accuracy": float(hits.sum() / len(truth)),
        "macro_f1": float(f1.mean()),
        "balanced_accuracy": float(recall.mean()),
        "nll": float(-likelihood.mean()),
    }
