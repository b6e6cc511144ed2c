"""The page and the JSON of a comparison of score files."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from dark_halo_scope.evaluation import plots
from dark_halo_scope.evaluation.report import METRIC_NAMES
from dark_halo_scope.files import write_atomically, write_json
from dark_halo_scope.pages.page import render_page


def write_comparison(out: Path, comparison: dict[str, Any]) -> Path:
    """Write ``comparison.json`` and ``comparison.html`` into a folder; see `comparison.compare`."""
    write_json(out / "comparison.json", comparison)
    reference = comparison["files"][0]["name"]
    figures = [
        Markup(
            plots.difference_plot(
                [record for record in comparison["differences"] if record["metric"] == metric],
                METRIC_NAMES[metric],
                reference,
                f"difference{position}",
            )
        )
        for position, metric in enumerate(comparison["metrics"])
    ]
    page = render_page(
        "dark_halo_scope.evaluation",
        "comparison.html.j2",
        comparison=comparison,
        reference=reference,
        metric_names=METRIC_NAMES,
        figures=figures,
    )
    write_atomically(out / "comparison.html", page.encode())
    return out / "comparison.html"
