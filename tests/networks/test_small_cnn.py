import torch

from dark_halo_scope.networks.small_cnn import SmallCNN


def test_one_logit_a_stamp_from_less_than_100k_parameters():
    network = SmallCNN(dropout=0.2).eval()
    images = torch.randn(5, 3, 64, 64)
    assert network(images).shape == (5,)
    assert sum(parameter.numel() for parameter in network.parameters()) < 100_000


def test_every_parameter_learns():
    network = SmallCNN()
    network(torch.randn(4, 3, 64, 64)).pow(2).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
