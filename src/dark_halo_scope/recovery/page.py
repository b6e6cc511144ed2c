"""The page and the JSON of a recovery."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, PercentFormatter

from dark_halo_scope.evaluation.wording import threshold_name
from dark_halo_scope.files import write_atomically, write_json
from dark_halo_scope.pages.figures import CONTROL, LENS, TEXT, house_style, new_axes, to_svg
from dark_halo_scope.pages.page import render_page
from dark_halo_scope.pages.wording import target_percent
from dark_halo_scope.recovery.recall import ALL

_STYLES = ((LENS, "-"), (CONTROL, "--"), (TEXT, ":"), (LENS, "-."), (CONTROL, ":"))


def write_page(out: Path, recovery: dict[str, Any]) -> Path:
    """Write ``recovery.json`` and ``recovery.html`` into a folder; see `recall.recovery`."""
    write_json(out / "recovery.json", recovery)
    curve = recovery_curve(recovery["lenses"], recovery["counts"]["scored_stamps"]) if recovery["lenses"] else None
    page = render_page(
        "dark_halo_scope.recovery",
        "recovery.html.j2",
        {"cut_name": cut_name, "short_name": short_name},
        recovery=recovery,
        cuts=[cut for cut in recovery["cuts"] if cut["logit"] is not None],
        point=next((cut for cut in recovery["cuts"] if cut["name"] == recovery["decided_by"]), None),
        everything=next(group for group in recovery["groups"] if group["kind"] == ALL),
        curve=Markup(curve) if curve else None,
    )
    write_atomically(out / "recovery.html", page.encode())
    return out / "recovery.html"


def cut_name(cut: Mapping[str, Any]) -> str:
    """Say where a cut lies."""
    if cut["top_fraction"] is not None:
        return f"the highest {target_percent(cut['top_fraction'])} of the scored stamps"
    return threshold_name(cut)


def short_name(cut: Mapping[str, Any]) -> str:
    """The same for the head of a column."""
    if cut["top_fraction"] is not None:
        return f"Top {target_percent(cut['top_fraction'])}"
    return (
        f"{cut['target_fp_per_deg2']:g} FP/deg²"
        if "target_fp_per_deg2" in cut
        else f"FPR {target_percent(cut['target_fpr'])}"
    )


@house_style
def recovery_curve(lenses: Sequence[Mapping[str, Any]], n_scored: int) -> str:
    """Fraction of the known lenses among the highest-ranked stamps, by tier."""
    figure, axes = new_axes()
    tiers = sorted({lens["tier"] for lens in lenses}, key=lambda tier: (tier != "primary", tier))
    for (colour, line), tier in zip(_STYLES, tiers, strict=False):
        tops = np.sort([lens["top_fraction"] for lens in lenses if lens["tier"] == tier])
        recovered = np.arange(1, len(tops) + 1) / len(tops)
        at, height = [1 / n_scored, *tops, 1.0], [0.0, *recovered, 1.0]
        axes.step(at, height, where="post", color=colour, ls=line, label=f"{tier} ({len(tops)})")
    chance = np.geomspace(1 / n_scored, 1)
    axes.plot(chance, chance, color=TEXT, lw=1, ls=":", alpha=0.5, label="chance")
    axes.set(xscale="log", xlim=(1 / n_scored, 1), ylim=(0, 1.02))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.set(xlabel="scored stamps looked at, highest logit first", ylabel="known lenses recovered")
    axes.legend(loc="upper left", fontsize=9)
    return to_svg(figure, "recovery", "Fraction of the known lenses recovered by the fraction of stamps looked at")
