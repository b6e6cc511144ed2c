"""The plot of a matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dark_halo_scope.pages.figures import CONTROL, LENS, house_style, to_svg

_SIDES = (("reference", CONTROL, "s", -0.16, "reference: shown everything"), ("left_out", LENS, "o", 0.16, "left out"))


@house_style
def dot_plot(arms: Sequence[dict[str, Any]], measure: str, title: str, *, as_percent: bool) -> str:
    """One measure of the reference and of the runs that were not shown these stamps, arm by arm.

    Args:
        arms: Of `summary.summarise`, each with this measure.
        measure: Its key.
        title: What the axis says.
        as_percent: Whether the measure is a rate.
    """
    figure = Figure(figsize=(5.4, 1.35 + 0.46 * len(arms)), layout="constrained")
    axes = figure.add_subplot()
    for side, colour, marker, offset, label in _SIDES:
        sides = [arm["degradation"]["measures"][measure][side] for arm in arms]
        values = np.array([record["mean"] for record in sides])
        ends = np.array([record["interval"] or [record["mean"]] * 2 for record in sides])
        length = np.clip([values - ends[:, 0], ends[:, 1] - values], 0, None)
        at = np.arange(len(arms)) + offset
        axes.errorbar(
            values, at, xerr=length, color=colour, marker=marker, ls="none", ms=6, elinewidth=1.6, label=label
        )
        for position, record in zip(at, sides, strict=True):
            seeds = record["seeds"]
            axes.plot(seeds, [position] * len(seeds), "|", color=colour, ms=7, mew=1, alpha=0.75)
    axes.set_yticks(range(len(arms)), [arm["title"] for arm in arms])
    axes.set(ylim=(len(arms) - 0.45, -0.55), xlabel=title)
    if as_percent:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    figure.legend(loc="outside upper left", ncols=2, fontsize=9)
    told = "; ".join(
        f"{arm['title']}: {arm['degradation']['measures'][measure]['reference']['mean']:.3f} and "
        f"{arm['degradation']['measures'][measure]['left_out']['mean']:.3f}"
        for arm in arms
    )
    return to_svg(figure, measure.replace("_", ""), f"{title}, reference and left out. {told}")
