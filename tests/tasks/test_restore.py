import pytest
import torch

from dark_halo_scope.tasks.build import build_task
from dark_halo_scope.tasks.restore import CheckpointError, check_same_architecture, load_task, read_checkpoint
from tests.tasks.composed import composed


@pytest.fixture
def small(tmp_path):
    """A checkpoint as a run leaves it, with the task that it holds: (path, task)."""
    config = composed("small_cnn", "mad_clip", "model.dropout=0.3", "task.class_weighting=2.5")
    task = build_task(config)
    task.network.features[0][1].running_mean.fill_(0.25)
    content = {"state_dict": task.state_dict(), "config": config}
    calibrated = {"calibrator": {"temperature": 1.5}, "thresholds": [{"name": "fpr_1e-2", "logit": 2.0}]}
    torch.save(content | calibrated, tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt", task


def test_a_restored_task_scores_as_the_saved_one(small):
    path, saved = small
    restored = load_task(path)
    images = torch.randn(4, 3, 64, 64)
    assert not restored.training
    assert torch.equal(restored(images), saved.eval()(images))
    assert restored.calibrator == {"temperature": 1.5}
    assert restored.thresholds == [{"name": "fpr_1e-2", "logit": 2.0}]
    assert restored.criterion.class_weights.tolist() == [1.0, 2.5]


def test_the_file_of_pretrained_weights_is_not_needed_again(tmp_path):
    config = composed("resnet18_imagenet_stem", "annulus_asinh")
    task = build_task(config)
    config["model"]["weights"] = "/gone/resnet18.pth"
    torch.save({"state_dict": task.state_dict(), "config": config}, tmp_path / "best.ckpt")
    assert torch.equal(
        load_task(tmp_path / "best.ckpt").network.backbone.conv1.weight, task.network.backbone.conv1.weight
    )


def test_another_architecture_is_named_in_words(small):
    path, _ = small
    config = composed("resnet18", "mad_clip")
    message = r"SmallCNN\(dropout=0.3\), but the network is ResNet\(depth=18, stem=3x3, dropout=0.0\)"
    with pytest.raises(CheckpointError, match=message):
        check_same_architecture(read_checkpoint(path), build_task(config), config["model"])


def test_other_dropout_is_the_same_architecture(small):
    config = composed("small_cnn", "mad_clip")
    check_same_architecture(read_checkpoint(small[0]), build_task(config), config["model"])


def test_a_missing_truncated_or_foreign_file_is_refused(small, tmp_path):
    path, task = small
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_task(tmp_path / "nowhere.ckpt")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_task(path)
    torch.save(task.network, path)  # a pickled module could run code
    with pytest.raises(CheckpointError, match="more than tensors and plain values"):
        load_task(path)
    torch.save(task.state_dict(), path)
    with pytest.raises(CheckpointError, match="no checkpoint of a run"):
        load_task(path)


@pytest.mark.parametrize("target", ["os.system", "dark_halo_scope.networks.resnet.torch.load", "subprocess.run"])
@pytest.mark.parametrize("place", ["model", "augment"])
def test_a_checkpoint_cannot_name_code_outside_the_package(small, target, place):
    path, _ = small
    content = torch.load(path, weights_only=True)
    node = content["config"]["model"] if place == "model" else content["config"]["transforms"]["augment"]
    node["parts"] = [{"_target_": target, "command": "touch /tmp/never"}]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="outside the trusted packages"):
        load_task(path)
