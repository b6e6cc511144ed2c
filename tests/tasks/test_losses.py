import math

import pytest
import torch
from scipy.special import expit, logit
from torch.nn.functional import binary_cross_entropy_with_logits

from dark_halo_scope.tasks.losses import LensCrossEntropy, LossError

LABELS = torch.tensor([1] * 30 + [0] * 70)  # true probability of a lens: 0.3


def best_logit(criterion: LensCrossEntropy) -> float:
    """The one logit for all stamps at which the loss is least, by bisection of its slope."""
    low, high = -10.0, 10.0
    for _ in range(60):
        middle = torch.tensor((low + high) / 2, requires_grad=True)
        criterion(middle.expand(100), LABELS).backward()
        low, high = (middle.item(), high) if middle.grad < 0 else (low, middle.item())
    return (low + high) / 2


def test_plain_loss_is_cross_entropy_and_calibrated():
    criterion, logits = LensCrossEntropy(), torch.linspace(-4, 4, 100)
    torch.testing.assert_close(criterion(logits, LABELS), binary_cross_entropy_with_logits(logits, LABELS.float()))
    assert expit(best_logit(criterion)) == pytest.approx(0.3, abs=1e-4)


def test_smoothing_moves_the_minimum_exactly_as_documented():
    assert expit(best_logit(LensCrossEntropy(0.1))) == pytest.approx(0.3 * 0.9 + 0.05, abs=1e-4)


def test_class_weights_shift_the_logit_by_the_log_of_their_ratio():
    assert best_logit(LensCrossEntropy(class_weighting=4)) == pytest.approx(logit(0.3) + math.log(4), abs=1e-3)
    balanced = LensCrossEntropy(class_weighting="balanced")
    balanced.balance({"control": 70, "lens": 30})
    assert expit(best_logit(balanced)) == pytest.approx(0.5, abs=1e-4)
    assert balanced.class_weights[LABELS].mean() == pytest.approx(1)


def test_stamps_may_weigh_differently():
    logits, weight = torch.linspace(-4, 4, 100), torch.rand(100, generator=torch.Generator().manual_seed(1))
    parts = [LensCrossEntropy(class_weighting=4)(logits[k : k + 1], LABELS[k : k + 1]) for k in range(100)]
    expected = (torch.stack(parts) * weight).mean()
    torch.testing.assert_close(LensCrossEntropy(class_weighting=4)(logits, LABELS, weight), expected)


def test_half_precision_logits_are_weighed_in_float32():
    loss = LensCrossEntropy()(torch.linspace(-4, 4, 100).bfloat16(), LABELS)
    assert loss.dtype == torch.float32


def test_class_weights_travel_with_the_state():
    balanced, fresh = LensCrossEntropy(class_weighting="balanced"), LensCrossEntropy(class_weighting="balanced")
    balanced.balance({"control": 70, "lens": 30})
    fresh.load_state_dict(balanced.state_dict())
    assert torch.equal(fresh.class_weights, balanced.class_weights)


@pytest.mark.parametrize("options", [{"label_smoothing": 1.0}, {"class_weighting": "balance"}, {"class_weighting": -2}])
def test_an_impossible_option_is_refused(options):
    with pytest.raises(LossError):
        LensCrossEntropy(**options)
