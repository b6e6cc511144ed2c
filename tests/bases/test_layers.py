from functools import partial

import pytest
import torch
from torch import nn

from dark_halo_scope.bases.layers import layerwise, let_learn, stages
from dark_halo_scope.bases.modes import ModeError
from dark_halo_scope.networks.resnet import ResNet
from dark_halo_scope.networks.resnet1d import ResNet1d
from dark_halo_scope.networks.small_cnn import SmallCNN
from dark_halo_scope.networks.small_cnn1d import SmallCNN1d
from dark_halo_scope.tasks.optimise import parameter_groups

NETWORKS = [(SmallCNN(), 5), (SmallCNN1d(6, 4), 4), (ResNet(depth=18), 6), (ResNet1d(6, 4, width=4), 6)]


@pytest.mark.parametrize(("network", "count"), NETWORKS, ids=lambda value: type(value).__name__)
def test_stages_hold_every_parameter_once_from_the_input_to_the_head(network, count):
    found = stages(network)
    assert len(found) == count
    names = {id(p): name for name, p in network.named_parameters()}
    in_order = [names[id(p)] for stage in found for p in stage]
    assert sorted(in_order) == sorted(names.values())
    assert in_order == list(names.values()), "modules are declared in the order of the stages"


def test_the_learning_rate_falls_from_the_head_to_the_input():
    network = SmallCNN1d(6, 4)
    make = layerwise(partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1), network, 0.5)
    optimizer = make(parameter_groups(network))
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [{rate_of[id(p)] for p in stage} for stage in stages(network)] == [{1.25e-3}, {2.5e-3}, {5e-3}, {1e-2}]
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert all(decays[id(p)] == (0.1 if p.ndim > 1 else 0.0) for p in network.parameters())


@pytest.mark.parametrize("part", ["head", "all"])
@pytest.mark.parametrize("batch_norm", ["frozen", "adapt"])
def test_only_what_is_asked_learns(part, batch_norm):
    network = SmallCNN1d(3, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    let_learn(network, part, batch_norm)
    optimizer = torch.optim.SGD(parameter_groups(network), lr=0.1)
    network(torch.randn(8, 3, 16) + 3).square().sum().backward()
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {name for name in before if "running" in name or "tracked" in name}
    assert bool(changed & statistics) == (part == "all" and batch_norm == "adapt")
    assert {name.split(".")[0] for name in changed - statistics} == (
        {"head"} if part == "head" else {"head", "features"}
    )


def test_a_network_without_named_stages_has_no_head_to_train_alone():
    network = nn.Sequential(nn.Linear(3, 2))
    let_learn(network, "all", "adapt")
    with pytest.raises(ModeError, match="stages of Sequential have no names"):
        let_learn(network, "head", "adapt")
