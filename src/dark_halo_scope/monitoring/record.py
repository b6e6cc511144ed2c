"""A report as plain data, for scripts."""

import math
from dataclasses import asdict
from typing import Any

from dark_halo_scope.monitoring.findings import Report


def to_record(report: Report) -> dict[str, Any]:
    """What ``halo monitor --json`` prints of a run. Times in seconds; what is not known is null."""
    run, status = report.run, report.run.status
    metric = [value for value in run.values(status.metric) if math.isfinite(value)]
    best = (max if status.mode == "max" else min)(metric, default=None)
    return {
        "run": str(run.folder),
        "state": run.state,
        "phase": status.phase,
        "host": status.process.host,
        "pid": status.process.pid,
        "epoch": status.epoch,
        "max_epochs": status.max_epochs,
        "step": status.step,
        "total_steps": status.total_steps,
        "step_s": status.step_s,
        "time_left_s": run.time_left_s if run.state in ("running", "stalled") else None,
        "metric": status.metric,
        "latest": metric[-1] if metric else None,
        "best": best,
        "patience_left": status.patience.left if status.patience else None,
        "wait_fraction": status.wait_fraction,
        "gpu_memory_gib": status.gpu_memory_gib,
        "findings": [asdict(finding) for finding in report.findings],
        "exit_code": report.exit_code,
    }
