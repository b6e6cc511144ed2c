"""What a rule says."""

from dataclasses import dataclass
from typing import Literal

from dark_halo_scope.monitoring.run_state import RunState

Severity = Literal["note", "warning", "critical"]
EXIT_CODES = {"note": 0, "warning": 1, "critical": 3}  # 2 is a refusal


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a run, or that will happen to it."""

    rule: str
    severity: Severity
    said: str  # with the numbers
    advice: str


@dataclass(frozen=True)
class Report:
    """A run and everything found in it, the gravest first."""

    run: RunState
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 healthy or finished, 1 warnings, 3 critical."""
        return max((EXIT_CODES[finding.severity] for finding in self.findings), default=0)
