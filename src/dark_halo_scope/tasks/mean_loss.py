"""The mean loss of a training epoch; what it is made of can be carried over a resume."""

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanLoss(Metric):
    """Mean over the samples of all ranks, from the mean losses of batches. An update does not wait for the device.

    Attributes:
        total: sum over the samples of this rank.
        n_samples: their number.
    """

    full_state_update = False
    total: Tensor
    n_samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("n_samples", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, loss: Tensor, n_samples: int) -> None:
        """Add the mean loss of a batch."""
        self.total += loss.detach() * n_samples
        self.n_samples += n_samples

    def sums(self) -> list[float]:
        """What this rank has added up: total and number of samples."""
        return [float(self.total), float(self.n_samples)]

    def add_sums(self, total: float, n_samples: float) -> None:
        """Add what some rank had added up."""
        self.total += total
        self.n_samples += int(n_samples)

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.total / self.n_samples
