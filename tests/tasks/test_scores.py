import pytest
import torch

from dark_halo_scope.tasks.scores import DuplicateRowError, ScoreCollection


def test_batches_are_joined_in_the_order_of_the_rows():
    scores = ScoreCollection()
    scores.update(torch.tensor([7, 2]), torch.tensor([0.5, -1.0], dtype=torch.bfloat16), torch.tensor([1, 0]))
    scores.update(torch.tensor([5]), torch.tensor([40.25]), torch.tensor([1]))
    joined = scores.compute()
    assert joined["row"].tolist() == [2, 5, 7]
    assert joined["logit"].tolist() == [-1.0, 40.25, 0.5]
    assert joined["label"].tolist() == [0, 1, 1]
    assert joined["logit"].dtype == torch.float32


def test_a_stamp_scored_twice_is_an_error_that_names_it():
    scores = ScoreCollection()
    for _ in range(2):
        scores.update(torch.tensor([3, 8]), torch.zeros(2), torch.tensor([0, 1]))
    with pytest.raises(DuplicateRowError, match="2 stamps were scored more than once, the first is row 3"):
        scores.compute()
