"""Reports on a terminal."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dark_halo_scope.monitoring.findings import Report
from dark_halo_scope.monitoring.record import to_record
from dark_halo_scope.monitoring.trials import StudySummary

STATE_STYLES = {"running": "green", "finished": "blue", "stalled": "bold red", "dead": "bold red", "failed": "bold red"}
SEVERITY_STYLES = {"critical": "bold red", "warning": "yellow", "note": "cyan"}
DASH = "\N{EN DASH}"


def runs_table(reports: Sequence[Report]) -> RenderableType:
    """A table of runs and, below it, what was found in each and what to do."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("run", "state", "epoch", "step", "left", "metric", "latest", "best", "patience", "waits", "GPU"):
        table.add_column(name, overflow="fold")
    for report in reports:
        table.add_row(*_cells(to_record(report)))
    return Group(table, *(line for report in reports for line in _findings(report, named=len(reports) > 1)))


def study_table(study: StudySummary) -> RenderableType:
    """How many trials are in which state, and the best of them."""
    counts = ", ".join(f"{n} {state}" for state, n in study.trials.items()) or "no trial yet"
    table = Table("trial", "values", "parameters", title=escape(f"{study.name}: {counts}"), title_justify="left")
    for best in study.best:
        values = ", ".join(map(_number, best["values"]))
        table.add_row(str(best["number"]), values, escape(", ".join(f"{k}={v}" for k, v in best["params"].items())))
    return table


def _cells(record: dict[str, Any]) -> list[str]:
    style = STATE_STYLES[record["state"]]
    wait, memory, patience = record["wait_fraction"], record["gpu_memory_gib"], record["patience_left"]
    return [
        escape(record["run"].rpartition("/")[2]),
        f"[{style}]{record['state']}[/] {record['phase'] if record['state'] == 'running' else ''}",
        f"{record['epoch']}/{record['max_epochs']}",
        f"{record['step']}/{record['total_steps']}",
        _duration(record["time_left_s"]),
        escape(record["metric"]),
        _number(record["latest"]),
        _number(record["best"]),
        DASH if patience is None else str(patience),
        DASH if wait is None else f"{wait:.0%}",
        DASH if memory is None else f"{memory:.1f} GiB",
    ]


def _findings(report: Report, named: bool) -> list[Text]:
    lines = []
    for finding in report.findings:
        where = f"{report.run.folder.name}: " if named else ""
        line = Text.assemble((f"{finding.severity} ", SEVERITY_STYLES[finding.severity]), where, (finding.rule, "bold"))
        lines += [line.append(f": {finding.said}"), Text(f"    {finding.advice}", style="dim")]
    return lines or [Text("nothing wrong", style="green")] * (not named)


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.4f}"


def _duration(seconds: float | None) -> str:
    return DASH if seconds is None else str(timedelta(seconds=round(seconds)))
