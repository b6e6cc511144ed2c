"""Real runs for tests: the shipped configs on a tiny simulated survey."""

import subprocess
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from dark_halo_scope.configuration import CONFIGS, REPOSITORY, register_resolvers

TINY = ["survey=tiny", "hardware=cpu", "hardware.precision=32-true", "data.eval_batch_size=64", "audit.mode=off"]


def composed(*overrides: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


def command(folder: Path, *overrides: str) -> list[str]:
    """The command line of a run that keeps its data and logs below ``folder``."""
    paths = [f"paths.data_dir={folder}/data", f"paths.log_dir={folder}/logs"]
    return [sys.executable, str(REPOSITORY / "train.py"), *TINY, *paths, *overrides]


def train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(command(folder, *overrides), capture_output=True, text=True, check=False, timeout=240)
