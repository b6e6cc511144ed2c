"""Checkpoints of untrained networks, as a run leaves them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from dark_halo_scope.evaluation.calibration import calibrator_from_dict
from dark_halo_scope.evaluation.thresholds import operating_thresholds
from dark_halo_scope.tasks.build import build_task
from tests.tasks.composed import composed

CALIBRATOR = {"method": "temperature", "temperature": 1.5}
N_LENSES, N_CONTROLS = 100, 300  # of the validation stamps that it is taken to be fitted on


def write_checkpoint(
    path: Path, seed: int = 0, transforms: str = "annulus_asinh", data: Path | None = None, **content: Any
) -> Path:
    """A checkpoint of an untrained small network with running statistics, as a run leaves it."""
    torch.manual_seed(seed)
    config = composed("small_cnn", transforms)
    task = build_task(config)
    with torch.no_grad():
        task.network.head[1].weight.mul_(20)  # logits that differ from stamp to stamp
    config["data"] = {"max_nonfinite_fraction": 0.01, "root": str(data), "region_column": "region_id"}
    state = {"state_dict": task.state_dict(), "config": config, "calibrator": CALIBRATOR, "data_fingerprint": "f" * 64}
    logits, labels = np.linspace(-3, 3, N_CONTROLS + N_LENSES), np.repeat([0, 1], [N_CONTROLS, N_LENSES])
    state["thresholds"] = operating_thresholds(logits, labels, calibrator_from_dict(CALIBRATOR))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | {"code_version": {"package": "0.1.0", "commit": None, "dirty": None}} | content, path)
    return path
