"""Gates: one question to a dataset each, with its verdict."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PASS, UNMEASURED, CONCERN, FAIL = "pass", "not measured", "concern", "fail"
_GRAVITY = (UNMEASURED, PASS, CONCERN, FAIL)


@dataclass(frozen=True)
class Gate:
    """The outcome of one check.

    Attributes:
        name: What was asked.
        verdict: ``pass``, ``concern``, ``fail`` or ``not measured``.
        finding: What was found, with its numbers.
        rule: When the gate is a concern, and when it fails.
        remedy: What to do about it; empty where there is nothing to do.
    """

    name: str
    verdict: str
    finding: str
    rule: str
    remedy: str = ""


def verdict_above(value: float, limits: Mapping[str, float]) -> str:
    """Verdict of a number that is better small, by its limits ``concern`` and ``fail``."""
    return FAIL if value > limits["fail"] else CONCERN if value > limits["concern"] else PASS


def worst(verdicts: Iterable[str]) -> str:
    """The gravest of several verdicts; what was not measured weighs nothing."""
    return max(verdicts, key=_GRAVITY.index, default=UNMEASURED)


def rule_above(what: str, limits: Mapping[str, float]) -> str:
    """The rule of `verdict_above` in words."""
    return f"{what} above {limits['concern']:g} is a concern, above {limits['fail']:g} fails"


def listed(items: list[str], most: int = 4) -> str:
    """The first few of several, and how many more there are."""
    more = f", and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
