from functools import partial

import pytest
import torch

from dark_halo_scope.networks.resnet import ResNet
from dark_halo_scope.networks.small_cnn import SmallCNN


@pytest.mark.parametrize("build", [partial(ResNet, 18), SmallCNN])
def test_logits_do_not_tie_under_autocast(build):
    torch.manual_seed(1)
    network = build().eval()
    images = torch.randn(256, 3, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 250
    assert len(logits.bfloat16().unique()) < 200  # what the layer would give without care
