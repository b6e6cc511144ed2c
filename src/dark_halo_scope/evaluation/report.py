"""The report of a run: one self-contained HTML page, made from the files of the run folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from numpy.typing import NDArray
from omegaconf import OmegaConf

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
METRIC_NAMES |= {
    "tpr0": "Completeness before the 1st false positive (TPR0)",
    "tpr10": "Completeness before the 10th false positive (TPR10)",
}
LOSS_CURVES = {"train/loss": "training", "val/loss": "validation"}
VALIDATION_CURVES = {"val/auroc": "AUROC", "val/tpr_at_fpr_1e-2": "completeness at FPR 1 %"}


def write_report(out: Path, read_stamps: ReadStamps | None = None, scores_path: Path | None = None) -> Path:
    """Write ``report.html`` into a folder that holds ``metrics.json``, such as a run folder.

    ``history.json``, ``quarantine/summary.json``, ``provenance.json`` and ``config.yaml`` are used where they are
    beside the score file; the page says what is missing.

    Args:
        out: the folder.
        read_stamps: maps dataset rows (n,) to pixels (n, 3, 64, 64) in nanomaggies; None where the survey is
            out of reach.
        scores_path: the score file; ``scores.parquet`` of the same folder where none is given.

    Returns:
        The path of the page.

    Raises:
        ScoreFileError: the metrics were computed from another score file.
    """
    scores_path = scores_path or out / "scores.parquet"
    folder = scores_path.resolve().parent
    scores, _ = read_scores(scores_path)
    metrics = json.loads((out / "metrics.json").read_text())
    if metrics["scores"]["sha256"] != sha256(scores_path):
        raise ScoreFileError(
            f"{out / 'metrics.json'} was computed from another score file: evaluate {scores_path.name} anew"
        )
    test = scores.filter(pc.equal(scores["split"], "test"))
    point = next(p for p in metrics["operating_points"] if p["name"] == metrics["working_point"])
    examples = render_examples(choose_examples(test, point["logit"]), read_stamps) if read_stamps else None
    config = folder / "config.yaml"
    quarantine = _read_json(folder / "quarantine" / "summary.json")
    page = render_page(
        "dark_halo_scope.evaluation",
        "report.html.j2",
        {"threshold_name": threshold_name},
        experiment=folder.parent.name if config.exists() else "score file",
        run=folder.name if config.exists() else scores_path.name,
        metrics=metrics,
        metric_names=METRIC_NAMES,
        point=point,
        plots=_plots(metrics, test, point["logit"]),
        curves=_training_curves(_read_json(folder / "history.json"), _monitor(config)),
        examples=examples,
        losses=_loss_rows(quarantine),
        train=quarantine["rows"]["train"] if quarantine else None,
        provenance=_read_json(folder / "provenance.json"),
        config=config.read_text() if config.exists() else None,
        bin_label=plots.bin_label,
    )
    write_atomically(out / "report.html", page.encode())
    return out / "report.html"


def _monitor(config: Path) -> str:
    """The metric that chose the checkpoint."""
    return str(OmegaConf.load(config).monitor.metric) if config.exists() else "val/auroc"


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
    } | _region_plots(metrics)


def _region_plots(metrics: dict[str, Any]) -> dict[str, Markup | None]:
    calibration, completeness = metrics["calibration"]["by_region"], metrics["completeness"]["region"]
    shown: dict[str, Markup | None] = {"calibration_regions": None, "completeness_regions": None}
    if calibration and calibration["regions"]:
        records = [r | {"ends": [end - r["predicted"] for end in r["interval"]]} for r in calibration["regions"]]
        quantity = "observed minus predicted fraction of lenses"
        shown["calibration_regions"] = Markup(plots.region_plot(records, "difference", "calregions", quantity))
    if completeness and completeness["regions"]:
        records = [record | {"ends": record["interval"]} for record in completeness["regions"]]
        shown["completeness_regions"] = Markup(plots.region_plot(records, "rate", "compregions", "completeness"))
    return shown


def _training_curves(history: dict[str, Any] | None, monitor: str) -> list[Markup]:
    """The curves, with the epoch marked in which the metric `monitor` was best: that of the checkpoint tested."""
    if history is None:
        return []
    known = {name: _curve(summary) for name, summary in history["metrics"].items()}
    best = history["metrics"].get(monitor, {}).get("best_epoch")
    curves = []
    for slug, quantity, names in (("loss", "loss", LOSS_CURVES), ("validation", "value", VALIDATION_CURVES)):
        shown = {label: known[name] for name, label in names.items() if name in known}
        if shown:
            curves.append(Markup(plots.training_plot(shown, slug, quantity, best, monitor)))
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
