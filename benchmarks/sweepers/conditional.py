"""The peer's way to a conditional parameter: a function that it calls for each trial."""

from omegaconf import DictConfig
from optuna import Trial


def extend(config: DictConfig, trial: Trial) -> None:
    """Draw the clip of the one normalisation that has it."""
    if trial.params["transforms"] == "mad_clip":
        trial.suggest_categorical("transforms.normalise.clip", [5.0, 10.0, 30.0])
