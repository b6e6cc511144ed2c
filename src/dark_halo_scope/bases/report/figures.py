"""Which figures the page shows of a summary."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from dark_halo_scope.bases.report import plots
from dark_halo_scope.bases.report.arms import ALONE, ARMS, BASE, FULL, REFERENCES, TUNED
from dark_halo_scope.bases.report.crossings import BELOW, BEYOND
from dark_halo_scope.bases.report.wording import metric_name
from dark_halo_scope.pages.wording import count

LABELS_AXIS = "labels of the target (training and validation)"
N_BASE_AXIS = "base groups"
_MOST_PANELS = 4
_HEADROOM = 0.04


def curve_figures(summary: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Curves along both axes: a panel for each value of the other one, four of them at most, spread over its range.

    Returns:
        ``budget`` and ``n_base``: panels with ``svg`` and ``held``, the value of the other axis in labels or base
        groups; an axis that tells no more than the other has none.
    """
    curves, design = summary["curves"], summary["design"]
    if not curves:
        return {"budget": [], "n_base": []}
    ends = [end for record in curves for end in (record["interval"] or [record["mean"]])]
    room = _HEADROOM * (max(ends) - min(ends) or 1)
    y_range = (min(ends) - room, max(ends) + room)
    labels = {record["name"]: record["n_labels"] for record in design["budgets"]}
    ticks = {
        "budget": {float(n): count(n) for n in labels.values()},
        "n_base": {float(n): count(n) for n in design["n_base"]},
    }
    panels: dict[str, list[dict[str, Any]]] = {"budget": [], "n_base": []}
    for axis, other, x_label in (("budget", "n_base", LABELS_AXIS), ("n_base", "budget", N_BASE_AXIS)):
        held_values = (design["n_base"] if axis == "budget" else list(labels)) or [None]
        for held in spread(held_values) if _is_shown(axis, ticks) else []:
            series = _series(curves, design["modes"], axis, other, held, labels)
            name = f"{axis.replace('_', '')}{held_values.index(held)}"
            svg = plots.curve_plot(series, ticks[axis], x_label, metric_name(summary["metric"]), name, y_range)
            panels[axis].append({"svg": Markup(svg), "held": held if axis == "budget" else labels.get(held)})
    return panels


def _is_shown(axis: str, ticks: Mapping[str, Mapping[float, str]]) -> bool:
    """Whether an axis tells more than the other one's panels do: it has several positions, or both have only one."""
    if len(ticks[axis]) != 1:
        return len(ticks[axis]) > 1
    return axis == "budget" or not ticks["budget"]


def _series(
    curves: Sequence[Mapping[str, Any]],
    modes: Sequence[str],
    axis: str,
    other: str,
    held: Any,
    labels: Mapping[Any, int],
) -> dict[str, list[dict[str, Any]]]:
    """Records of each arm along an axis, at one value of the other."""
    series = {}
    for mode in modes:
        chosen = [record for record in curves if record["mode"] == mode and record[other] in (held, None)]
        points = [
            {"x": _position(record, axis, labels), "y": record["mean"], "ends": record["interval"]} for record in chosen
        ]
        if points:
            series[mode] = sorted(points, key=lambda point: point["x"] or 0)
    return series


def _position(record: Mapping[str, Any], axis: str, labels: Mapping[Any, int]) -> float | None:
    if record[axis] is None:
        return None
    return float(labels[record[axis]] if axis == "budget" else record[axis])


def crossing_figure(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a base is worth in labels; None where there are not two numbers of base groups."""
    design = summary["design"]
    x_ticks = {float(n): count(n) for n in design["n_base"]}
    y_ticks = {float(record["n_labels"]): count(record["n_labels"]) for record in design["budgets"]}
    series: dict[str, list[dict[str, Any]]] = {}
    for record in summary["crossings"]:
        if record["arm"] == ALONE and record["axis"] == "budget" and record["n_base"] is not None:
            ends = None if record["interval"] is None else [_number(end) for end in record["interval"]]
            point = {"x": float(record["n_base"]), "y": _number(record["at"]), "ends": ends}
            series.setdefault(record["other"], []).append(point)
    if len(x_ticks) < 2 or not series:
        return None
    svg = plots.crossing_plot(series, x_ticks, y_ticks, "crossings")
    return {"svg": Markup(svg), "modes": list(series)}


def _number(position: float | str) -> float:
    return {BELOW: -np.inf, BEYOND: np.inf}[position] if isinstance(position, str) else position


def difference_figures(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Paired differences to each reference along the label budget, at the most base groups."""
    labels = {record["name"]: record["n_labels"] for record in summary["design"]["budgets"]}
    found = []
    for reference in REFERENCES:
        series: dict[str, list[dict[str, Any]]] = {}
        for record in most_bases(summary, summary["comparisons"]["records"]):
            if record["other"] == reference and record["budget"] is not None:
                point = {"x": float(labels[record["budget"]]), "y": record["difference"], "ends": record["interval"]}
                series.setdefault(record["arm"], []).append(point | {"filled": plots.is_told_apart(record)})
        if series:
            title = f"{metric_name(summary['metric'])} minus that of {ARMS[reference].title}"
            ticks = {float(n): count(n) for n in labels.values()}
            svg = plots.difference_plot(series, ticks, LABELS_AXIS, title, f"to{reference.replace('_', '')}")
            found.append({"svg": Markup(svg), "modes": list(series)})
    return found


def group_figures(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every single group, for both kinds of fine-tuning against both references, at the most base groups."""
    labels = {record["name"]: record["n_labels"] for record in summary["design"]["budgets"]}
    found = []
    for reference in (BASE, ALONE):
        for arm in (FULL, TUNED):
            records = [
                record
                for record in most_bases(summary, summary["harm"])
                if (record["arm"], record["reference"]) == (arm, reference) and record["budget"] is not None
            ]
            if records:
                names = [count(labels[record["budget"]]) for record in records]
                title = f"{ARMS[arm].title} minus {ARMS[reference].title}"
                slug = f"groups{arm}{reference}".replace("_", "")
                svg = plots.groups_plot(records, names, LABELS_AXIS, title, slug)
                found.append({"svg": Markup(svg), "arm": arm, "reference": reference})
    return found


def most_bases(summary: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the records at the largest number of base groups."""
    largest = max(summary["design"]["n_base"], default=None)
    return [record for record in records if record["n_base"] == largest]


def spread(values: Sequence[Any]) -> list[Any]:
    """At most four of them, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_PANELS)).round().astype(int))
    return [values[k] for k in chosen]
