"""Surveys small enough to simulate in a test."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from dark_halo_scope.sky.survey import SurveyConfig

CONFIGS = Path(__file__).parents[2] / "configs" / "survey"


def survey_config(name="default", **overrides) -> SurveyConfig:
    """A shipped survey config with some of its top-level values replaced."""
    with initialize_config_dir(str(CONFIGS), version_base=None):
        shipped = OmegaConf.to_container(compose(name))
    return instantiate(shipped | overrides)


def tiny_config(**overrides) -> SurveyConfig:
    """Four files of one region each."""
    small = {"regions": {"train": 2, "val": 1, "test": 1}, "stamps_per_region": 8, "regions_per_file": 1}
    return survey_config(**(small | overrides))
