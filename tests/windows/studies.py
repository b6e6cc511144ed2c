"""The tiny simulated study of the shipped config, as the tests take it."""

from hydra.utils import instantiate
from omegaconf import OmegaConf

from dark_halo_scope.configuration import CONFIGS
from dark_halo_scope.windows.simulate import StudyConfig


def tiny_study(**changes: object) -> StudyConfig:
    default, tiny = (OmegaConf.load(CONFIGS / "participants" / f"{name}.yaml") for name in ("default", "tiny"))
    del tiny["defaults"]
    return instantiate(OmegaConf.merge(default, tiny, changes))
