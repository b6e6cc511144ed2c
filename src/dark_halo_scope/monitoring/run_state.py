"""A run folder at one moment, as the rules see it."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from dark_halo_scope.monitoring.process import Life
from dark_halo_scope.monitoring.status import FILE, Status

State = Literal["running", "stalled", "dead", "failed", "finished"]

STEPS_WITHOUT_MOVE = 20.0  # times the usual step
PAUSES_WITHOUT_MOVE = 3.0  # times the longest pause that the run came back from
MIN_QUIET_S = 60.0  # a remote file that is read again after an error takes about as long
MIN_QUIET_BETWEEN_S = 900.0  # before the first batch and after the last: survey, index and cache; the report
MISSED_BEATS = 12.0  # after which a process that cannot be seen from here counts as dead


class MonitorError(ValueError):
    """There is nothing to look at."""


@dataclass(frozen=True)
class RunState:
    """What is known of a run. A metric is a list of (epoch, step, value), NaN where it was no finite number."""

    folder: Path
    now: float  # seconds since 1970
    status: Status
    life: Life
    outcome: str | None = None  # how it ended: complete, pruned, diverged or failed; None as long as it has not
    history: dict[str, list[tuple[int, int, float]]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)  # the run's config
    command: str = "python train.py"

    @property
    def state(self) -> State:
        """In one word.

        Dead: the process is gone, or out of sight and silent. Stalled: it lives, and no batch was done for far longer
        than batches take.
        """
        if self.outcome in ("complete", "pruned"):
            return "finished"
        if self.outcome is not None or self.status.phase == "failed":
            return "failed"
        if self.life == "gone" or (self.life == "elsewhere" and self.silent_s > self._silence_allowed_s):
            return "dead"
        return "stalled" if self.life == "stopped" or self.quiet_s > self.quiet_allowed_s else "running"

    @property
    def quiet_s(self) -> float:
        """Seconds since the last batch."""
        return self.now - self.status.moved_at

    @property
    def quiet_allowed_s(self) -> float:
        """Seconds without a batch up to which a run is not called stalled."""
        if self.status.phase in ("starting", "between") or self.status.step_s is None:
            return MIN_QUIET_BETWEEN_S
        seen = (STEPS_WITHOUT_MOVE * self.status.step_s, PAUSES_WITHOUT_MOVE * self.status.longest_pause_s)
        return max(MIN_QUIET_S, *seen)

    @property
    def silent_s(self) -> float:
        """Seconds since the last beat."""
        return self.now - self.status.beat_at

    @property
    def _silence_allowed_s(self) -> float:
        if self.status.phase == "between":  # it does not beat then
            return MIN_QUIET_BETWEEN_S
        return max(MIN_QUIET_S, MISSED_BEATS * self.status.beat_s)

    @property
    def time_left_s(self) -> float | None:
        """Until the last of the configured epochs, early stopping left out; None before it can be told."""
        status = self.status
        if status.step_s is None or not status.total_steps:
            return None
        left = status.total_steps - status.step
        validations = left / status.steps_per_validation
        return left * status.step_s + validations * (status.validation_s or 0.0)

    def values(self, metric: str) -> list[float]:
        """A metric's values, oldest first."""
        return [value for _, _, value in self.history.get(metric, [])]

    def setting(self, key: str) -> Any:
        """A key of the run's config, dotted; None where there is none."""
        node: Any = self.settings
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node


def read_run(folder: Path, now: float) -> RunState:
    """Read a run folder that has a status."""
    status = Status.read(folder)
    return RunState(
        folder=folder,
        now=now,
        status=status,
        life=status.process.life(),
        outcome=_outcome(folder),
        history=_history(folder),
        settings=_settings(folder),
        command=_json(folder / "provenance.json").get("command", "python train.py"),
    )


def find_runs(folder: Path, or_none: bool = False) -> list[Path]:
    """The folder itself, or the run folders below it, the latest last.

    Raises:
        MonitorError: there is none, and one is needed.
    """
    found = sorted(folder.rglob(FILE), key=lambda path: path.stat().st_mtime)
    if not found and not or_none:
        raise MonitorError(
            f"no {FILE} in {folder} or below: it holds no run, or none that has begun to train, or one without "
            "callbacks.heartbeat"
        )
    return [path.parent for path in found]


def _outcome(folder: Path) -> str | None:
    """What a search noted, else whether the final metrics are there and younger than the run's last batch."""
    if outcome := _json(folder / "outcome.json"):
        return str(outcome["state"])
    metrics = folder / "metrics.json"
    finished = metrics.exists() and metrics.stat().st_mtime > (folder / FILE).stat().st_mtime
    return "complete" if finished else None


def _history(folder: Path) -> dict[str, list[tuple[int, int, float]]]:
    metrics = _json(folder / "history.json").get("metrics", {})
    return {
        name: [(epoch, step, math.nan if value is None else value) for epoch, step, value in metric["values"]]
        for name, metric in metrics.items()
    }


def _settings(folder: Path) -> dict[str, Any]:
    config = folder / "config.yaml"
    settings: Any = OmegaConf.to_container(OmegaConf.load(config), resolve=False) if config.exists() else {}
    return dict(settings)


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content
