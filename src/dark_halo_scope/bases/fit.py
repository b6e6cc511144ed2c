"""Training and testing of base models and fine-tunings alike: the project's task and data, Lightning's loop."""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dark_halo_scope.torchvision_ops  # noqa: F401

import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import OmegaConf
from torch import Tensor, nn

from dark_halo_scope import hardware
from dark_halo_scope.bases.spec import EarlyStop, SpecError
from dark_halo_scope.tasks.base import BaseTask

Node = Mapping[str, Any]
OF_THE_MACHINE = ("seed", "compile", "channels_last")  # of a task: no key holds them


@dataclass(frozen=True)
class Machine:
    """What of a config belongs to the machine, and to no key.

    Attributes:
        asked: The group ``hardware``.
        task: Of the task: how it is computed.
        progress: Whether a bar is shown.
    """

    asked: Node
    task: Node
    progress: bool

    def trainer(self, folder: Path, precision: str, **options: Any) -> Trainer:
        """A trainer on one device that leaves nothing behind."""
        found = hardware.resolve(OmegaConf.create(dict(self.asked)))
        return Trainer(
            accelerator=found.accelerator,
            devices=1,
            precision=precision,  # type: ignore[arg-type]  # one of Lightning's, as `hardware` has checked
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=self.progress,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            **options,
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one core: sums over several threads differ with their number, and so would weights of one key.

    On a CPU, cores are for trainings side by side; a GPU does not feel it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_quiet() -> None:
    """Leave out what Lightning says at each of thousands of trainings."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
    warnings.filterwarnings("ignore", message=".*overridden `on_before_batch_transfer`")
    warnings.filterwarnings(
        "ignore", message=".*`log_every_n_steps`|.*GPU available but not used|.*in eval mode at the start"
    )


def task_around(
    network: nn.Module,
    normalise: nn.Module,
    *,
    loss: Node,
    augmentation: Node | None,
    optimizer: Callable[..., Any],
    scheduler: Callable[..., Any],
    seed: int,
    machine: Machine,
) -> BaseTask:
    """The task that ``loss`` describes, around a network and a normalisation that others may share."""
    augmenting = {name: instantiate(node) for name, node in (augmentation or {}).items()}
    parts = {"augment": Unchanged()} | augmenting
    make_task: Callable[..., BaseTask] = instantiate(loss, _partial_=True)
    return make_task(
        network=network,
        normalise=normalise,
        optimizer=optimizer,
        scheduler=scheduler,
        seed=seed,
        **parts,
        **machine.task,
    )


class Unchanged(nn.Module):
    """No augmentation."""

    def forward(self, samples: Tensor, keys: Tensor) -> Tensor:
        """Return the samples."""
        return samples


def only_tested(*_: Any, **__: Any) -> Any:
    """The optimiser of a task that is not trained."""
    raise AssertionError("this task is for a test only")


class KeepBest(Callback):
    """Keeps the weights of the best validation in memory; afterwards, `restore` puts them back.

    Args:
        stop: Which metric is looked at.
    """

    def __init__(self, stop: EarlyStop) -> None:
        self._stop = stop
        self._best: float | None = None
        self._weights: dict[str, Any] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the weights if there were none better."""
        if (metric := self._stop.metric) not in trainer.callback_metrics:
            known = ", ".join(sorted(name for name in trainer.callback_metrics if name.startswith("val/")))
            raise SpecError(f"early_stop.metric={metric} is not measured in validation; choose one of {known}")
        value = trainer.callback_metrics[metric].item()
        sign = 1 if self._stop.mode == "max" else -1
        if self._best is None or sign * value > sign * self._best:
            self._best = value
            self._weights = copy.deepcopy(pl_module.state_dict())

    def restore(self, task: LightningModule) -> None:
        """Put the best weights back."""
        task.load_state_dict(self._weights)


def fit(
    task: BaseTask,
    data: LightningDataModule,
    machine: Machine,
    folder: Path,
    *,
    precision: str,
    early_stop: EarlyStop | None,
    validates: bool,
    **options: Any,
) -> dict[str, float]:
    """Train a task; with early stopping, its weights are those of the best validation.

    Args:
        task: Trained in place.
        data: Its parts.
        machine: Where.
        folder: For what is said of bad samples.
        precision: Of the trainer.
        early_stop: When it ends before its time.
        validates: Whether there is a validation part.
        options: Of Lightning's Trainer: how long, how often it is validated.

    Returns:
        The metrics of the last epoch and of the last validation.
    """
    callbacks: list[Callback] = []
    best = KeepBest(early_stop) if early_stop else None
    if early_stop and best:
        stop = EarlyStopping(early_stop.metric, mode=early_stop.mode, patience=early_stop.patience)
        callbacks = [best, stop]
    if not validates:
        options["limit_val_batches"] = 0
    trainer = machine.trainer(folder, precision, callbacks=callbacks, **options)
    with one_thread():
        trainer.fit(task, datamodule=data)
    if best:
        best.restore(task)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if not name.endswith("_step")}


def measure(
    task: BaseTask, data: LightningDataModule, machine: Machine, folder: Path, precision: str
) -> dict[str, float]:
    """Metrics of the test part; its scores are `BaseTask.gathered_scores` from now on."""
    with one_thread():
        (metrics,) = machine.trainer(folder, precision).test(task, datamodule=data, verbose=False)
    return {name.removeprefix("test/"): float(value) for name, value in metrics.items()}
