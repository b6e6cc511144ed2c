"""From a resolved configuration to a task: one way for training, resuming and scoring."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate


def build_task(config: Mapping[str, Any]) -> Any:
    """Build the task that the groups `model`, `transforms`, `task`, `optimizer` and `scheduler` describe.

    Returns:
        The `BaseTask` that `task` names.
    """
    make_task = instantiate(config["task"], _partial_=True)
    return make_task(
        network=instantiate(config["model"]),
        **{name: instantiate(part) for name, part in config["transforms"].items()},
        optimizer=instantiate(config["optimizer"]),
        scheduler=instantiate(config["scheduler"]),
    )


def describe_model(model_config: Mapping[str, Any]) -> str:
    """Name an architecture in words, such as ``ResNet(depth=18, stem=3x3, dropout=0.0)``."""
    name = str(model_config["_target_"]).rsplit(".", maxsplit=1)[-1]
    options = [f"{key}={value}" for key, value in model_config.items() if key not in ("_target_", "weights")]
    return f"{name}({', '.join(options)})"
