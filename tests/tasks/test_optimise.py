from functools import partial

import pytest
import torch

from dark_halo_scope.networks.resnet import ResNet
from dark_halo_scope.networks.small_cnn import SmallCNN
from dark_halo_scope.tasks.optimise import build_optimizer, parameter_groups

CPU = torch.device("cpu")


def test_kernels_decay_and_norms_and_biases_do_not():
    network = ResNet(18)
    weights, rest = parameter_groups(network)
    decays = {id(parameter) for parameter in weights["params"]}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_kernel = name == "weight" and not isinstance(module, torch.nn.BatchNorm2d)
            assert (id(parameter) in decays) is is_kernel
    assert len(weights["params"]) + len(rest["params"]) == len(list(network.parameters()))


def test_frozen_parameters_are_left_out():
    network = SmallCNN()
    network.features.requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(network)) == 2


def test_a_step_shrinks_kernels_only():
    network = SmallCNN()
    optimizer = build_optimizer(partial(torch.optim.AdamW, lr=0.1, weight_decay=0.5), network, CPU, False)
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        shrink = 0.95 if parameter.ndim > 1 else 1.0
        torch.testing.assert_close(parameter, before[name] * shrink)


@pytest.mark.parametrize(("scaled", "fused"), [(False, True), (True, None)])
def test_fused_kernels_unless_gradients_are_scaled(scaled, fused):
    """None leaves it to torch; False would turn off its kernels for many tensors, too."""
    optimizer = build_optimizer(partial(torch.optim.AdamW, lr=0.1), SmallCNN(), CPU, scaled)
    assert (optimizer.defaults["fused"], optimizer.defaults["foreach"]) == (fused, None)


def test_an_optimiser_without_fused_kernels_is_built_as_it_is():
    optimizer = build_optimizer(partial(torch.optim.RMSprop, lr=0.1, weight_decay=0.1), SmallCNN(), CPU, False)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
