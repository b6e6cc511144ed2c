import pytest
import torch

from dark_halo_scope.networks.resnet import ResNet
from dark_halo_scope.networks.small_cnn import SmallCNN


@pytest.mark.parametrize("network", [ResNet(18), SmallCNN()])
def test_logits_do_not_tie_under_autocast(network):
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = network.eval()(images)
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 60
    assert len(logits.bfloat16().unique()) < 60  # what the layer would give without care
