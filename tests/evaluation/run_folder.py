"""A finished run folder made of synthetic scores, for tests of everything that reads one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.evaluation.calibration import TemperatureScaling, fit_calibrator
from dark_halo_scope.evaluation.scores import score_table, write_scores
from dark_halo_scope.evaluation.summary import evaluate_run
from dark_halo_scope.evaluation.thresholds import operating_thresholds

KINDS = ("plain", "spiral", "ring", "blue_neighbour", "merger", "edge_on", "star")
KIND_FREQUENCY = (0.55, 0.15, 0.03, 0.12, 0.06, 0.07, 0.02)
KIND_BOOST = np.array([0.0, 1.2, 2.4, 1.0, 1.3, 0.5, -0.5])


@dataclass(frozen=True)
class Sample:
    """Scores of one split: a network that is over-confident by a factor two and whose regions differ."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int8]
    logits: NDArray[np.float32]
    metadata: pa.Table


def make_sample(n: int, n_regions: int, first_row: int, seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    region = np.sort(rng.integers(n_regions, size=n))
    is_lens = rng.random(n) < 0.5
    psf = (1.25 + 0.15 * rng.standard_normal(n_regions))[region].clip(0.9, 1.7)
    theta_e = np.where(is_lens, rng.uniform(0.5, 2.5, n), 0.0)
    arc_snr = np.exp(rng.normal(1.8, 0.8, n)) * (0.5 + theta_e / 2)
    kind = rng.choice(len(KINDS), n, p=KIND_FREQUENCY)
    visibility = 1.6 * np.log(arc_snr) + 1.2 * np.log(theta_e / psf + 1e-9).clip(-2) - 0.6
    evidence = np.where(is_lens, visibility, -2.0 + KIND_BOOST[kind])
    region_effect = 0.3 * rng.standard_normal(n_regions)[region]
    logits = 2.0 * (evidence + region_effect + 1.1 * rng.standard_normal(n))
    metadata = pa.table(
        {
            "stamp_id": [f"s{first_row + i:07d}" for i in range(n)],
            "region_id": pa.array(region + 1000 * seed, pa.int32()),
            "lens_model": np.where(is_lens, np.where(rng.random(n) < 0.7, "SIE", "SIS"), "CONTROL"),
            "theta_e_arcsec": theta_e.astype(np.float32),
            "psf_fwhm_used_r": psf.astype(np.float32),
            "arc_snr": pa.array(arc_snr, mask=~is_lens),
            "control_kind": pa.array([KINDS[k] for k in kind], mask=is_lens),
            "host_mag_r": pa.array(rng.normal(19.5, 0.8, n), pa.float32()),
            "src_dmag": pa.array(rng.uniform(3, 5, n), pa.float32(), mask=~is_lens),
            "src_mag_r": pa.array(rng.normal(23.5, 0.8, n), pa.float32(), mask=~is_lens),
            "ra": rng.uniform(0, 360, n),
            "dec": rng.uniform(-60, 30, n),
        }
    )
    return Sample(first_row + np.arange(n), is_lens.astype(np.int8), logits.astype(np.float32), metadata)


def draw_stamps(rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Red galaxies, every second with a blue ring, in DR10-like noise: (n, 3, 64, 64) nanomaggies."""
    y, x = np.mgrid[-31.5:32.5, -31.5:32.5]
    stamps = []
    for row in rows:
        rng = np.random.default_rng(int(row))
        radius = np.hypot(x, y * rng.uniform(1, 1.5))
        host = np.exp(-((radius / rng.uniform(2, 4)) ** 0.9))
        angle = rng.uniform(0, 2 * np.pi)
        arc = np.exp(-(((radius - rng.uniform(4, 8)) / 2) ** 2)) * (1 + np.cos(np.arctan2(y, x) - angle))
        arc *= rng.uniform(0, 0.06)
        bands = [
            flux * host + blue * arc + noise * rng.standard_normal(x.shape)
            for flux, blue, noise in ((0.1, 1.0, 0.004), (0.4, 1.3, 0.007), (0.9, 1.5, 0.018))
        ]
        stamps.append(bands)
    return np.array(stamps, dtype=np.float32)


def make_history(n_epochs: int, seed: int = 0) -> dict[str, Any]:
    """Metric history in the shape of ``history.json``."""
    rng = np.random.default_rng(seed)
    epochs = np.arange(n_epochs)
    curves = {
        "train/loss": 0.35 + 0.4 * np.exp(-epochs / 3),
        "val/loss": 0.37 + 0.36 * np.exp(-epochs / 3) + 0.004 * epochs,
        "val/auroc": 0.96 - 0.3 * np.exp(-epochs / 2.5),
        "val/tpr_at_fpr_1e-2": 0.6 - 0.5 * np.exp(-epochs / 4),
    }
    metrics = {}
    for name, curve in curves.items():
        values = curve + 0.004 * rng.standard_normal(n_epochs)
        best = int(values.argmin() if name.endswith("loss") else values.argmax())
        metrics[name] = {
            "values": [[int(e), int(100 * (e + 1)), float(v)] for e, v in zip(epochs, values, strict=True)],
            "best": float(values[best]),
            "best_epoch": best,
        }
    return {"metrics": metrics}


QUARANTINE = {
    "quarantined": {"missing_band": {"train": {"control": 2, "lens": 1}, "val": {"control": 0, "lens": 0}}},
    "repaired": {"nonfinite": {"train": {"control": 5, "lens": 4}, "test": {"control": 1, "lens": 0}}},
    "excluded": {"cutout_not_ok": {"train": {"control": 11, "lens": 9}, "test": {"control": 2, "lens": 3}}},
    "rows": {"train": {"control": 2610, "lens": 2600}},
    "limit": 0.001,
}
PROVENANCE = {
    "command": "python train.py experiment=lens_resnet18 seed=42",
    "seed": 42,
    "code_version": {"package": "0.1.0", "commit": "3f9c2ab41d", "dirty": False},
    "data_fingerprint": "8d0c1f6e" * 8,
    "data_root": "data/survey-default",
    "hardware": "1 x CPU, bf16",
    "versions": {"python": "3.11.9", "torch": "2.13.0", "lightning": "2.6.6", "numpy": "2.4.0"},
    "started": "2026-01-05T10:00:00Z",
    "wall_s": 412.0,
}
NOTE = "no column host_id in every file, so that hosts in two splits would go unseen"
CONFIG = "seed: 42\nmonitor:\n  metric: val/auroc\nmodel:\n  depth: 18\n  stem: 3x3\n"


def make_run_folder(
    run_dir: Path,
    n_val: int = 2400,
    n_test: int = 2600,
    n_regions: int = 30,
    drop: tuple[str, ...] = (),
    optional_files: bool = True,
    method: str = TemperatureScaling.method,
) -> Path:
    """Write a run folder as a run leaves it just before its report.

    Args:
        run_dir: folder to create.
        n_val: validation stamps.
        n_test: test stamps.
        n_regions: regions in each split.
        drop: metadata columns that the survey does not have.
        optional_files: history, quarantine and provenance are there too.
        method: of calibration.
    """
    run_dir.mkdir(parents=True)
    val = make_sample(n_val, n_regions, first_row=6000, seed=1)
    test = make_sample(n_test, n_regions, first_row=6000 + n_val, seed=2)
    calibrator = fit_calibrator(method, val.logits, val.labels)
    thresholds = operating_thresholds(val.logits, val.labels, calibrator)
    tables = [
        score_table(
            sample.rows,
            split,
            sample.labels,
            sample.logits,
            calibrator.probability(sample.logits),
            sample.metadata.drop_columns(list(drop)),
        )
        for split, sample in (("val", val), ("test", test))
    ]
    origin = {"checkpoint": "best.ckpt", "data_notes": [NOTE]}
    write_scores(run_dir / "scores.parquet", pa.concat_tables(tables), origin)
    evaluate_run(run_dir, calibrator, thresholds, n_resamples=300)
    (run_dir / "config.yaml").write_text(CONFIG)
    if optional_files:
        (run_dir / "history.json").write_text(json.dumps(make_history(12)))
        (run_dir / "provenance.json").write_text(json.dumps(PROVENANCE))
        (run_dir / "quarantine").mkdir()
        (run_dir / "quarantine" / "summary.json").write_text(json.dumps(QUARANTINE))
    return run_dir
