"""The plots of an audit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.pages.figures import CONTROL, LENS, TEXT, house_style, new_axes, to_svg

_BINS = 40


@house_style
def auroc_plot(baselines: Sequence[Mapping[str, Any]], limits: Mapping[str, float], name: str) -> str:
    """AUROC of trivial classifiers on val with their intervals, beside the limits of their gate."""
    figure, axes = new_axes()
    figure.set_figheight(1.1 + 0.27 * len(baselines))
    place = np.arange(len(baselines))[::-1]
    value = np.array([baseline["auroc"] for baseline in baselines])
    low, high = np.array([baseline["interval"] for baseline in baselines]).T
    axes.errorbar(value, place, xerr=np.clip([value - low, high - value], 0, None), fmt="o", ms=5, color=LENS, lw=1.6)
    axes.axvline(0.5, color=TEXT, lw=1, ls=":", alpha=0.6)
    axes.axvline(limits["concern"], color=CONTROL, lw=1.3, ls="--")
    axes.axvline(limits["fail"], color=CONTROL, lw=1.3)
    for verdict, at in limits.items():
        axes.annotate(verdict, (at, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8.5)
    axes.set_yticks(place, [baseline["name"] for baseline in baselines], fontsize=9)
    axes.grid(visible=False, axis="y")
    axes.set(
        xlim=(min(0.45, low.min() - 0.02), 1.01), ylim=(-0.6, len(baselines) - 0.4), xlabel="AUROC on validation stamps"
    )
    shown = ", ".join(f"{baseline['name']} {baseline['auroc']:.3f}" for baseline in baselines)
    return to_svg(figure, name, f"AUROC of trivial classifiers: {shown}")


@house_style
def class_histogram(control: NDArray[np.float64], lens: NDArray[np.float64], quantity: str, name: str) -> str | None:
    """A number of lenses and of controls, the central 99 %; None where one class has no value."""
    control, lens = control[np.isfinite(control)], lens[np.isfinite(lens)]
    if not len(control) or not len(lens):
        return None
    low, high = np.quantile(np.concatenate([control, lens]), [0.005, 0.995])
    figure, axes = new_axes()
    figure.set_figheight(2.9)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1).tolist()
    for values, colour, line, label in ((control, CONTROL, "--", "controls"), (lens, LENS, "-", "lenses")):
        axes.hist(values, edges, density=True, color=colour, alpha=0.25)
        axes.hist(
            values, edges, density=True, color=colour, histtype="step", ls=line, lw=1.5, label=f"{len(values)} {label}"
        )
    axes.set(xlabel=quantity, ylabel="density")
    axes.legend(fontsize=9)
    return to_svg(figure, name, f"Distribution of {quantity} in lenses and controls")
