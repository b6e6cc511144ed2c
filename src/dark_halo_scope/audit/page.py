"""The page of an audit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dark_halo_scope.audit import plots
from dark_halo_scope.audit.baselines import BLIND, METADATUM, SCALAR, SEVERAL
from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS, UNMEASURED
from dark_halo_scope.pages.page import render_page
from dark_halo_scope.pages.wording import EN_DASH

SYMBOLS = {PASS: "✓", CONCERN: "!", FAIL: "✕", UNMEASURED: "?"}
_SHOWN_SCALARS = 12


def render_audit(record: Mapping[str, Any], histograms: Mapping[str, Any]) -> str:
    """The page for ``record``, the content of ``audit.json``.

    Args:
        record: See `audit_dataset`.
        histograms: Values of controls and of lenses by name.
    """
    tally = {verdict: [g for g in record["gates"] if g["verdict"] == verdict] for verdict in SYMBOLS}
    return render_page(
        "dark_halo_scope.audit",
        "audit.html.j2",
        {"brief": _brief},
        audit=record,
        name=Path(record["dataset"]["root"].rstrip("/")).name,
        tally=tally,
        symbols=SYMBOLS,
        auroc_plots=_auroc_plots(record),
        histograms=[
            Markup(svg)
            for k, (name, (control, lens)) in enumerate(histograms.items())
            if (svg := plots.class_histogram(control, lens, name, f"histogram{k}"))
        ],
        furthest=sorted(
            (d for d in record["metadata"]["distributions"] if d["between_classes"]),
            key=lambda d: -d["between_classes"]["ks"],
        ),
    )


def _auroc_plots(record: Mapping[str, Any]) -> list[tuple[Markup, str]]:
    limits = record["settings"]["limits"]
    wanted = (
        ((SCALAR,), "scalar_auroc", "Single numbers measured on the pixels, the strongest twelve."),
        ((SEVERAL,), "several_auroc", "Several numbers together; none of these sees the shape of an arc."),
        ((BLIND, METADATUM), "metadata_auroc", "What should know nothing of the class: metadata and empty sky."),
    )
    drawn = []
    for kinds, key, caption in wanted:
        shown = [b for kind in kinds for b in record["baselines"] if b["kind"] == kind][:_SHOWN_SCALARS]
        if shown:
            drawn.append((Markup(plots.auroc_plot(shown, limits[key], key.replace("_", ""))), caption))
    return drawn


def _brief(groups: list[dict[str, Any]], split: str, kind: str) -> str:
    """Median of a split and class, and the range that holds two thirds of its values."""
    quantiles = next(group["quantiles"] for group in groups if (group["split"], group["class"]) == (split, kind))
    return f"{quantiles[1]:.4g} ({quantiles[0]:.4g} to {quantiles[2]:.4g})" if quantiles else EN_DASH
