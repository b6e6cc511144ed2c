"""Run states for the rules: a healthy one, and what makes it ill."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dark_halo_scope.monitoring.process import ProcessName
from dark_halo_scope.monitoring.run_state import RunState
from dark_halo_scope.monitoring.status import Patience, Status

NOW = 1_800_000_000.0
N_EPOCHS = 8


def healthy_status() -> Status:
    rng = np.random.default_rng(5)
    losses = 0.4 + rng.gamma(4.0, 0.03, 512)  # skewed, as losses of small batches are
    return Status(
        process=ProcessName("elsewhere", 4711, 99),
        beat_at=NOW - 2,
        beat_s=5.0,
        moved_at=NOW - 2.5,
        phase="training",
        epoch=N_EPOCHS,
        max_epochs=30,
        step=8_000,
        total_steps=30_000,
        steps_per_validation=1_000,
        metric="val/auroc",
        mode="max",
        step_s=0.2,
        longest_pause_s=1.5,
        wait_fraction=0.02,
        validation_s=30.0,
        losses=[(7_488 + k, float(loss)) for k, loss in enumerate(losses)],
        grad_norms=[(100 * k, float(norm)) for k, norm in enumerate(rng.lognormal(0.0, 0.5, 64))],
        patience=Patience(left=5, of=5, min_delta=0.001),
        gpu_memory_gib=12.0,
        gpu_total_gib=16.0,
    )


def series(values: Any) -> list[tuple[int, int, float]]:
    return [(k, 1_000 * (k + 1), float(value)) for k, value in enumerate(values)]


def learning(n: int = N_EPOCHS, seed: int = 0) -> dict[str, list[tuple[int, int, float]]]:
    """A run that still learns: losses fall and AUROC rises exponentially, with scatter."""
    rng, epoch = np.random.default_rng(seed), np.arange(n)
    return {
        "train/loss": series(0.3 + 0.4 * np.exp(-epoch / 6) + rng.normal(0, 0.003, n)),
        "val/loss": series(0.35 + 0.35 * np.exp(-epoch / 6) + rng.normal(0, 0.01, n)),
        "val/auroc": series(0.97 - 0.4 * np.exp(-epoch / 6) + rng.normal(0, 0.003, n)),
    }


def healthy(**status: Any) -> RunState:
    """A run in the middle, some keys of its status replaced."""
    return RunState(
        folder=Path("logs/lens/run"),
        now=NOW,
        status=replace(healthy_status(), **status),
        life="running",
        history=learning(),
        settings={"optimizer": {"lr": 3e-4}, "data": {"root": "/data/stamps"}, "hardware": {"precision": "16-mixed"}},
        command="python train.py experiment=lens_resnet18 resume=auto",
    )
