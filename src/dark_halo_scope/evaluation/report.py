"""The report of a run: one self-contained HTML page, made from the files of the run folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from numpy.typing import NDArray

from dark_halo_scope.evaluation import plots
from dark_halo_scope.evaluation.examples import ReadStamps, choose_examples, render_examples
from dark_halo_scope.evaluation.metrics import PARTIAL_AUROC_FPR, TARGET_FPRS, fpr_name
from dark_halo_scope.evaluation.scores import ScoreFileError, read_scores
from dark_halo_scope.evaluation.wording import threshold_name
from dark_halo_scope.files import sha256, write_atomically
from dark_halo_scope.pages.page import render_page
from dark_halo_scope.pages.wording import target_percent

METRIC_NAMES = {
    "auroc": "AUROC",
    "ap": "Average precision",
    f"pauc_fpr_{fpr_name(PARTIAL_AUROC_FPR)}": f"Partial AUROC, FPR up to {target_percent(PARTIAL_AUROC_FPR)}",
} | {f"tpr_at_fpr_{fpr_name(fpr)}": f"Completeness at FPR {target_percent(fpr)}" for fpr in TARGET_FPRS}
LOSS_CURVES = {"train/loss": "training", "val/loss": "validation"}
VALIDATION_CURVES = {"val/auroc": "AUROC", "val/tpr_at_fpr_1e-2": "completeness at FPR 1 %"}


def write_report(run_dir: Path, read_stamps: ReadStamps | None = None) -> Path:
    """Write ``report.html`` into a run folder that holds ``scores.parquet`` and ``metrics.json``.

    ``history.json``, ``quarantine/summary.json``, ``provenance.json`` and ``config.yaml`` are used where they are
    there; the page says what is missing.

    Args:
        run_dir: the run folder.
        read_stamps: maps dataset rows (n,) to pixels (n, 3, 64, 64) in nanomaggies; None where the survey is
            out of reach.

    Returns:
        The path of the page.

    Raises:
        ScoreFileError: the metrics were computed from another score file.
    """
    scores, _ = read_scores(run_dir / "scores.parquet")
    metrics = json.loads((run_dir / "metrics.json").read_text())
    if metrics["scores"]["sha256"] != sha256(run_dir / "scores.parquet"):
        raise ScoreFileError(
            f"{run_dir / 'metrics.json'} was computed from another score file: evaluate scores.parquet anew"
        )
    test = scores.filter(pc.equal(scores["split"], "test"))
    point = next(p for p in metrics["operating_points"] if p["name"] == metrics["working_point"])
    examples = render_examples(choose_examples(test, point["logit"]), read_stamps) if read_stamps else None
    config = run_dir / "config.yaml"
    quarantine = _read_json(run_dir / "quarantine" / "summary.json")
    page = render_page(
        "dark_halo_scope.evaluation",
        "report.html.j2",
        {"threshold_name": threshold_name},
        experiment=run_dir.resolve().parent.name,
        run=run_dir.resolve().name,
        metrics=metrics,
        metric_names=METRIC_NAMES,
        point=point,
        plots=_plots(metrics, test, point["logit"]),
        curves=_training_curves(_read_json(run_dir / "history.json")),
        examples=examples,
        losses=_loss_rows(quarantine),
        train=quarantine["rows"]["train"] if quarantine else None,
        provenance=_read_json(run_dir / "provenance.json"),
        config=config.read_text() if config.exists() else None,
        bin_label=plots.bin_label,
    )
    write_atomically(run_dir / "report.html", page.encode())
    return run_dir / "report.html"


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _plots(metrics: dict[str, Any], test: pa.Table, threshold: float) -> dict[str, Any]:
    calibration = metrics["calibration"]
    roc = plots.roc_plot(metrics["roc"], metrics["operating_points"], metrics["test"]["auroc"])
    strata = {stratum["column"]: plots.completeness_plot(stratum) for stratum in metrics["completeness"]["strata"]}
    return {
        "roc": Markup(roc) if roc else None,
        "scores": Markup(plots.score_histogram(test["logit"], test["label"], threshold)),
        "reliability": Markup(plots.reliability_plot(calibration["before"], calibration["after"])),
        "completeness": {column: Markup(svg) for column, svg in strata.items() if svg is not None},
    }


def _training_curves(history: dict[str, Any] | None) -> list[Markup]:
    if history is None:
        return []
    known = {name: _curve(summary) for name, summary in history["metrics"].items()}
    best = history["metrics"].get("val/auroc", {}).get("best_epoch")
    curves = []
    for slug, quantity, names in (("loss", "loss", LOSS_CURVES), ("validation", "value", VALIDATION_CURVES)):
        shown = {label: known[name] for name, label in names.items() if name in known}
        if shown:
            curves.append(Markup(plots.training_plot(shown, slug, quantity, best)))
    return curves


def _curve(summary: dict[str, Any]) -> NDArray[np.float64]:
    """(n, 2) epoch and value; a value that was not finite is a gap."""
    points = [(epoch, np.nan if value is None else value) for epoch, _, value in summary["values"]]
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def _loss_rows(summary: dict[str, Any] | None) -> list[tuple[str, str, str, int, int]] | None:
    """Flatten the counts by reason, split and class to rows of the table; None where nothing is known."""
    if summary is None:
        return None
    return [
        (what, reason, split, kinds["control"], kinds["lens"])
        for what in ("excluded", "quarantined", "repaired")
        for reason, splits in summary[what].items()
        for split, kinds in splits.items()
        if any(kinds.values())
    ]
