"""Reports on a terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dark_halo_scope.monitoring.findings import Report
from dark_halo_scope.monitoring.record import to_record
from dark_halo_scope.monitoring.trials import StudySummary

STATE_STYLES = {"running": "green", "finished": "blue", "stalled": "bold red", "dead": "bold red", "failed": "bold red"}
SEVERITY_STYLES = {"critical": "bold red", "warning": "yellow", "note": "cyan"}
DASH = "\N{EN DASH}"
INDENT = (0, 0, 0, 4)
ANY_WIDTH = 10_000


def runs_screen(reports: Sequence[Report], most: int | None = None) -> RenderableType:
    """Runs and, below them, what was found in each and what to do.

    Args:
        reports: the latest last.
        most: runs to show where there are so many: the oldest that are finished and have no findings go first.
    """
    quiet = [report for report in reports if report.run.state == "finished" and not report.findings]
    left_out = quiet[: max(0, len(reports) - most)] if most is not None else []
    shown = [report for report in reports if report not in left_out]
    parts: list[RenderableType] = [Runs([to_record(report) for report in shown])]
    if left_out:
        parts.insert(0, Text(f"{len(left_out)} finished runs with nothing wrong are not shown", style="dim"))
    return Group(*parts, *(line for report in shown for line in _findings(report, named=len(reports) > 1)))


def study_table(study: StudySummary) -> RenderableType:
    """How many trials are in which state, and the best of them."""
    counts = ", ".join(f"{n} {state}" for state, n in study.trials.items()) or "no trial yet"
    title = escape(f"{study.name}: {counts}")
    table = Table("best trial", "values", "parameters", title=title, title_justify="left", box=SIMPLE_HEAD)
    for best in study.best:
        values = ", ".join(map(_number, best["values"]))
        table.add_row(str(best["number"]), values, escape(", ".join(f"{k}={v}" for k, v in best["params"].items())))
    return table


@dataclass(frozen=True)
class Runs:
    """A table of runs, or a few lines for each where the terminal is too narrow for it."""

    records: Sequence[dict[str, Any]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table = self._table()
        if Measurement.get(console, options.update(max_width=ANY_WIDTH), table).maximum <= options.max_width:
            yield table
        else:
            yield from map(_lines, self.records)

    def _table(self) -> Table:
        """Without the columns that no run has anything to say in."""
        rows = [_cells(record) for record in self.records]
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        columns = [name for name in rows[0] if any(row[name] != DASH for row in rows)]
        for name in columns:
            table.add_column(name)
        for row in rows:
            table.add_row(*(row[name] for name in columns))
        return table


def _cells(record: dict[str, Any]) -> dict[str, str]:
    wait, memory, patience = record["wait_fraction"], record["gpu_memory_gib"], record["patience_left"]
    return {
        "run": escape(record["run"].rpartition("/")[2]),
        "state": _state(record),
        "epoch": f"{record['epoch']}/{record['max_epochs']}",
        "step": f"{record['step']}/{record['total_steps']}",
        "left": _duration(record["time_left_s"]),
        "metric": escape(record["metric"]),
        "latest": _number(record["latest"]),
        "best": _number(record["best"]),
        "patience": DASH if patience is None else str(patience),
        "waits": DASH if wait is None else f"{wait:.0%}",
        "GPU": DASH if memory is None else f"{memory:.1f} GiB",
    }


def _lines(record: dict[str, Any]) -> RenderableType:
    cells = _cells(record)
    told = [f"{name} {cells[name]}" for name in ("epoch", "step", "left", "patience", "waits", "GPU")]
    metric = f"{cells['metric']} {cells['latest']}, best {cells['best']}"
    facts = ", ".join([*told[:2], metric, *(fact for fact in told[2:] if not fact.endswith(DASH))])
    return Group(f"[bold]{cells['run']}[/]  {cells['state']}", Padding(facts, INDENT, expand=False))


def _state(record: dict[str, Any]) -> str:
    phase = f" {record['phase']}" if record["state"] == "running" else ""
    return f"[{STATE_STYLES[record['state']]}]{record['state']}[/]{phase}"


def _findings(report: Report, named: bool) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for finding in report.findings:
        where = f"{report.run.folder.name}: " if named else ""
        line = Text.assemble((f"{finding.severity} ", SEVERITY_STYLES[finding.severity]), where, (finding.rule, "bold"))
        lines += [line.append(f": {finding.said}"), Padding(Text(finding.advice, style="dim"), INDENT, expand=False)]
    return lines or [Text("nothing wrong", style="green")] * (not named)


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.4f}"


def _duration(seconds: float | None) -> str:
    return DASH if seconds is None else str(timedelta(seconds=round(seconds)))
