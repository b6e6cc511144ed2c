"""The plots of the report: curves of all arms, paired differences, crossings, and every single group.

They carry no legend: the page shows the marks of the arms once for each row of plots (`mark`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from dark_halo_scope.bases.report.arms import ALONE, ARMS, BASE, FULL, HEAD, PROBE, TUNED
from dark_halo_scope.bases.report.comparisons import AHEAD, BEHIND
from dark_halo_scope.pages.figures import CONTROL, LENS, TEXT, house_style, new_axes, to_svg

_GREEN, _PURPLE, _OCHRE = "#0a0a01", "#0a0a02", "#0a0a03"  # become the page's variables, as those of `figures` do
_CSS = {_GREEN: "var(--tuned)", _PURPLE: "var(--head)", _OCHRE: "var(--probe)"}
_STYLES: Mapping[str, dict[str, Any]] = {
    FULL: {"color": LENS, "marker": "o", "ls": "-"},
    TUNED: {"color": _GREEN, "marker": "s", "ls": "--"},
    ALONE: {"color": CONTROL, "marker": "^", "ls": "-"},
    BASE: {"color": TEXT, "marker": "D", "ls": ":"},
    HEAD: {"color": _PURPLE, "marker": "v", "ls": "-."},
    PROBE: {"color": _OCHRE, "marker": "P", "ls": (0, (5, 1, 1, 1, 1, 1))},
}
_APART = 0.012  # of the axis: intervals of different arms at one position must not hide each other
_MARGIN = 0.06

Series = Mapping[str, Sequence[Mapping[str, Any]]]  # by arm: records with `x`, `y`, `ends`, and `filled`


@house_style
def curve_plot(series: Series, ticks: Mapping[float, str], x_label: str, y_label: str, name: str, y_range: Any) -> str:
    """The metric of every arm against labels or base groups, with intervals; an arm of one value is a level line.

    Args:
        series: By arm; ``x`` is None where the arm does not depend on the axis.
        ticks: Positions that were tried, and what they are called.
        x_label: Of the axis.
        y_label: The metric.
        name: Of the figure on the page.
        y_range: Ends of the vertical axis, shared by the figures of a page.
    """
    figure, axes = _axes(ticks, x_label, y_label)
    for k, (mode, records) in enumerate(series.items()):
        if records[0]["x"] is None:
            _level(axes, mode, records[0])
        else:
            _points(axes, mode, records, ticks, k - (len(series) - 1) / 2)
    axes.set_ylim(y_range)
    return _svg(figure, name, f"{y_label} against {x_label}: {', '.join(ARMS[mode].title for mode in series)}")


@house_style
def difference_plot(series: Series, ticks: Mapping[float, str], x_label: str, y_label: str, name: str) -> str:
    """Paired differences to one arm; filled where they are told apart from zero."""
    figure, axes = _axes(ticks, x_label, y_label)
    for k, (mode, records) in enumerate(series.items()):
        _points(axes, mode, records, ticks, k - (len(series) - 1) / 2)
    axes.axhline(0, color=TEXT, lw=1, alpha=0.7)
    return _svg(figure, name, f"{y_label} against {x_label}: {', '.join(ARMS[mode].title for mode in series)}")


@house_style
def crossing_plot(series: Series, x_ticks: Mapping[float, str], y_ticks: Mapping[float, str], name: str) -> str:
    """The labels at which training on the target alone overtakes an arm, against the number of base groups.

    Args:
        series: By arm, in labels; infinite where they lie outside the range that was tried.
        x_ticks: Numbers of base groups that were tried.
        y_ticks: Labels that were tried.
        name: Of the figure on the page.
    """
    figure, axes = _axes(x_ticks, "base groups", "labels of the target at which it overtakes")
    low, high = min(y_ticks), max(y_ticks)
    for k, (mode, records) in enumerate(series.items()):
        within = [_within(record, low, high) for record in records]
        _points(axes, mode, within, x_ticks, k - (len(series) - 1) / 2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator(list(y_ticks)))
    axes.yaxis.set_major_formatter(FixedFormatter(list(y_ticks.values())))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(low / _span(y_ticks) ** _MARGIN, high * _span(y_ticks) ** _MARGIN)
    return _svg(
        figure, name, f"Labels at which the target alone overtakes {', '.join(ARMS[mode].title for mode in series)}"
    )


def _within(record: Mapping[str, Any], low: float, high: float) -> dict[str, Any]:
    """Drawn at the edge, not filled, where it lies outside."""
    ends = None if record["ends"] is None else [min(max(end, low), high) for end in record["ends"]]
    return {**record, "y": min(max(record["y"], low), high), "ends": ends, "filled": bool(np.isfinite(record["y"]))}


@house_style
def mark(mode: str) -> str:
    """Line and marker of an arm, for the key of a page."""
    figure = Figure(figsize=(0.62, 0.2))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.plot([0, 1, 2], [0, 0, 0], **_STYLES[mode], markevery=[1], ms=5.5, lw=1.6)
    axes.set(xlim=(0, 2), ylim=(-1, 1))
    axes.set_axis_off()
    return _svg(figure, f"mark{mode.replace('_', '')}", ARMS[mode].title)


@house_style
def groups_plot(
    records: Sequence[Mapping[str, Any]], names: Sequence[str], x_label: str, y_label: str, slug: str
) -> str:
    """The difference of every group at every budget, those that are harmed in another colour and shape.

    Args:
        records: Of `comparisons.harm`, one a budget.
        names: Of the budgets.
        x_label: Of the axis.
        y_label: Which difference.
        slug: Of the figure on the page.
    """
    figure, axes = new_axes()
    for x, record in enumerate(records):
        ordered = np.array(sorted(record["differences"].values()))
        aside = x + 0.26 * np.sin(2.4 * np.arange(ordered.size))  # neighbours in size lie apart
        harmed = ordered < 0
        axes.plot(aside[~harmed], ordered[~harmed], "o", color=LENS, ms=5, alpha=0.75)
        axes.plot(aside[harmed], ordered[harmed], "v", color=CONTROL, ms=5.5, alpha=0.9)
        if worst := record["most_harmed"][:1]:
            at, below = (aside[0], ordered[0]), (0, -13)
            axes.annotate(worst[0]["group"], at, below, textcoords="offset points", ha="center", fontsize=8)
        axes.plot([x - 0.36, x + 0.36], [ordered.mean()] * 2, color=TEXT, lw=2)
        axes.annotate(
            f"{record['n_harmed']} of {record['n_groups']}", (x, 1.02), ha="center", fontsize=9,
            xycoords=("data", "axes fraction"),
        )  # fmt: skip
    axes.axhline(0, color=TEXT, lw=1, alpha=0.7)
    axes.set_xticks(range(len(records)), names)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.6, len(records) - 0.4))
    axes.margins(y=0.1)
    axes.grid(visible=False, axis="x")
    told = "; ".join(f"{n}: {r['n_harmed']} of {r['n_groups']} harmed" for n, r in zip(names, records, strict=True))
    return _svg(figure, slug, f"{y_label}, every group. {told}")


def _axes(ticks: Mapping[float, str], x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """Logarithmic along what was tried."""
    figure, axes = new_axes()
    axes.set(xscale="log", xlabel=x_label, ylabel=y_label)
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(6))
    span = _span(ticks)
    axes.set_xlim(min(ticks) / span**_MARGIN, max(ticks) * span**_MARGIN)
    return figure, axes


def _span(ticks: Mapping[float, str]) -> float:
    return max(ticks) / min(ticks) if len(ticks) > 1 else 10.0


def _points(axes: Axes, mode: str, records: Sequence[Mapping[str, Any]], ticks: Mapping[float, str], at: float) -> None:
    x = np.array([record["x"] for record in records]) * _span(ticks) ** (_APART * at)
    y = np.array([record["y"] for record in records])
    ends = np.array([record["ends"] or [record["y"]] * 2 for record in records])
    style = _STYLES[mode]
    axes.plot(x, y, color=style["color"], ls=style["ls"], lw=1.6)
    length = np.clip([y - ends[:, 0], ends[:, 1] - y], 0, None)
    axes.errorbar(x, y, length, color=style["color"], ls="none", elinewidth=1.2)
    for x_one, y_one, record in zip(x, y, records, strict=True):
        face = style["color"] if record.get("filled", True) else "none"
        axes.plot(x_one, y_one, style["marker"], color=style["color"], mfc=face, ms=5.5)


def _level(axes: Axes, mode: str, record: Mapping[str, Any]) -> None:
    style = _STYLES[mode]
    axes.axhline(record["y"], color=style["color"], ls=style["ls"], lw=1.6)
    if record["ends"]:
        axes.axhspan(*record["ends"], color=style["color"], alpha=0.1, lw=0)


def _svg(figure: Figure, name: str, description: str) -> str:
    svg = to_svg(figure, name, description)
    for placeholder, css in _CSS.items():
        svg = svg.replace(placeholder, css)
    return svg


def is_told_apart(record: Mapping[str, Any]) -> bool:
    """Whether a comparison is claimed."""
    return record["verdict"] in (AHEAD, BEHIND)
