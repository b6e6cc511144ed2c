from itertools import pairwise

import pytest
import torch
from torch import nn

from dark_halo_scope.tasks.schedule import ScheduleError, warmup_cosine


def rates(total_steps: int, peak: float = 1e-3, **options) -> list[float]:
    """The learning rate of each optimiser step, and the one after the last."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=peak)
    scheduler = warmup_cosine(optimizer, total_steps=total_steps, **options)
    values = []
    for _ in range(total_steps + 1):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


@pytest.mark.parametrize("warmup", [{"warmup_epochs": 0.5}, {"warmup_epochs": 3, "warmup_steps": 10}])
def test_linear_warmup_then_cosine_to_the_floor(warmup):
    values = rates(110, steps_per_epoch=20, floor_lr=1e-5, **warmup)
    assert values[:10] == pytest.approx([1e-3 * (i + 1) / 10 for i in range(10)])
    assert values[10] == pytest.approx(1e-3)
    assert values[60] == pytest.approx((1e-3 + 1e-5) / 2)  # half of the cosine
    assert values[110] == pytest.approx(1e-5)
    assert all(later < earlier for earlier, later in pairwise(values[10:]))


def test_no_warmup_and_nothing_but_warmup():
    assert rates(4, steps_per_epoch=4, warmup_epochs=0)[0] == pytest.approx(1e-3)
    assert rates(4, steps_per_epoch=4, warmup_epochs=1)[3] == pytest.approx(1e-3)


def test_parameter_groups_keep_their_peaks_and_share_the_floor():
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    groups = [{"params": first.parameters(), "lr": 1e-2}, {"params": second.parameters(), "lr": 1e-4}]
    optimizer = torch.optim.SGD(groups)
    scheduler = warmup_cosine(optimizer, total_steps=8, steps_per_epoch=8, warmup_steps=2)
    peaks = [0.0, 0.0]
    for _ in range(8):
        peaks = [max(peak, lr) for peak, lr in zip(peaks, scheduler.get_last_lr(), strict=True)]
        optimizer.step()
        scheduler.step()
    assert peaks == pytest.approx([1e-2, 1e-4])
    assert scheduler.get_last_lr() == pytest.approx([1e-6, 1e-6])


def test_a_schedule_that_does_not_fit_is_refused():
    with pytest.raises(ScheduleError, match="warmup of 30 optimiser steps does not fit into a training of 20"):
        rates(20, steps_per_epoch=10, warmup_epochs=3)
    with pytest.raises(ScheduleError, match=r"floor_lr=0.01 is above optimizer.lr=0.001"):
        rates(20, steps_per_epoch=10, floor_lr=0.01)
