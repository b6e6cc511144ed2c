"""The plots of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from dark_halo_scope.evaluation.rates import BINOMIAL
from dark_halo_scope.pages.figures import CONTROL, LENS, TEXT, house_style, new_axes, to_svg

MIN_STAMPS_PER_BIN = 10
_NAMED_REGIONS = 40
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _power_of_ten(value: float, _: int) -> str:
    if value >= 0.01:
        return f"{100 * value:g} %"
    return f"10{str(round(np.log10(value))).translate(_SUPERSCRIPT)}"


@house_style
def roc_plot(roc: Mapping[str, Any], operating_points: Sequence[Mapping[str, Any]], auroc: float) -> str | None:
    """ROC over the false-positive rates that the sample supports, on a log axis, with its bootstrap band.

    None where the sample supports no rate below one half.
    """
    if roc["fpr"][0] > 0.5:
        return None
    figure, axes = new_axes()
    axes.step(roc["fpr"], roc["tpr"], where="post", color=LENS, label=f"test, AUROC {auroc:.3f}")
    if roc["low"] is not None:
        axes.fill_between(
            roc["fpr"], roc["low"], roc["high"], step="post", color=LENS, alpha=0.2, lw=0, label="95 % interval"
        )
    axes.plot(roc["fpr"], roc["fpr"], color=TEXT, lw=1, ls=":", alpha=0.6, label="chance")
    tests = [point["test"] for point in operating_points if point["target_fpr"] is not None and point["test"]]
    rates = [(test["false_positive_rate"]["rate"], test["completeness"]["rate"]) for test in tests]
    if shown := [(x, y) for x, y in rates if x >= roc["fpr"][0]]:
        axes.plot(*zip(*shown, strict=True), "o", color=CONTROL, ms=7, label="threshold fixed on validation")
    axes.set(xscale="log", xlim=(roc["fpr"][0], 1), ylim=(0, 1.02))
    axes.xaxis.set_major_formatter(FuncFormatter(_power_of_ten))
    within_a_decade = roc["fpr"][0] > 0.03
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5) if within_a_decade else "auto"))
    axes.xaxis.set_minor_formatter(FuncFormatter(_power_of_ten) if within_a_decade else NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.set(xlabel="false-positive rate (controls called lenses)", ylabel="completeness (lenses found)")
    axes.legend(loc="best", fontsize=9)
    return to_svg(figure, "roc", f"ROC curve of the test split on a logarithmic axis; AUROC {auroc:.3f}")


@house_style
def reliability_plot(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Observed against predicted lens fraction, before and after; bins of fewer than ten stamps are left out."""
    figure, axes = new_axes()
    axes.plot([0, 1], [0, 1], color=TEXT, lw=1, ls=":", alpha=0.6, label="perfect")
    shown = ((before, CONTROL, "s", "--", "before"), (after, LENS, "o", "-", "after"))
    for state, colour, marker, line, name in shown:
        bins = {column: np.array(values) for column, values in state["bins"].items()}
        enough = bins["n"] >= MIN_STAMPS_PER_BIN
        predicted, observed = bins["predicted"][enough], bins["observed"][enough]
        low, high = bins["interval"][enough].T
        label = f"{name}, ECE {state['ece']:.3f}"
        ends = np.clip([observed - low, high - observed], 0, None)
        axes.errorbar(
            predicted,
            observed,
            ends,
            color=colour,
            marker=marker,
            ls=line,
            ms=4.5,
            lw=1.5,
            elinewidth=1,
            label=label,
        )
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="predicted probability", ylabel="observed fraction of lenses")
    axes.legend(loc="upper left", fontsize=9)
    description = f"Reliability diagram; ECE {before['ece']:.3f} before and {after['ece']:.3f} after calibration"
    return to_svg(figure, "reliability", description)


@house_style
def completeness_plot(stratum: Mapping[str, Any]) -> str | None:
    """Completeness by one property; a point is open where its interval is binomial. None where no bin has a rate."""
    bins = [record for record in stratum["bins"] if record["rate"] is not None]
    if not bins:
        return None
    figure, axes = new_axes()
    position = np.arange(len(bins))
    rate = np.array([record["rate"] for record in bins])
    low, high = np.array([record["interval"] for record in bins]).T
    ends = np.clip([rate - low, high - rate], 0, None)
    axes.errorbar(position, rate, ends, color=LENS, lw=1, ls=":", elinewidth=1.8, capsize=3)
    is_binomial = np.array([record["method"] == BINOMIAL for record in bins])
    for chosen, face in ((~is_binomial, LENS), (is_binomial, "none")):
        axes.plot(position[chosen], rate[chosen], "o", ms=6, color=LENS, mfc=face)
    for x, record in zip(position, bins, strict=True):
        axes.annotate(str(record["n"]), (x, 1.06), ha="center", fontsize=8.5)
    axes.set_xticks(position, [bin_label(record) for record in bins], rotation=30 if len(bins) > 5 else 0)
    axes.set(ylim=(0, 1.12), xlim=(-0.5, len(bins) - 0.5), ylabel="completeness")
    axes.yaxis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.set_xlabel(f"{stratum['title']} ({stratum['unit']})" if stratum["unit"] else stratum["title"])
    return to_svg(figure, stratum["column"].replace("_", ""), f"Completeness by {stratum['title']}")


def bin_label(record: Mapping[str, Any]) -> str:
    """Write the ends of a bin: ``0.5-1``, ``< 2``, ``> 50``, or the one value it holds."""
    if record["low"] is None:
        return f"< {record['high']:g}"
    if record["high"] is None:
        return f"> {record['low']:g}"
    low, high = f"{record['low']:.4g}", f"{record['high']:.4g}"
    return low if low == high else f"{low}\N{EN DASH}{high}"


@house_style
def region_plot(records: Sequence[Mapping[str, Any]], key: str, name: str, quantity: str) -> str:
    """One value a region with its interval, in the order given; named below where there is room.

    Args:
        records: with ``name``, `key` and ``ends``, the interval.
        key: what is shown.
        name: of the figure on the page.
        quantity: what the axis says.
    """
    figure, axes = new_axes()
    values, ends = np.array([record[key] for record in records]), np.array([record["ends"] for record in records])
    position = np.arange(len(records))
    length = np.clip([values - ends[:, 0], ends[:, 1] - values], 0, None)
    size = 5 if len(records) <= _NAMED_REGIONS else 2.5
    axes.errorbar(position, values, length, color=LENS, marker="o", ms=size, ls="none", elinewidth=1)
    if len(records) <= _NAMED_REGIONS:
        axes.set_xticks(position, [record["name"] for record in records], rotation=90, fontsize=7.5)
    axes.set(ylabel=quantity, xlabel=f"{len(records)} regions, in order", xlim=(-0.8, len(records) - 0.2))
    if values.min() < 0:
        axes.axhline(0, color=TEXT, lw=1, ls=":", alpha=0.6)
    return to_svg(figure, name, f"{quantity} in every region")


@house_style
def difference_plot(records: Sequence[Mapping[str, Any]], title: str, reference: str, slug: str) -> str:
    """Differences of one metric to the first score file, each with its interval."""
    figure = Figure(figsize=(5.4, 1.1 + 0.42 * len(records)), layout="constrained")
    axes = figure.add_subplot()
    for position, record in enumerate(records):
        ends = record["interval"] or [record["difference"]] * 2
        length = np.clip([[record["difference"] - ends[0]], [ends[1] - record["difference"]]], 0, None)
        told_apart = record["verdict"] in ("better", "worse")
        face = LENS if told_apart else "none"
        axes.errorbar(
            record["difference"], position, xerr=length, color=LENS, marker="o", mfc=face, ms=7, capsize=3, lw=1.6
        )
    axes.axvline(0, color=TEXT, lw=1, ls=":", alpha=0.6)
    axes.set_yticks(range(len(records)), [record["name"] for record in records])
    axes.set(ylim=(len(records) - 0.4, -0.6))
    axes.set_title(title, loc="left", fontsize=10.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return to_svg(figure, slug, f"{title} of each score file minus that of {reference}")


@house_style
def score_histogram(logits: ArrayLike, labels: ArrayLike, threshold: float) -> str:
    """Logits of lenses and controls, on a log scale of counts so that the tails can be seen."""
    scores, is_lens = np.asarray(logits), np.asarray(labels) == 1
    figure, axes = new_axes()
    edges = np.linspace(scores.min(), scores.max() + 1e-6, 41).tolist()
    axes.hist(scores[~is_lens], edges, color=CONTROL, alpha=0.35, label=f"{(~is_lens).sum()} controls")
    axes.hist(scores[~is_lens], edges, color=CONTROL, histtype="step", ls="--", lw=1.5)
    axes.hist(scores[is_lens], edges, color=LENS, alpha=0.35, label=f"{is_lens.sum()} lenses")
    axes.hist(scores[is_lens], edges, color=LENS, histtype="step", lw=1.5)
    axes.axvline(threshold, color=TEXT, lw=1.2, ls=":", label="threshold")
    axes.set(yscale="log", ylim=(0.7, None), xlabel="logit (uncalibrated score)", ylabel="test stamps per bin")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=3)
    return to_svg(figure, "scores", "Histogram of test logits of lenses and controls")


@house_style
def training_plot(
    curves: Mapping[str, NDArray[np.float64]], name: str, quantity: str, best_epoch: int | None, monitor: str
) -> str:
    """Curves by epoch, each an (n, 2) array of epoch and value; the first is training where there are two."""
    figure, axes = new_axes()
    styles = [(LENS, "-", "o"), (CONTROL, "--", "s"), (TEXT, ":", "^")]
    for (label, curve), (colour, line, marker) in zip(curves.items(), styles, strict=False):
        axes.plot(curve[:, 0], curve[:, 1], color=colour, ls=line, marker=marker, ms=3.5, label=label)
    if best_epoch is not None:
        axes.axvline(best_epoch, color=TEXT, lw=1, ls=":", label=f"best {monitor} (epoch {best_epoch})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=quantity)
    axes.legend(fontsize=9)
    return to_svg(figure, name, f"{quantity} by epoch: {', '.join(curves)}")
