"""The page, the JSON and the table of a sweep."""

import csv
import io
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dark_halo_scope.bases.report import wording
from dark_halo_scope.bases.report.cells import Cell
from dark_halo_scope.bases.report.figures import (
    crossing_figure,
    curve_figures,
    difference_figures,
    group_figures,
    most_bases,
)
from dark_halo_scope.bases.report.headline import cannot_claim, first_crossing, headline
from dark_halo_scope.bases.report.plots import mark
from dark_halo_scope.bases.report.summary import summarise
from dark_halo_scope.bases.report.sweep import LABELS, Sweep, read_sweep
from dark_halo_scope.files import write_atomically, write_json
from dark_halo_scope.pages.page import render_page


def report(sweep: Path, store: Path, out: Path | None = None, metric: str | None = None) -> Path:
    """Write ``report.html``, ``report.json`` and ``table.csv`` of a sweep; returns the page.

    Args:
        sweep: Folder of the sweep.
        store: That it used.
        out: Folder to write to; None: that of the sweep.
        metric: On the target's test part; None: macro F1, else AUROC, else accuracy.

    Raises:
        SweepError: There is nothing to report, or it cannot be compared.
    """
    found = read_sweep(sweep, store)
    summary = summarise(found, store, metric)
    out = out or sweep
    write_json(out / "report.json", summary)
    write_atomically(out / "table.csv", _table(found).encode())
    write_atomically(out / "report.html", _page(summary).encode())
    return out / "report.html"


def _page(summary: Mapping[str, Any]) -> str:
    return render_page(
        "dark_halo_scope.bases.report",
        "report.html.j2",
        wording.FILTERS,
        summary=summary,
        headline=headline(summary),
        cannot_claim=cannot_claim(summary),
        repeats=wording.repeats(summary["design"]),
        crossing=first_crossing(summary),
        pairs=_by_pair(summary["comparisons"]["records"]),
        harm=_harm_rows(most_bases(summary, summary["harm"])),
        curves=curve_figures(summary),
        differences=difference_figures(summary),
        every_group=group_figures(summary),
        marks={mode: Markup(mark(mode)) for mode in summary["design"]["modes"]},
        worth=crossing_figure(summary),
        crossing_rows=_crossing_rows(summary["crossings"]),
        n_base_columns=[(n, n) for n in summary["design"]["n_base"]],
        budget_columns=[(record["name"], record["n_labels"]) for record in summary["design"]["budgets"]],
        labels={record["name"]: record["n_labels"] for record in summary["design"]["budgets"]},
        points=_points(summary),
    )


def _by_pair(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Comparisons of each pair of arms, and how many of them show what."""
    pairs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        pairs.setdefault((record["arm"], record["other"]), []).append(record)
    return [
        {"arm": arm, "other": other, "records": of_pair, "tally": wording.tally(of_pair)}
        for (arm, other), of_pair in pairs.items()
    ]


def _crossing_rows(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[tuple[str, str], dict[Any, Any]]]:
    """Crossings by axis, by pair, and by the value of the other axis."""
    rows: dict[str, dict[tuple[str, str], dict[Any, Any]]] = {"budget": {}, "n_base": {}}
    for record in records:
        held = record["n_base"] if record["axis"] == "budget" else record["budget"]
        rows[record["axis"]].setdefault((record["arm"], record["other"]), {})[held] = record
    return rows


def _harm_rows(records: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[Any, Any]]:
    """Records by arm and reference, and by budget."""
    rows: dict[tuple[str, str], dict[Any, Any]] = {}
    for record in records:
        rows.setdefault((record["arm"], record["reference"]), {})[record["budget"]] = record
    return rows


def _points(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Means of all arms at every point of the design, in the order of the arms; None where an arm has none."""
    means = {Cell(curve["mode"], curve["n_base"], curve["budget"]): curve for curve in summary["curves"]}
    design = summary["design"]
    budgets = [record["name"] for record in design["budgets"]]
    return [
        {"n_base": n, "budget": b, "curves": [means.get(Cell.of(mode, n, b)) for mode in design["modes"]]}
        for n, b in product(design["n_base"] or [None], budgets or [None])
        if means
    ]


def _table(sweep: Sweep) -> str:
    """A row for every job that was asked for, those without a result among them."""
    metrics = sorted({name for tuning in sweep.tunings for name in tuning.reached.metrics})
    columns = ["key", "base", "state", *LABELS, "n_labels", *metrics, "scores_sha256", "overrides"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    found = {tuning.asked.overrides: tuning for tuning in sweep.tunings}
    for job in (*(tuning.asked for tuning in sweep.tunings), *sweep.missing):
        row: dict[str, Any] = {
            "key": job.key,
            "base": job.base,
            "state": job.state,
            "overrides": " ".join(job.overrides),
        }
        row |= {name: job.labels.get(name) for name in LABELS}
        if tuning := found.get(job.overrides):
            reached = tuning.reached
            row |= {"n_labels": reached.n_labels, "scores_sha256": reached.scores_sha256, **reached.metrics}
        writer.writerow(row)
    return text.getvalue()
