"""What a review says: checks with their evidence, and the verdict on the question that they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dark_halo_scope.audit.gates import FAIL, PASS, UNMEASURED, worst

SECTIONS = {
    "A": "Data",
    "B": "Model",
    "C": "Training",
    "D": "Evaluation",
    "E": "Distribution and speed",
    "F": "Science",
    "G": "Code",
    "H": "Publication",
}


@dataclass(frozen=True)
class Figure:
    """A plot as evidence: an <svg> element and the words below it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Check:
    """One measurement and what it says about the question.

    Attributes:
        name: What was looked at.
        verdict: ``pass``, ``concern``, ``fail`` or ``not measured``.
        finding: What was found, with its number and what is behind it.
        value: The number, for machines; None where the finding has no single one.
        source: File that the number stands in, below the run folder; empty where this review measured it itself.
        remedy: What to do about it, told unless it passes.
        command: The command that does it, told likewise.
        figure: A plot of it.
    """

    name: str
    verdict: str
    finding: str
    value: float | str | None = None
    source: str = ""
    remedy: str = ""
    command: str = ""
    figure: Figure | None = field(default=None, repr=False)

    @property
    def to_do(self) -> tuple[str, str]:
        """Remedy and command, both empty where there is nothing to do."""
        return ("", "") if self.verdict == PASS else (self.remedy, self.command)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the plot."""
        remedy, command = self.to_do
        kept = {name: value for name, value in vars(self).items() if name != "figure"}
        return kept | {"remedy": remedy, "command": command}

    @classmethod
    def of_gate(cls, gate: Mapping[str, Any], source: str) -> "Check":
        """A gate of the audit."""
        return cls(gate["name"], gate["verdict"], gate["finding"], source=source, remedy=gate["remedy"])

    @classmethod
    def missing(cls, name: str, why: str, command: str = "", remedy: str = "") -> "Check":
        """What was not measured, and the command that would."""
        return cls(name, UNMEASURED, why, remedy=remedy, command=command)


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    Attributes:
        number: 1 to 26.
        section: Key of `SECTIONS`.
        title: The question.
        critical: Whether a fail here is a NO-GO.
        needs_all: Whether one check that was not measured leaves the question open, unless another gives concern.
        checks: The evidence.
    """

    number: int
    section: str
    title: str
    critical: bool
    needs_all: bool
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> str:
        """The gravest of the checks; what was not measured weighs nothing, or more than a pass: see `needs_all`."""
        gravest = worst(check.verdict for check in self.checks)
        return UNMEASURED if self.needs_all and gravest == PASS and self.with_verdict(UNMEASURED) else gravest

    @property
    def stops(self) -> bool:
        """Whether this answer alone is a NO-GO."""
        return self.critical and self.verdict == FAIL

    def with_verdict(self, verdict: str) -> list[Check]:
        """The checks with this verdict."""
        return [check for check in self.checks if check.verdict == verdict]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the plots."""
        head = {name: getattr(self, name) for name in ("number", "section", "title", "critical", "verdict")}
        return head | {"checks": [check.to_dict() for check in self.checks]}
