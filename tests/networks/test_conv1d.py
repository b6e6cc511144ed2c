import pytest
import torch

from dark_halo_scope.networks.resnet1d import ResNet1d
from dark_halo_scope.networks.small_cnn1d import SmallCNN1d


@pytest.mark.parametrize(
    ("network", "most_parameters"), [(SmallCNN1d(6, 5), 40_000), (ResNet1d(6, 5), 2_500_000)], ids=["cnn", "resnet"]
)
def test_float32_logits_of_each_class_and_every_parameter_learns(network, most_parameters):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.randn(4, 6, 128))
    assert (logits.shape, logits.dtype) == ((4, 5), torch.float32)
    assert sum(parameter.numel() for parameter in network.parameters()) < most_parameters
    network(torch.randn(4, 6, 128)).pow(2).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_the_resnet_has_the_eighteen_layers_of_the_paper_and_keeps_the_length_for_the_first_stage():
    network = ResNet1d(6, 5, width=8)
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv1d | torch.nn.Linear)]
    assert sum(layer.weight.shape[-1] != 1 for layer in layers) == 18  # projection shortcuts are 1 wide
    windows = torch.randn(2, 6, 128)
    stem = network.stem(windows)
    assert stem.shape == (2, 8, 128)
    assert network.stages[:2](stem).shape == (2, 8, 128)
    assert network.stages(stem).shape == (2, 64, 16)


def test_a_block_whose_residual_is_silent_passes_its_input_on():
    network = ResNet1d(3, 2, width=4).eval()
    block = network.stages[0]
    torch.nn.init.zeros_(block.residual[4].weight)
    features = torch.rand(2, 4, 16)
    torch.testing.assert_close(block(features), features)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match=r"model\.kernel_size=8 is even"):
        ResNet1d(6, 5, kernel_size=8)
