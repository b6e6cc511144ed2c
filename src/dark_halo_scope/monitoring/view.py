"""What a look at a run, a folder of runs or a study shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from dark_halo_scope.monitoring.findings import Report
from dark_halo_scope.monitoring.record import to_record
from dark_halo_scope.monitoring.rules import examine
from dark_halo_scope.monitoring.run_state import MonitorError, find_runs, read_run
from dark_halo_scope.monitoring.screen import runs_screen, study_table
from dark_halo_scope.monitoring.trials import StudySummary, read_studies
from dark_halo_scope.search.storage import file_of

STUDY = "study.db"  # in the folder of a search
LINES_ASIDE = 12  # of a terminal: what is not a run, such as findings


@dataclass(frozen=True)
class View:
    """The reports of some runs, the latest last, and the studies that they are trials of, if any."""

    reports: tuple[Report, ...]
    studies: tuple[StudySummary, ...] = ()

    @property
    def exit_code(self) -> int:
        """Of the gravest finding: 0 none or notes, 1 warnings, 3 critical."""
        return max((report.exit_code for report in self.reports), default=0)

    @property
    def is_empty(self) -> bool:
        """Whether no run has begun to train yet."""
        return not self.reports and not self.studies

    @property
    def is_going_on(self) -> bool:
        """Whether a look later on may show something else."""
        return (
            self.is_empty
            or any(report.run.state in ("running", "stalled") for report in self.reports)
            or any(study.trials.get("running") for study in self.studies)
        )

    def render(self, height: int | None = None) -> RenderableType:
        """For a terminal; one that does not scroll has so many lines."""
        if self.is_empty:
            return Text("waiting for a run to begin to train: none has written its status yet", style="dim")
        tables = [study_table(study) for study in self.studies]
        most = None if height is None else max(1, height - LINES_ASIDE * (1 + len(tables)))
        return Group(*tables, *([runs_screen(self.reports, most)] if self.reports else []))

    def to_record(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "exit_code": self.exit_code,
            "runs": [to_record(report) for report in self.reports],
            "studies": [study.to_record() for study in self.studies],
        }


def look(target: str, now: float, or_none: bool = False) -> View:
    """Look at a run folder, a folder of runs, the folder of a search, or the storage of a study.

    The runs of a study in a file are found in the folder of that file.

    Args:
        target: path, or URL of a study's storage.
        now: seconds since 1970.
        or_none: a folder in which no run has begun to train is not refused.

    Raises:
        MonitorError: there is nothing to look at.
        SearchError: the storage cannot be opened.
    """
    if "://" in target:
        studies, file = read_studies(target), file_of(target)
        runs = find_runs(file.parent, or_none=True) if file is not None else []
    else:
        folder = Path(target)
        if not folder.is_dir():
            raise MonitorError(f"{target}: there is no such folder")
        study = (folder / STUDY).resolve()
        studies = read_studies(f"sqlite:///{study}") if study.exists() else ()
        runs = find_runs(folder, or_none=or_none or bool(studies))
    return View(tuple(examine(read_run(run, now)) for run in runs), studies)
