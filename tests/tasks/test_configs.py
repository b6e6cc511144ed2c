"""Every config of the groups model, transforms, task, optimizer and scheduler composes and builds a task that works."""

import pytest
import torch

from dark_halo_scope.tasks.build import build_task
from tests.tasks.composed import composed, names


@pytest.mark.parametrize("transforms", names("transforms"))
@pytest.mark.parametrize("model", names("model"))
def test_a_model_and_transforms_make_a_task(model, transforms):
    task = build_task(composed(model, transforms))
    assert task.eval()(torch.randn(2, 3, 64, 64)).shape == (2,)
    assert task.memory_format == torch.channels_last


@pytest.mark.parametrize("augment", names("transforms/augment"))
def test_augmentations_are_chosen_by_name(augment):
    overrides = [f"transforms/augment={augment}", "transforms.augment.max_shift_px=1"]
    task = build_task(composed("small_cnn", "annulus_asinh", *overrides))
    assert len(task.augment.parts) == {"d4": 2, "none": 1}[augment]
