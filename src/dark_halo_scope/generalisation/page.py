"""The page and the JSON of a matrix."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from dark_halo_scope.files import write_atomically, write_json
from dark_halo_scope.generalisation import wording
from dark_halo_scope.generalisation.arms import REFERENCE, YARDSTICK
from dark_halo_scope.generalisation.degradation import AUROC, DEPLOYED_FPR, DEPLOYED_TPR, EQUAL_RATE
from dark_halo_scope.generalisation.plots import dot_plot
from dark_halo_scope.pages.page import render_page
from dark_halo_scope.pages.wording import target_percent


def write_page(out: Path, summary: dict[str, Any]) -> Path:
    """Write ``generalisation.json`` and ``generalisation.html`` into a folder; see `summary.summarise`."""
    write_json(out / "generalisation.json", summary)
    rate = target_percent(summary["target_fpr"])
    names = {
        EQUAL_RATE: f"Completeness at a false-positive rate of {rate}",
        AUROC: "AUROC",
        DEPLOYED_TPR: "Completeness at the deployed threshold",
        DEPLOYED_FPR: "False-positive rate at the deployed threshold",
    }
    arms = [arm for arm in summary["arms"] if arm["name"] != REFERENCE and arm["degradation"]]
    figures = {
        name: {
            "svg": Markup(dot_plot(shown, name, names[name], as_percent=name != AUROC)),
            "n_missing": len(arms) - len(shown),
        }
        for name in (EQUAL_RATE, AUROC)
        if (shown := [arm for arm in arms if name in arm["degradation"]["measures"]])
    }
    findings = [(arm, *wording.finding(arm, summary["target_fpr"])) for arm in arms]
    page = render_page(
        "dark_halo_scope.generalisation",
        "generalisation.html.j2",
        wording.FILTERS,
        summary=summary,
        reference=next((arm for arm in summary["arms"] if arm["name"] == REFERENCE), None),
        arms=arms,
        findings=[finding for finding in findings if finding[0]["name"] != YARDSTICK],
        yardstick=next((finding for finding in findings if finding[0]["name"] == YARDSTICK), None),
        measure_names=names,
        figures=figures,
    )
    write_atomically(out / "generalisation.html", page.encode())
    return out / "generalisation.html"
