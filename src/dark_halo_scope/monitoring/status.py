"""``status.json``: what a run says of itself every few seconds."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dark_halo_scope.files import write_json
from dark_halo_scope.monitoring.process import ProcessName

FILE = "status.json"
Phase = Literal["starting", "training", "validating", "testing", "between", "failed"]


@dataclass(frozen=True)
class Patience:
    """Early stopping's counters."""

    left: int  # validations without an improvement until it stops the run
    of: int
    min_delta: float


@dataclass(frozen=True)
class Status:
    """A run at one moment. Times are seconds since 1970; a loss or norm that is not a finite number is None."""

    process: ProcessName
    beat_at: float  # when this was written
    beat_s: float  # and how often it is
    moved_at: float  # when the last batch was done, of whatever phase
    phase: Phase
    epoch: int
    max_epochs: int
    step: int  # optimiser steps done
    total_steps: int  # of the configured epochs; 0 before the training
    steps_per_validation: int
    metric: str  # monitored
    mode: str
    step_s: float | None = None  # median of the last steps, waiting for data included
    longest_pause_s: float = 0.0  # between two batches of one phase
    wait_fraction: float | None = None  # of the training time, over the last steps
    validation_s: float | None = None  # how long the last one took
    losses: list[tuple[int, float | None]] = field(default_factory=list)  # (step, training loss) of the last steps
    grad_norms: list[tuple[int, float | None]] = field(default_factory=list)
    patience: Patience | None = None
    gpu_memory_gib: float | None = None  # the most that tensors took at a time
    gpu_total_gib: float | None = None
    error: str | None = None

    def write(self, run_dir: Path) -> None:
        """Replace the file in one step."""
        write_json(run_dir / FILE, asdict(self))

    @classmethod
    def read(cls, run_dir: Path) -> "Status":
        """Inverse of `write`."""
        content: dict[str, Any] = json.loads((run_dir / FILE).read_text())
        content["process"] = ProcessName(**content["process"])
        if content["patience"] is not None:
            content["patience"] = Patience(**content["patience"])
        for name in ("losses", "grad_norms"):
            content[name] = [(step, value) for step, value in content[name]]
        return cls(**content)
