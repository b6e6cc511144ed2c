"""A run small enough for a test: the real task and stream, a small network with dropout, 48 training stamps."""

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from omegaconf import OmegaConf

from dark_halo_scope.callbacks.checkpoint import RunCheckpoint
from dark_halo_scope.callbacks.early_stopping import ResumableEarlyStopping
from dark_halo_scope.callbacks.history import MetricHistory
from dark_halo_scope.callbacks.provenance import Provenance
from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.tasks.build import build_task

STEPS_PER_EPOCH = 6
CONFIG = {
    "model": {"_target_": "dark_halo_scope.networks.small_cnn.SmallCNN", "dropout": 0.3},
    "transforms": {
        "normalise": {"_target_": "dark_halo_scope.transforms.normalise.MadClip", "clip": 10.0},
        "augment": {"_target_": "dark_halo_scope.transforms.augment.Augment", "d4": True},
    },
    "task": {"_target_": "dark_halo_scope.tasks.lens_detection.LensDetectionTask", "seed": 3},
    "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 3e-3},
    "scheduler": {
        "_target_": "dark_halo_scope.tasks.schedule.warmup_cosine",
        "_partial_": True,
        "warmup_epochs": 0.5,
        "warmup_steps": None,
        "floor_lr": 1e-6,
    },
}


class Killed(Exception):
    """Stands for whatever ends a run too early."""


class KillAt(Callback):
    """Ends the run before the given optimiser step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise Killed


class TinyRun:
    """A run folder and what it takes to train into it, new objects at each start as in a new process."""

    def __init__(self, dataset: Path, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder
        self.last = folder / "checkpoints" / "last.ckpt"
        self.best = folder / "checkpoints" / "best.ckpt"
        self.config_file = folder / "config.yaml"
        folder.mkdir(exist_ok=True)
        OmegaConf.save(OmegaConf.create(CONFIG), self.config_file)
        self.trainer: Trainer
        self.task: Any
        self.data: StampDataModule

    def standard_callbacks(self, patience: int = 100, last_every_n_steps: int | None = None) -> list[Callback]:
        return [
            MetricHistory(str(self.folder)),
            ResumableEarlyStopping(monitor="val/auroc", mode="max", patience=patience, min_delta=0.001),
            Provenance(str(self.config_file)),
            RunCheckpoint(str(self.folder / "checkpoints"), "val/auroc", "max", last_every_n_steps),
        ]

    def fit(self, callbacks: list[Callback], resume: Path | None = None, **options: Any) -> None:
        """Train on a CPU, quietly, from the same seed whatever happened before."""
        lightning.seed_everything(11, verbose=False)
        defaults = {
            "max_epochs": 4,
            "min_epochs": 1,
            "gradient_clip_val": 1.0,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 2,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            "default_root_dir": self.folder,
            "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        }
        self.trainer = Trainer(accelerator="cpu", callbacks=callbacks, **(defaults | options))
        self.data = StampDataModule(str(self.dataset), str(self.folder), batch_size=8, eval_batch_size=12)
        self.task = build_task(CONFIG)
        if resume is not None:
            torch.rand(17)  # setting up may draw any number of random numbers
        self.trainer.fit(self.task, datamodule=self.data, ckpt_path=None if resume is None else str(resume))

    def history(self) -> dict[str, list[list[float]]]:
        return load(self.last)["history"]


def load(path: Path) -> dict[str, Any]:
    """A checkpoint, as the careful loader gives it."""
    return torch.load(path, weights_only=True)


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
