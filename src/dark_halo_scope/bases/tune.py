"""A fine-tuning: from a base model, or from fresh weights, to a network for one target, and how good that is."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dark_halo_scope.torchvision_ops  # noqa: F401

import lightning
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hydra.utils import instantiate
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from dark_halo_scope.bases.base import save_weights
from dark_halo_scope.bases.fit import Machine, Node, fit, keep_quiet, measure, only_tested, task_around
from dark_halo_scope.bases.layers import layerwise, let_learn
from dark_halo_scope.bases.manifest import plain_metrics
from dark_halo_scope.bases.parts import Rows, TargetParts
from dark_halo_scope.bases.source import Source
from dark_halo_scope.bases.spec import BaseSpec
from dark_halo_scope.bases.tune_spec import Phase, Training, TuneSpec
from dark_halo_scope.files import write_atomically
from dark_halo_scope.stamps.row_index import RowIndex
from dark_halo_scope.tasks.base import BaseTask

SCORES = "scores.parquet"


class Tuning:
    """One fine-tuning in the making.

    Args:
        spec: What determines it, beside the base.
        base: What determines its base model; None where it has none.
        folder: Takes ``weights.pt`` and ``scores.parquet``.
        source: The data.
        stream: How they are read.
        machine: On what it is trained.
    """

    def __init__(
        self, spec: TuneSpec, base: BaseSpec | None, folder: Path, source: Source, stream: Node, machine: Machine
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.source = source
        self.machine = machine
        self._stream = stream
        self.parts = source.target_parts(spec.target, spec.division, spec.budget, spec.n_val)
        train = self.parts.train
        if base is not None and spec.how.learns_from_base:
            train = np.union1d(source.base_parts(base).train, train)
        self._train = train if spec.training else train[:0]
        lightning.seed_everything(spec.training.seed if spec.training else 0, verbose=False)
        self.network = instantiate(spec.model)
        self.normalise = instantiate(spec.preprocessing["normalise"])

    def run(self, weights: Mapping[str, Tensor] | None) -> dict[str, Any]:
        """Train, test and leave the files.

        Args:
            weights: Of the base model.

        Returns:
            ``budget``: labels by what they were for; ``test``: metrics; ``base``: those of the base as it is, where
            there is one.
        """
        metrics: dict[str, Any] = {"budget": _budget(self.parts, self.spec)}
        task = self._task()
        if weights is not None:
            task.load_state_dict(weights)
        unlabelled = self.source.unlabelled(self.spec.target, self.spec.division)
        self.source.fit_normalisation(self.normalise, unlabelled)
        if weights is not None:
            metrics["base"] = metrics["test"] = plain_metrics(self._test(task))
        if training := self.spec.training:
            for number, phase in enumerate(training.phases, 1):
                metrics[f"phase_{number}"] = plain_metrics(self._train_phase(phase, training))
            task = self._task()
            metrics["test"] = plain_metrics(self._test(task))
        save_weights(task.state_dict(), self.folder)
        write_scores(task, self.source.index, self.folder)
        return metrics

    def _train_phase(self, phase: Phase, training: Training) -> dict[str, float]:
        let_learn(self.network, phase.part, training.batch_norm)
        decay = training.layer_decay if phase.part == "all" else 1.0
        optimizer = layerwise(instantiate(training.optimizer, lr=phase.lr), self.network, decay)
        task = self._task(optimizer=optimizer, scheduler=instantiate(training.scheduler), training=training)
        return fit(
            task,
            self._data(min(training.batch_size, len(self._train)), training.seed),
            self.machine,
            self.folder,
            precision=self.spec.precision,
            early_stop=training.early_stop,
            validates=training.early_stop is not None,
            max_epochs=-1,
            max_steps=phase.steps,
            val_check_interval=training.validate_every if training.early_stop else None,
            check_val_every_n_epoch=None if training.early_stop else 1,
            gradient_clip_val=training.gradient_clip_val,
        )

    def _test(self, task: BaseTask) -> dict[str, float]:
        return measure(task, self._data(1, 0), self.machine, self.folder, self.spec.precision)

    def _task(
        self, *, optimizer: Any = only_tested, scheduler: Any = only_tested, training: Training | None = None
    ) -> BaseTask:
        return task_around(
            self.network,
            self.normalise,
            loss=self.spec.loss,
            augmentation=training.augmentation if training else None,
            optimizer=optimizer,
            scheduler=scheduler,
            seed=training.seed if training else 0,
            machine=self.machine,
        )

    def _data(self, batch_size: int, seed: int) -> Any:
        parts: dict[str, Rows] = {"train": self._train, "val": self.parts.val, "test": self.parts.test}
        return self.source.datamodule(
            self.source.index.with_parts(parts),
            self.folder,
            self.spec.preprocessing["samples"],
            self._stream,
            batch_size=batch_size,
            seed=seed,
        )


def tune(
    spec: TuneSpec,
    folder: Path,
    *,
    base: BaseSpec | None,
    weights: Mapping[str, Tensor] | None,
    source: Source,
    stream: Node,
    machine: Machine,
) -> dict[str, Any]:
    """Customise a network and leave it in a folder: see `Tuning`."""
    keep_quiet()
    return Tuning(spec, base, folder, source, stream, machine).run(weights)


def write_scores(task: BaseTask, index: RowIndex, folder: Path) -> None:
    """Write what each test row was given: ``logit`` of a lens, or ``p_<class>`` of each class."""
    scores = task.gathered_scores("test")
    rows = scores["row"]
    columns: dict[str, NDArray[Any]] = {"row": rows, "label": scores["label"]}
    if scores["logit"].ndim == 1:
        columns["logit"] = scores["logit"]
    else:
        probability = softmax(scores["logit"].astype(np.float64), axis=1)
        columns |= {f"p_{name}": probability[:, k] for k, name in enumerate(index.classes)}
    known = index.metadata(rows, list(index.id_columns))
    table = pa.table({**columns, **{name: known[name] for name in known.column_names}})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_atomically(folder / SCORES, buffer.getvalue())


def _budget(parts: TargetParts, spec: TuneSpec) -> dict[str, int]:
    if spec.training is None:
        return {"train": 0, "val": 0}
    return {"train": len(parts.train), "val": len(parts.val)} | ({"gap": len(parts.gap)} if len(parts.gap) else {})
