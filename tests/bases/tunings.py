"""Real fine-tunings of a moment: the shipped experiments on the tiny study and the tiny survey."""

from functools import cache
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from dark_halo_scope.bases.base import Base
from dark_halo_scope.bases.compose import SweepLoader
from dark_halo_scope.bases.job import Job, job_of, run_job
from dark_halo_scope.configuration import CONFIGS, register_resolvers

QUICK = [
    "hardware=cpu",
    "hardware.precision=32-true",
    "finetune.steps=6",
    "finetune.probe.steps=6",
    "finetune.scheduler.warmup_steps=2",
]
PARTICIPANTS = (
    "experiment=participant_finetune",
    "participants=tiny",
    "recipe.max_epochs=2",
    "target=p001",
    "n_base=2",
)
SKY = ("experiment=lens_finetune", "survey=tiny", "recipe.max_epochs=1", "target='psf_fwhm_used_r > 1.15'")
MODES = [
    "full_fine_tuning",
    "target_only_fine_tuning",
    "target_only",
    "base_only",
    "head_only",
    "linear_probe_then_fine_tuning",
]


@cache
def job(folder: Path, *overrides: str, of: tuple[str, ...] = PARTICIPANTS) -> Job:
    """The job of a command line that keeps data and store below ``folder``."""
    words = (*of, *QUICK, *overrides)
    loader, master = _loader()
    cfg = loader.load_sweep_config(master, [*words, f"paths.data_dir={folder}", f"paths.run_dir={folder}/run"])
    return job_of(cfg, words)


@cache
def _loader() -> tuple[SweepLoader, DictConfig]:
    """As a sweep composes its jobs."""
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return SweepLoader(loader), loader.load_configuration("train", [], run_mode=RunMode.MULTIRUN)


def made(folder: Path, *overrides: str, of: tuple[str, ...] = PARTICIPANTS) -> Base:
    """The fine-tuning of a command line, trained if it is not there."""
    return run_job(job(folder, *overrides, of=of), may_build=True)
