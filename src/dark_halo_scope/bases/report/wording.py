"""The words and numbers of the report."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dark_halo_scope.bases.report.arms import ARMS
from dark_halo_scope.bases.report.comparisons import AHEAD, BEHIND
from dark_halo_scope.bases.report.crossings import BELOW
from dark_halo_scope.bases.report.sweep import ENDED_WELL
from dark_halo_scope.pages.wording import EN_DASH, THIN, count, significant

_METRICS = {"macro_f1": "macro F1", "auroc": "AUROC"}


def metric_name(metric: str) -> str:
    """As a reader calls it."""
    return _METRICS.get(metric, metric.replace("_", " "))


def title(mode: str) -> str:
    """An arm in words."""
    return ARMS[mode].title


def trained_on(mode: str) -> str:
    """What an arm starts from and learns from."""
    return ARMS[mode].trained_on


def capital(text: str) -> str:
    """For the beginning of a sentence; what follows the first letter stays."""
    return text[0].upper() + text[1:]


def plural(n: int, noun: str) -> str:
    """A count and what is counted: ``1 group``, ``12 groups``."""
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def hours(value: float) -> str:
    """A stretch of training in the unit that suits it: ``42 seconds``, ``12 minutes``, ``3.1 hours``."""
    for unit, in_hours in (("hours", 1.0), ("minutes", 1 / 60)):
        if value >= in_hours:
            n = value / in_hours
            return f"{significant(n) if n < 10 else count(round(n))} {unit}"
    return f"{round(3600 * value)} seconds"


def lacks(cells: Sequence[Mapping[str, Any]]) -> str:
    """Which arm a group lacks where; of many, the first."""
    first = cells[0]
    place = [plural(first["n_base"], "base group")] if first["n_base"] is not None else []
    place += [f"budget {first['budget']}"] if first["budget"] is not None else []
    more = f" and {plural(len(cells) - 1, 'more point')}" if len(cells) > 1 else ""
    return f"{title(first['mode'])} at {', '.join(place)}{more}"


def missing_states(states: Mapping[str, int]) -> str:
    """How many jobs ended otherwise than well: ``12 blocked, 3 failed``."""
    return ", ".join(f"{count(n)} {state}" for state, n in sorted(states.items()) if state not in ENDED_WELL)


def repeats(design: Mapping[str, Any]) -> str:
    """What each group's number is the mean over; a target is in one fold."""
    varied = {name: design["repeats"][name] for name in ("replicate", "seed")}
    return ", ".join(plural(len(values), name) for name, values in varied.items() if len(values) > 1)


def position(record: Mapping[str, Any], at: float) -> str:
    """A place on the axis of a crossing: ``264 labels``, ``1 base group``."""
    noun = "label" if record["axis"] == "budget" else "base group"
    return f"{_bare(at)} {noun}{'' if at == 1 else 's'}"


def crossing_at(record: Mapping[str, Any]) -> str:
    """Where a crossing lies, for a table."""
    return "no crossing" if isinstance(record["at"], str) else _bare(record["at"])


def crossing_side(record: Mapping[str, Any]) -> str:
    """Which arm is the better one where there is no crossing."""
    return "ahead all along" if record["at"] == BELOW else "not ahead in range"


def crossing_interval(record: Mapping[str, Any]) -> str:
    """Both ends; nothing where there are none."""
    if record["interval"] is None:
        return ""
    low, high = (_end(record, end) for end in record["interval"])
    return low if low == high else f"{low} to {high}"


def _end(record: Mapping[str, Any], end: float | str) -> str:
    low, high = record["range"]
    if isinstance(end, str):
        return f"below {_bare(low)}" if end == BELOW else f"beyond {_bare(high)}"
    return _bare(end)


def _bare(at: float) -> str:
    return count(round(at)) if at >= 10 or at == round(at) else significant(at)


def harm_interval(record: Mapping[str, Any]) -> str:
    """Of a share of groups, in whole per cent."""
    return EN_DASH.join(f"{100 * end:.0f}" for end in record["interval"]) + f"{THIN}%"


def tally(records: Sequence[Mapping[str, Any]]) -> tuple[int, int, int]:
    """At how many points one arm is shown to be ahead of the other, behind it, or neither."""
    ahead, behind = (sum(record["verdict"] == verdict for record in records) for verdict in (AHEAD, BEHIND))
    return ahead, behind, len(records) - ahead - behind


FILTERS: Mapping[str, Callable[..., str]] = {
    "metric_name": metric_name,
    "title": title,
    "trained_on": trained_on,
    "capital": capital,
    "plural": plural,
    "hours": hours,
    "lacks": lacks,
    "missing_states": missing_states,
    "crossing_at": crossing_at,
    "crossing_side": crossing_side,
    "crossing_interval": crossing_interval,
    "harm_interval": harm_interval,
}
