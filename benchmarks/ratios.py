"""What the loader benchmark is made for: ours over the reference, over the best public loader and over the ceiling."""

from typing import Any, TypedDict

from benchmarks.contender import CEILING, DIRECT, PUBLIC, REFERENCE, STORE

Entry = dict[str, Any]


class Ratio(TypedDict):
    """Stamps a second of one contender over those of another, with as many ``workers`` each, or ``cold``."""

    of: str
    over: str
    workers: str
    ratio: float


def ratios(entries: list[Entry]) -> list[Ratio]:
    """The ratios of medians that can be formed of what was measured; a store is held against equal precision only."""
    return [
        {
            "of": ours["name"],
            "over": f"{other['name']}, {other['precision']}",
            "workers": kind,
            "ratio": _rate(ours, kind) / _rate(other, kind),
        }
        for ours in entries
        if ours["peer"] in (DIRECT, STORE)
        for kind in ours["summary"]
        for other in _opponents(ours, kind, entries)
    ]


def _opponents(ours: Entry, kind: str, entries: list[Entry]) -> list[Entry]:
    measured = [entry for entry in entries if kind in entry["summary"]]
    if ours["peer"] == DIRECT:
        return [entry for entry in measured if entry["peer"] == REFERENCE]
    equal = [entry for entry in measured if entry["precision"] == ours["precision"]]
    public = sorted((entry for entry in equal if entry["peer"] in PUBLIC), key=lambda entry: _rate(entry, kind))
    return public[-1:] + [entry for entry in equal if entry["peer"] == CEILING]


def _rate(entry: Entry, kind: str) -> float:
    rate: float = entry["summary"][kind]["stamps_per_s"]
    return rate
