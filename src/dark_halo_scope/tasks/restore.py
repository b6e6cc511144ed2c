"""From a checkpoint back to a task, without running anything that the checkpoint might smuggle in.

Tensors and plain values are read with torch's `weights_only` reader. The configuration inside names the classes to
build, and a name can be that of any function on this machine: each is looked up and must live in a trusted package.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object

from dark_halo_scope.tasks.build import build_task, describe_model
from dark_halo_scope.tasks.lens_detection import LensDetectionTask

TRUSTED_PACKAGES = ("dark_halo_scope.networks", "dark_halo_scope.transforms", "dark_halo_scope.tasks", "torch.optim")
_GROUPS = ("model", "transforms", "task", "optimizer", "scheduler")


class CheckpointError(ValueError):
    """A checkpoint that is missing, unreadable, or of another architecture."""


def load_task(path: str | Path, trusted_packages: tuple[str, ...] = TRUSTED_PACKAGES) -> LensDetectionTask:
    """Rebuild the task of a checkpoint in eval mode, with its weights, calibrator and thresholds.

    Args:
        path: a checkpoint written by a run (it carries its configuration under the key `config`).
        trusted_packages: packages whose classes the configuration may name; add the one of your own network.

    Raises:
        CheckpointError: when the file is missing, unreadable, no checkpoint of a run, or names an untrusted class.
    """
    checkpoint = read_checkpoint(path)
    config = {group: dict(checkpoint["config"][group]) for group in _GROUPS}
    _refuse_untrusted(config, trusted_packages, Path(path))
    if "weights" in config["model"]:
        config["model"]["weights"] = None  # the checkpoint holds them; the file they once came from may be gone
    task = build_task(config)
    check_same_architecture(checkpoint, task, config["model"])
    task.load_state_dict(checkpoint["state_dict"])
    task.on_load_checkpoint(checkpoint)
    return task.eval()


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU as tensors and plain values only."""
    if not Path(path).is_file():
        raise CheckpointError(f"there is no checkpoint at {path}: give the .ckpt file of a run's checkpoints folder")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names half a dozen types for a truncated, foreign or unsafe file
        raise CheckpointError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}): it is truncated, or holds more than "
            "tensors and plain values; take the run's other checkpoint"
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "config"} <= checkpoint.keys():
        raise CheckpointError(f"{path} is no checkpoint of a run (it carries no weights and configuration of one)")
    return checkpoint


def check_same_architecture(
    checkpoint: Mapping[str, Any], task: LensDetectionTask, model_config: Mapping[str, Any]
) -> None:
    """Refuse weights that do not fit the network, naming both architectures.

    Args:
        checkpoint: what `read_checkpoint` returns.
        task: the task that is to take the weights.
        model_config: the configuration group `model` of that task.
    """
    held, built = _network_shapes(checkpoint["state_dict"]), _network_shapes(task.state_dict())
    if held != built:
        raise CheckpointError(
            f"the checkpoint holds the weights of {describe_model(checkpoint['config']['model'])}, but the network is "
            f"{describe_model(model_config)}: choose the checkpoint's model, or start a new run with resume=null"
        )


def _network_shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items() if name.startswith("network.")}


def _targets(node: object) -> Iterator[str]:
    """All `_target_` names below a node of a configuration."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for child in node.values():
            yield from _targets(child)
    elif isinstance(node, list):
        for child in node:
            yield from _targets(child)


def _refuse_untrusted(config: Mapping[str, Any], trusted_packages: tuple[str, ...], path: Path) -> None:
    """Check where each named object lives, not how it is spelt: `package.module.os.system` is `os.system`."""
    for target in _targets(config):
        spelt_well = target.startswith(tuple(f"{package}." for package in trusted_packages))
        home = str(getattr(get_object(target), "__module__", "")) if spelt_well else ""
        if not any(home == package or home.startswith(f"{package}.") for package in trusted_packages):
            raise CheckpointError(
                f"the checkpoint {path} asks to build {target}, which is outside the trusted packages "
                f"({', '.join(trusted_packages)}): if you know where it comes from, name its package as trusted"
            )
