import pytest
import torch
from torchvision.models import resnet18, resnet34

from dark_halo_scope.networks.resnet import PretrainedWeightsError, ResNet

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def first_stage_size(network: ResNet) -> int:
    sizes: list[int] = []
    network.backbone.layer1.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[-1]))
    network(IMAGES)
    return sizes[0]


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_3x3_stem_shows_all_pixels_to_the_first_stage():
    assert first_stage_size(ResNet(18, stem="3x3")) == 64
    assert first_stage_size(ResNet(18, stem="imagenet")) == 16


@pytest.mark.parametrize(("depth", "millions"), [(18, 11.17), (34, 21.28)])
def test_one_logit_a_stamp_from_a_network_of_the_known_size(depth, millions):
    network = ResNet(depth).eval()
    assert network(IMAGES[:, :, ::2, ::2]).shape == (2,)
    assert parameters(network) / 1e6 == pytest.approx(millions, abs=0.01)


def test_dropout_acts_on_the_last_layer_in_training_only():
    network = ResNet(18, stem="imagenet", dropout=0.5).eval()
    assert torch.equal(network(IMAGES), network(IMAGES))
    features = torch.ones(1, 512)
    head = network.backbone.fc.train()
    assert not torch.equal(head(features), head(features))


@pytest.mark.parametrize("options", [{"depth": 50}, {"stem": "7x7"}])
def test_an_unknown_network_is_refused_with_the_choices(options):
    with pytest.raises(ValueError, match="choose one of"):
        ResNet(**options)


@pytest.fixture
def imagenet_file(tmp_path):
    path = tmp_path / "resnet18.pth"
    torch.manual_seed(1)
    torch.save(resnet18().state_dict(), path)
    return path


def test_pretrained_weights_fill_all_but_the_last_layer(imagenet_file):
    network = ResNet(18, stem="imagenet", weights=imagenet_file)
    held = torch.load(imagenet_file, weights_only=True)
    taken = network.backbone.state_dict()
    shared = [name for name in held if not name.startswith("fc.")]
    assert len(shared) == len(held) - 2
    assert all(torch.equal(held[name], taken[name]) for name in shared)
    assert taken["fc.1.weight"].shape == (1, 512)


def test_weights_without_batch_norm_counters_are_taken(imagenet_file):
    """As files written before such counters existed."""
    held = torch.load(imagenet_file, weights_only=True)
    torch.save({k: v for k, v in held.items() if not k.endswith("num_batches_tracked")}, imagenet_file)
    network = ResNet(18, stem="imagenet", weights=imagenet_file)
    assert torch.equal(network.backbone.conv1.weight, held["conv1.weight"])


def test_weights_that_do_not_fit_are_refused(imagenet_file, tmp_path):
    with pytest.raises(PretrainedWeightsError, match="stem=imagenet"):
        ResNet(18, stem="3x3", weights=imagenet_file)
    with pytest.raises(PretrainedWeightsError, match="does not hold a torchvision ResNet34: 80 tensors differ"):
        ResNet(34, stem="imagenet", weights=imagenet_file)
    with pytest.raises(PretrainedWeightsError, match="is not a file"):
        ResNet(18, stem="imagenet", weights=tmp_path / "nowhere.pth")
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(PretrainedWeightsError, match="cannot be read as a state dict"):
        ResNet(18, stem="imagenet", weights=tmp_path / "page.pth")
    torch.save(resnet34(), tmp_path / "whole_model.pth")
    with pytest.raises(PretrainedWeightsError, match="plain tensors"):
        ResNet(34, stem="imagenet", weights=tmp_path / "whole_model.pth")
