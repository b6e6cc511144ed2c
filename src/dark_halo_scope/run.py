"""One run: resolved config -> data -> task -> fit -> calibrate and test the best -> score file, metrics, report."""

import json
import logging
import shlex
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dark_halo_scope.torchvision_ops  # noqa: F401

import lightning
import pyarrow as pa
from hydra.utils import instantiate
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from dark_halo_scope import hardware
from dark_halo_scope.audit.before_training import audit_before_training
from dark_halo_scope.callbacks.checkpoint import RunCheckpoint
from dark_halo_scope.callbacks.code_version import code_version, library_versions
from dark_halo_scope.callbacks.history import SMALLER_IS_BETTER
from dark_halo_scope.callbacks.provenance import check_same_data
from dark_halo_scope.configuration import ConfigError, choose_recipe, claimed, warn_of_changes
from dark_halo_scope.evaluation.calibration import calibrator_from_dict
from dark_halo_scope.evaluation.metrics import binary_metrics
from dark_halo_scope.evaluation.report import write_report
from dark_halo_scope.evaluation.scores import score_table, write_scores
from dark_halo_scope.evaluation.summary import evaluate_run
from dark_halo_scope.files import sha256, write_json
from dark_halo_scope.loggers.wandb import wandb_finished
from dark_halo_scope.processes import ranks
from dark_halo_scope.sky.embedded import leak_checks, survey_root
from dark_halo_scope.stamps.contract import SPLITS
from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.index_cache import cached_index
from dark_halo_scope.tasks.build import build_task
from dark_halo_scope.tasks.lens_detection import LensDetectionTask
from dark_halo_scope.tasks.restore import check_same_architecture, read_checkpoint

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float:
    """Train, calibrate, test and report what ``cfg`` describes.

    Returns:
        The best validation value of ``cfg.monitor.metric``.
    """
    keep_output_readable()
    check(cfg)
    run_dir = Path(cfg.paths.run_dir)
    log.info("run folder: %s", run_dir)
    try:
        if not is_first_process():
            return train(cfg, run_dir)
        with claimed(run_dir):
            refuse_to_overwrite(cfg, run_dir)
            return train(cfg, run_dir)
    finally:
        log.info("run folder: %s", run_dir)


def train(cfg: DictConfig, run_dir: Path) -> float:
    """As `run`, in a folder that is this process's own."""
    machine = hardware.resolve(cfg.hardware)
    compiled = ", compiled" if machine.compiled else ""
    log.info("hardware: %d x %s, %s%s", machine.world_size, machine.device_name, machine.precision, compiled)
    lightning.seed_everything(cfg.seed, verbose=False)
    cfg.hardware.loader_threads = machine.loader_threads
    index = index_data(cfg)
    choose_recipe(cfg, sum(index.class_counts("train").values()))
    OmegaConf.resolve(cfg)
    task = build_task(cfg)
    last = checkpoint_to_resume(cfg, task, index)
    if is_first_process():
        keep_config(cfg, run_dir, resuming=last is not None)
        keep_origin(run_dir, origin(cfg, machine, index))
        audit_data(cfg, run_dir, index)
    datamodule: StampDataModule = instantiate(cfg.data, _partial_=True)(index=index)
    callbacks = {name: instantiate(callback) for name, callback in cfg.callbacks.items() if callback}
    checkpoint: RunCheckpoint = callbacks["checkpoint"]
    with wandb_finished(), ranks(machine.devices if machine.num_nodes == 1 else 1, run_dir / "config.yaml", run_dir):
        trainer: Trainer = instantiate(
            cfg.trainer,
            **machine.trainer_arguments(),
            callbacks=list(callbacks.values()),
            logger=[instantiate(logger) for logger in cfg.logger.values() if logger],
        )
        trainer.fit(task, datamodule=datamodule, ckpt_path=last)
        pruned = "pruning" in callbacks and callbacks["pruning"].pruned
        if not pruned:
            finish(cfg, trainer, task, datamodule, checkpoint)
    if pruned:
        callbacks["pruning"].raise_if_pruned()
    assert checkpoint.best_model_score is not None
    return checkpoint.best_model_score


def keep_output_readable() -> None:
    """Leave out what says nothing new: other ranks, Lightning's copy of each log line, its use of an old torch name."""
    if not is_first_process():
        logging.getLogger().setLevel(logging.WARNING)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers.clear()
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
    warnings.filterwarnings("ignore", message=".*overridden `on_before_batch_transfer`")


def check(cfg: DictConfig) -> None:
    """Refuse combinations that would fail later, in a sentence that says what to change."""
    metric = cfg.monitor.metric
    known = [f"val/{name}" for name in ("loss", *binary_metrics([-1.0, 1.0], [0, 1]))]
    if metric not in known:
        raise ConfigError(f"monitor.metric={metric} is not measured in validation; choose one of {', '.join(known)}")
    best = "min" if any(word in metric for word in SMALLER_IS_BETTER) else "max"
    if cfg.monitor.mode != best:
        raise ConfigError(f"monitor.mode={cfg.monitor.mode} would keep the worst {metric}: set monitor.mode={best}")
    for needed in ("checkpoint", "calibration"):
        if not cfg.callbacks.get(needed):
            raise ConfigError(f"callbacks.{needed} cannot be turned off: the best checkpoint is calibrated and tested")


def is_first_process() -> bool:
    """Whether this is rank 0, which alone writes to the run folder."""
    return getattr(rank_zero_only, "rank", 0) == 0


def index_data(cfg: DictConfig) -> StampIndex:
    """Index the user's dataset, or the embedded survey where ``data.root`` names none."""
    cfg.data.root = survey_root(cfg, progress=is_first_process())
    index = cached_index(cfg.data.root, cfg.data.index_cache, leak_checks(cfg))
    for split in SPLITS:
        counts = index.class_counts(split)
        log.info("%s: %s controls, %s lenses", split, f"{counts['control']:,}", f"{counts['lens']:,}")
    return index


def audit_data(cfg: DictConfig, run_dir: Path, index: StampIndex) -> None:
    """Ask what the data give away without an arc, before a network is trained on them; once for each dataset."""
    audit_before_training(
        index,
        run_dir,
        instantiate(cfg.audit),
        Path(cfg.paths.data_dir) / "audits",
        region_column=cfg.data.region_column,
        host_column=cfg.data.host_column,
        progress=sys.stderr.isatty(),
    )


def refuse_to_overwrite(cfg: DictConfig, run_dir: Path) -> None:
    """A folder that holds a run is only gone on with, when that is asked for."""
    if cfg.resume is None and last_checkpoint(run_dir).exists():
        raise ConfigError(f"{run_dir} holds a run already: add resume=auto to go on with it, or name another run_name")


def last_checkpoint(run_dir: Path) -> Path:
    """Where a run keeps its newest checkpoint."""
    return run_dir / "checkpoints" / "last.ckpt"


def checkpoint_to_resume(cfg: DictConfig, task: LensDetectionTask, index: StampIndex) -> str | None:
    """The checkpoint to go on from, found fit for this network and these data; None for a new run."""
    last = last_checkpoint(Path(cfg.paths.run_dir))
    if cfg.resume is None or not last.exists():
        if cfg.resume is not None:
            log.info("resume=%s: there is no checkpoint to go on from; this is a new run", cfg.resume)
        return None
    checkpoint = read_checkpoint(last)
    check_same_architecture(checkpoint, task, cfg.model)
    check_same_data(checkpoint, index.fingerprint, str(last))
    log.info("resuming after epoch %d from %s", checkpoint["epoch"], last)
    return str(last)


def keep_config(cfg: DictConfig, run_dir: Path, resuming: bool) -> None:
    """Keep the resolved config; a resumed run is told what it changes."""
    saved = run_dir / "config.yaml"
    if resuming:
        warn_of_changes(cfg, saved)
    OmegaConf.save(cfg, saved)


def keep_origin(run_dir: Path, origin: dict[str, Any]) -> None:
    """Keep where a run came from; each time it is resumed is added under ``resumed``."""
    path = run_dir / "provenance.json"
    if path.exists() and last_checkpoint(run_dir).exists():
        first = json.loads(path.read_text())
        origin = first | {"resumed": [*first.get("resumed", []), origin]}
    write_json(path, origin)


def command(run_dir: Path) -> str:
    """What starts this run again: the command line, or what a sweep made of it."""
    composed = run_dir / ".hydra" / "overrides.yaml"
    overrides = list(OmegaConf.load(composed)) if composed.exists() else sys.argv[1:]
    return shlex.join(["python", "train.py", *map(str, overrides)])


def origin(cfg: DictConfig, machine: hardware.Hardware, index: StampIndex) -> dict[str, Any]:
    """What it takes to repeat the run: command, code, versions, data, machine."""
    return {
        "command": command(Path(cfg.paths.run_dir)),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": cfg.seed,
        "data_root": cfg.data.root,
        "data_fingerprint": index.fingerprint,
        "data_notes": data_notes(index),
        "hardware": f"{machine.world_size} x {machine.device_name}, {machine.precision}",
        "code_version": code_version(),
        "versions": library_versions(),
    }


def data_notes(index: StampIndex) -> list[str]:
    """What a reader should know of the dataset: what could not be checked, what was left out."""
    return [note.removeprefix(f"{index.files.root}: ") for note in index.notes]


def finish(
    cfg: DictConfig,
    trainer: Trainer,
    task: LensDetectionTask,
    datamodule: StampDataModule,
    checkpoint: RunCheckpoint,
) -> None:
    """Calibrate and test the best checkpoint; write score file, metrics and report."""
    if checkpoint.best_model_score is None:
        raise ConfigError(
            f"no checkpoint to test: {cfg.monitor.metric} was never measured; train for an epoch with validation"
        )
    best = Path(checkpoint.best_model_path)
    trainer.validate(task, datamodule=datamodule, ckpt_path=str(best), verbose=False)
    trainer.test(task, datamodule=datamodule, ckpt_path=str(best), verbose=False)
    if not trainer.is_global_zero:
        return
    run_dir = Path(cfg.paths.run_dir)
    assert task.calibrator is not None  # the callback `calibration` has acted
    assert task.thresholds is not None
    calibrator = calibrator_from_dict(task.calibrator)
    tables = []
    for split in ("val", "test"):
        scores = task.gathered_scores(split)
        probability = calibrator.probability(scores["logit"])
        metadata = datamodule.index.metadata(scores["row"], progress=sys.stderr.isatty())
        tables.append(score_table(scores["row"], split, scores["label"], scores["logit"], probability, metadata))
    provenance = {
        "checkpoint_sha256": sha256(best),
        "data_fingerprint": datamodule.index.fingerprint,
        "data_notes": data_notes(datamodule.index),
    }
    write_scores(run_dir / "scores.parquet", pa.concat_tables(tables, promote_options="permissive"), provenance)
    metrics = evaluate_run(run_dir, calibrator, task.thresholds, region_column=cfg.data.region_column)
    report = write_report(run_dir, datamodule.read_stamps)
    log_headline(metrics, report)


def log_headline(metrics: dict[str, Any], report: Path) -> None:
    """The few numbers that everybody asks for first."""
    test, calibration = metrics["test"], metrics["calibration"]
    log.info(
        "test: AUROC %.4f, average precision %.4f, ECE %.4f before and %.4f after calibration",
        test["auroc"],
        test["ap"],
        calibration["before"]["ece"],
        calibration["after"]["ece"],
    )
    log.info("report: %s", report)
