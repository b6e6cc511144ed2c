"""From a config to stamps: the user's dataset or the simulated survey, and what is checked of it."""

import logging
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from dark_halo_scope.sky.survey import SurveyConfig, simulate_survey
from dark_halo_scope.stamps.index import LeakChecks

log = logging.getLogger(__name__)


def survey_root(cfg: DictConfig, progress: bool = True) -> str:
    """Root of the dataset: ``data.root``, or where it names none the embedded survey, simulated if it is not there."""
    if cfg.data.root is not None:
        return str(cfg.data.root)
    survey: SurveyConfig = instantiate(cfg.survey, _convert_="all")
    folder = Path(cfg.paths.data_dir) / f"survey-{survey.digest()}"
    log.info("no data.root given: the simulated survey %s", folder)
    return str(simulate_survey(survey, folder, progress))


def leak_checks(cfg: DictConfig) -> LeakChecks:
    """What is asked of the dataset before it is used."""
    names = ("region_column", "host_column", "on_split_leak", "leave_out")
    return LeakChecks(**{name: cfg.data[name] for name in names})
