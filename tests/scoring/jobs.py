"""Scoring jobs for tests: in this process, or by the command."""

import os
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dark_halo_scope.configuration import CONFIGS
from dark_halo_scope.hardware import Hardware, resolve
from dark_halo_scope.scoring.job import ScoringJob
from dark_halo_scope.scoring.run import Scored, score

HALO = [sys.executable, "-c", "from dark_halo_scope.cli import main; main()"]
ON_THE_CPU = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # for the command, which takes the GPUs that are there


def machine() -> Hardware:
    asked = OmegaConf.load(CONFIGS / "hardware" / "auto.yaml")
    return resolve(OmegaConf.merge(asked, {"accelerator": "cpu", "precision": "32-true"}))


def job(data: Path, *checkpoints: Path, **options: Any) -> ScoringJob:
    return ScoringJob(checkpoints, str(data), **({"batch_size": 8, "part_stamps": 20} | options))


def scored(out: Path, data: Path, *checkpoints: Path, calibrate_on: Path | None = None, **options: Any) -> Scored:
    return score(job(data, *checkpoints, **options), machine(), out, calibrate_on=calibrate_on, progress=False)
