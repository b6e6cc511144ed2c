"""The training of a base model, which is given its spec and nothing else that could act on its weights."""

from pathlib import Path
from typing import Any

import dark_halo_scope.torchvision_ops  # noqa: F401

import lightning
import numpy as np
from hydra.utils import instantiate

from dark_halo_scope.bases.base import save_weights
from dark_halo_scope.bases.fit import Machine, Node, fit, keep_quiet, task_around
from dark_halo_scope.bases.source import Source
from dark_halo_scope.bases.spec import BaseSpec, SpecError


def train_base(spec: BaseSpec, folder: Path, *, source: Source, stream: Node, machine: Machine) -> dict[str, Any]:
    """Train a base model and leave its weights in a folder.

    Args:
        spec: What determines it.
        folder: Empty; takes ``weights.pt``.
        source: Where the data with the spec's fingerprint are.
        stream: How they are read.
        machine: On what it is trained.

    Returns:
        Its metrics.

    Raises:
        SpecError: The data are others.
    """
    if source.index.fingerprint != spec.data_fingerprint:
        raise SpecError(
            f"the base model is of the data {spec.data_fingerprint[:12]}, but these are "
            f"{source.index.fingerprint[:12]}, changed since it was planned: give the command again"
        )
    keep_quiet()
    lightning.seed_everything(spec.seed, verbose=False)
    parts = source.base_parts(spec)
    task = task_around(
        instantiate(spec.model),
        instantiate(spec.preprocessing["normalise"]),
        loss=spec.loss,
        augmentation=spec.augmentation,
        optimizer=instantiate(spec.optimizer["algorithm"]),
        scheduler=instantiate(spec.scheduler),
        seed=spec.seed,
        machine=machine,
    )
    source.fit_normalisation(task.normalise, np.concatenate([parts.train, parts.val]))
    data = source.datamodule(
        source.index.with_parts({"train": parts.train, "val": parts.val}),
        folder,
        spec.preprocessing["samples"],
        stream,
        batch_size=min(spec.batch_size, len(parts.train)),
        seed=spec.seed,
    )
    metrics = fit(
        task,
        data,
        machine,
        folder,
        precision=spec.precision,
        early_stop=spec.early_stop,
        validates=len(parts.val) > 0,
        max_epochs=spec.max_epochs,
        gradient_clip_val=spec.optimizer["gradient_clip_val"],
    )
    save_weights(task.state_dict(), folder)
    return {"rows": {"train": len(parts.train), "val": len(parts.val)}, **metrics}
