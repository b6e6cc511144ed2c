"""Compose the config groups of a task, without the rest of a run."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

CONFIGS = str(Path(__file__).parents[2] / "configs")
_REST_OF_A_RUN = ["+seed=3", "+hardware={channels_last: true, compile: auto}", "+recipe={lr: 3e-4, warmup_epochs: 1}"]
_ONE_EACH = ["+optimizer=adamw", "+scheduler=warmup_cosine"]
OF_WINDOWS = {"model": {"resnet1d", "small_cnn1d"}, "transforms": {"windows"}}


def names(group: str) -> list[str]:
    """Options of a group that are for stamps."""
    return sorted({path.stem for path in Path(CONFIGS, group).glob("*.yaml")} - OF_WINDOWS.get(group, set()))


def composed(model: str, transforms: str, *overrides: str, task: str = "lens_detection") -> dict[str, Any]:
    chosen = [f"+task={task}", f"+model={model}", f"+transforms={transforms}"]
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        config = compose(overrides=[*_REST_OF_A_RUN, *_ONE_EACH, *chosen, *overrides])
    return OmegaConf.to_container(config, resolve=True)
