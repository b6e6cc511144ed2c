"""The model card: what the exported files are, what was measured of them, and what was not."""

import json
from pathlib import Path
from typing import Any

from dark_halo_scope.evaluation.metrics import TARGET_FPRS, fpr_name
from dark_halo_scope.evaluation.scores import read_scores
from dark_halo_scope.files import sha256, write_atomically, write_json
from dark_halo_scope.pages.page import render_page
from dark_halo_scope.pages.wording import target_percent
from dark_halo_scope.stamps.contract import BANDS, PIXEL_SCALE_ARCSEC, STAMP_SIZE
from dark_halo_scope.tasks.build import describe_model

CARD, RECORD = "model_card.md", "model_card.json"
_HEADLINES = {"auroc": "AUROC", "ap": "average precision"} | {
    f"tpr_at_fpr_{fpr_name(fpr)}": f"TPR at FPR {fpr_name(fpr)}" for fpr in TARGET_FPRS
}


def write_card(
    folder: Path, checkpoint_file: Path, checkpoint: dict[str, Any], facts: dict[str, Any]
) -> dict[str, Any]:
    """Write ``model_card.json`` and ``model_card.md`` beside the exported files.

    Args:
        folder: Holds the exported files.
        checkpoint_file: The checkpoint, below its run folder, where metrics and audit are looked for.
        checkpoint: Its content.
        facts: What the export measured.

    Returns:
        The content of the JSON.
    """
    run_dir = checkpoint_file.resolve().parents[1]
    config = checkpoint["config"]
    record = facts | {
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in sorted(folder.iterdir())
        },
        "input": {
            "name": "image",
            "shape": ["batch", len(BANDS), STAMP_SIZE, STAMP_SIZE],
            "dtype": "float32",
            "unit": "nanomaggies",
            "bands": list(BANDS),
            "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC,
        },
        "network": describe_model(config["model"]),
        "normalisation": config["transforms"]["normalise"],
        "calibrator": checkpoint["calibrator"],
        "calibrated_on": _calibrated_on(checkpoint["thresholds"]),
        "thresholds": checkpoint["thresholds"],
        "training": {
            "data": config["data"]["root"],
            "fingerprint": checkpoint["data_fingerprint"],
            "epoch": checkpoint.get("epoch"),
            "seed": config.get("seed"),
            "code_version": checkpoint["code_version"],
            "versions": checkpoint.get("versions") or {},
        },
        "test": _test(run_dir, facts["checkpoint"]["sha256"]),
        "audit": _audit(run_dir, checkpoint["data_fingerprint"]),
    }
    write_json(folder / RECORD, record)
    write_atomically(
        folder / CARD,
        render_page("dark_halo_scope.export", "card.md.j2", {"target_percent": target_percent}, **record).encode(),
    )
    return record


def _calibrated_on(thresholds: list[dict[str, Any]]) -> dict[str, float]:
    """The validation stamps of the training, without those that it left out: no other data tell their prevalence."""
    n_lenses, n_controls = (thresholds[0][name] for name in ("n_lenses", "n_controls"))
    return {"n_lenses": n_lenses, "n_controls": n_controls, "prevalence": n_lenses / (n_lenses + n_controls)}


def _test(run_dir: Path, checkpoint_sha256: str) -> dict[str, Any] | None:
    """Headline numbers of the run's test, if its ``metrics.json`` is there and is about this very checkpoint."""
    files = [run_dir / name for name in ("metrics.json", "scores.parquet")]
    if not all(file.exists() for file in files):
        return None
    _, origin = read_scores(files[1])
    if origin.get("checkpoint_sha256") != checkpoint_sha256:
        return None
    metrics = json.loads(files[0].read_text())
    test, intervals = metrics["test"], metrics["intervals"]
    return {
        "numbers": [
            {
                "name": told,
                "value": test[name],
                "interval": intervals["test"].get(name),
                "unsupported": metrics["unsupported"].get(name),
            }
            for name, told in _HEADLINES.items()
        ],
        "intervals": {key: intervals[key] for key in ("method", "refused")},
        "sample": metrics["samples"]["test"],
        "ece": {when: metrics["calibration"][when]["ece"] for when in ("before", "after")},
        "n_rows_scored": metrics["scores"]["n_rows"],
        "scores_sha256": metrics["scores"]["sha256"],
    }


def _audit(run_dir: Path, fingerprint: str) -> dict[str, Any] | None:
    """What the audit of the training data found wrong, if it lies in the run folder and is about these data."""
    file = run_dir / "audit.json"
    if not file.exists():
        return None
    audit = json.loads(file.read_text())
    if audit["dataset"]["fingerprint"] != fingerprint:
        return None
    worrying = [gate for gate in audit["gates"] if gate["verdict"] in ("concern", "fail")]
    unmeasured = [gate["name"] for gate in audit["gates"] if gate["verdict"] == "not measured"]
    return {"verdict": audit["verdict"], "n_gates": len(audit["gates"]), "found": worrying, "not_measured": unmeasured}
