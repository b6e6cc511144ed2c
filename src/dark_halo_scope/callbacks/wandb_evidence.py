"""What a W&B dashboard shows of the best checkpoint: curves, histograms, and the worst mistakes as images."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray
from omegaconf import OmegaConf
from scipy.special import expit

from dark_halo_scope.callbacks.code_version import code_version, library_versions
from dark_halo_scope.evaluation.calibration import Calibrator, calibrator_from_dict, reliability_bins
from dark_halo_scope.evaluation.metrics import roc_counts
from dark_halo_scope.evaluation.rgb import lupton_rgb
from dark_halo_scope.loggers.identity import choices

Scores = dict[str, NDArray[Any]]
LARGEST_FPR_SHOWN = 0.1  # only the far left of a ROC matters at the prevalence of lenses
MAX_CURVE_POINTS = 500
LOGIT_BINS = 50
CLASSES = {0: "controls", 1: "lenses"}
PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]*(?=@)")  # in the URL of a search's database
METADATA = ("stamp_id", "region_id", "theta_e_arcsec", "arc_snr", "psf_fwhm_used_r", "control_kind")


class WandbEvidence(Callback):
    """Logs to the run's W&B logger, if it has one; expects a task and a datamodule of stamps.

    At the start: the config without passwords and the groups it was composed from, the versions and the data
    fingerprint. After validation and test of the best checkpoint: ROC near zero FPR, reliability before and after
    calibration, the logits of both classes, and tables of the false positives and false negatives with the most extreme
    logits, with their Lupton images.

    Args:
        config_file: the run's resolved config.
        n_worst: stamps in each of the two tables.
    """

    def __init__(self, config_file: str, n_worst: int = 24) -> None:
        self.config_file = Path(config_file)
        self.n_worst = n_worst

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what this run is."""
        logger, datamodule = _wandb_logger(trainer), _datamodule(trainer)
        if logger is None or not trainer.is_global_zero:
            return
        config: Any = OmegaConf.to_container(OmegaConf.load(self.config_file), resolve=True)
        described = {"code": code_version(), "versions": library_versions(), "data_fingerprint": datamodule.fingerprint}
        described["choices"] = choices(self.config_file.parent)
        logger.log_hyperparams(_without_passwords(config) | described)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the evidence for the best checkpoint, not for every epoch."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._log(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the evidence on stamps that neither training nor calibration has seen."""
        self._log(trainer, pl_module, "test")

    def _log(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        logger, task = _wandb_logger(trainer), _as_task(pl_module)
        if logger is None or not trainer.is_global_zero:
            return
        scores: Scores = task.gathered_scores(stage)
        calibrator = calibrator_from_dict(task.calibrator) if task.calibrator is not None else None
        evidence = {"roc_near_zero": _roc(scores), "reliability": _reliability(scores, calibrator)}
        evidence["logits"] = _logits(scores)
        worst = {"false_positives": _worst(scores, 0, self.n_worst), "false_negatives": _worst(scores, 1, self.n_worst)}
        for name, chosen in worst.items():
            evidence[f"worst_{name}"] = _table(_datamodule(trainer), scores, chosen, calibrator)
        logger.log_metrics({f"evidence/{stage}/{name}": value for name, value in evidence.items()})


def _without_passwords(node: Any) -> Any:
    """The same config, with what stands between user and host of a URL blotted out."""
    if isinstance(node, dict):
        return {key: _without_passwords(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_passwords(value) for value in node]
    return PASSWORD.sub(r"\1:***", node) if isinstance(node, str) else node


def _wandb_logger(trainer: Trainer) -> WandbLogger | None:
    return next((logger for logger in trainer.loggers if isinstance(logger, WandbLogger)), None)


def _datamodule(trainer: Any) -> Any:
    return trainer.datamodule


def _as_task(pl_module: LightningModule) -> Any:
    return pl_module


def _roc(scores: Scores) -> Any:
    """Log axes are not to be had in W&B's charts: the FPR is given as its logarithm."""
    counts = roc_counts(scores["logit"], scores["label"])
    shown = np.flatnonzero((counts.fpr > 0) & (counts.fpr <= LARGEST_FPR_SHOWN))
    thinned = shown[np.unique(np.linspace(0, len(shown) - 1, MAX_CURVE_POINTS).astype(int))] if len(shown) else shown
    rows = [[float(np.log10(counts.fpr[i])), float(counts.tpr[i]), float(counts.thresholds[i])] for i in thinned]
    table = wandb.Table(columns=["log10 FPR", "TPR", "logit threshold"], data=rows)
    return wandb.plot.line(table, "log10 FPR", "TPR", title="Completeness near zero false-positive rate")


def _reliability(scores: Scores, calibrator: Calibrator | None) -> Any:
    curves = {"perfect": ([0.0, 1.0], [0.0, 1.0])}
    probabilities = {"before calibration": expit(scores["logit"].astype(np.float64))}
    if calibrator is not None:
        probabilities["after calibration"] = calibrator.probability(scores["logit"])
    for name, probability in probabilities.items():
        bins = reliability_bins(probability, scores["label"])
        curves[name] = (bins.predicted.tolist(), bins.observed.tolist())
    return wandb.plot.line_series(
        xs=[x for x, _ in curves.values()],
        ys=[y for _, y in curves.values()],
        keys=list(curves),
        title="Reliability: fraction of lenses found",
        xname="predicted probability",
    )


def _logits(scores: Scores) -> Any:
    """How the logits of each class are distributed, as shares of the class: its wings are what is lost or mistaken."""
    edges = np.linspace(scores["logit"].min(), scores["logit"].max(), LOGIT_BINS + 1)
    counts = [np.histogram(scores["logit"][scores["label"] == label], bins=edges)[0] for label in CLASSES]
    return wandb.plot.line_series(
        xs=((edges[:-1] + edges[1:]) / 2).tolist(),
        ys=[(of_class / of_class.sum()).tolist() for of_class in counts],
        keys=list(CLASSES.values()),
        title="Logits of controls and lenses: share of the class per bin",
        xname="logit",
    )


def _worst(scores: Scores, label: int, n: int) -> NDArray[np.int64]:
    """Positions of the stamps of a class on the wrong side of logit 0, the most confidently wrong first."""
    wrongness = scores["logit"] * (1 - 2 * label)
    wrong = np.flatnonzero((scores["label"] == label) & (wrongness > 0))
    return wrong[np.argsort(-wrongness[wrong], kind="stable")][:n]


def _table(datamodule: Any, scores: Scores, chosen: NDArray[np.int64], calibrator: Calibrator | None) -> wandb.Table:
    rows, logits = scores["row"][chosen], scores["logit"][chosen]
    metadata = datamodule.index.metadata(rows)
    kept = [name for name in METADATA if name in metadata.column_names]
    columns: dict[str, list[Any]] = {
        "image": [wandb.Image(lupton_rgb(stamp)) for stamp in datamodule.read_stamps(rows)],
        "row": rows.tolist(),
        "logit": logits.tolist(),
    }
    if calibrator is not None:
        columns["probability"] = calibrator.probability(logits).tolist()
    columns |= {name: metadata.column(name).to_pylist() for name in kept}
    return wandb.Table(columns=list(columns), data=[list(row) for row in zip(*columns.values(), strict=True)])
